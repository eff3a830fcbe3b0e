"""The kinds of baselines, a file each (slq/baselines/registry.py)."""
