"""The HTML report of a preset: whether the paper reproduces, every number with its source file."""
