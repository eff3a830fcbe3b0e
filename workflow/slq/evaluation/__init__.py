"""Evaluation of runs: retrieval (recall@K from stored ranks) and retention (scores from stored answers)."""
