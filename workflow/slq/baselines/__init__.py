"""Baselines that are evaluated but not trained here: encoders, zero-shot read-outs, re-ranking, and the pilot."""
