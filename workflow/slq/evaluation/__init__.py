"""Evaluation of runs: retrieval by ranks, retention by the correctness of answers."""
