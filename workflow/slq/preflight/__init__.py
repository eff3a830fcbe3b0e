"""Preflight checks of a cluster run: whether it can start, and which jobs it would submit."""
