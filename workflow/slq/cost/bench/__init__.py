"""Benchmark of a training step against the released algorithm, on real shapes."""
