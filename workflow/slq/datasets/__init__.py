"""Datasets: prepared splits, the readers that make them, id lists and the leak audit."""
