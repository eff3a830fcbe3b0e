"""A training step measured against the released algorithm, on real shapes."""
