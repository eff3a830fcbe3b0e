"""Kinds of baselines, one module each (see `slq.baselines.registry`)."""
