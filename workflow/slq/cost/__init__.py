"""Costs of a run: FLOPs, memory, forecast, ledger and hours, and the benchmark of a training step."""
