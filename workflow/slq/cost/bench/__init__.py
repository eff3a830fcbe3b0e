"""Benchmark of a training step against the released algorithm, with real tensor shapes."""
