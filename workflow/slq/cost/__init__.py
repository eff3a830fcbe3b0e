"""What a run costs: FLOPs, memory, forecast, ledger and hours; a training step measured."""
