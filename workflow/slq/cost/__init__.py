"""Costs of a run: FLOPs, memory, forecast, ledger and hours, and the measurement of a training step."""
