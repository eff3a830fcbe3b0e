"""Datasets: prepared splits, the readers that create them, id lists and the leak audit."""
