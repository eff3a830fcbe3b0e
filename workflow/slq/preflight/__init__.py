"""Preflight checks: whether a cluster run can start, and which jobs it would submit."""
