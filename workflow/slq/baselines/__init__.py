"""Baselines without training: dual encoders, zero-shot read-outs, re-ranking by an MLLM, and the diagnostic pilot."""
