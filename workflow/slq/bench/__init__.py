"""What a training step and an embedding cost, measured against the released algorithm, on real shapes."""
