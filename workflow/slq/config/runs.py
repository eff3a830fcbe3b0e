"""The runs of a preset: a backbone, a method and a seed, and what the training of one is told."""

from collections.abc import Sequence
from typing import Any

Config = dict[str, Any]

BASE_SEED = 0  # where the untouched base is stored: nothing in it is random, so it has no seed of its own
DISK_CACHE_MODES = ("features", "kv")  # of `training.image_cache`: what a job before the run caches


def list_run_seeds(method: str, seeds: Sequence[int]) -> tuple[int, ...]:
    """List a seed per run of a trained method, one run of the base whatever the seeds are."""
    return (BASE_SEED,) if method == "base" else tuple(seeds)


def merge_training_settings(preset: Config, backbone: Config, method: str) -> Config:
    """Merge `training` of a run: the backbone's own wins over the preset's, the method's on it over both."""
    return {**preset["training"], **backbone.get("training", {}), **_method_overrides(backbone, method, "training")}


def merge_training_resources(preset: Config, backbone: Config, method: str) -> Config:
    """Merge what training a run asks a cluster for: the preset's, and what differs for the method on the backbone."""
    return {**preset["resources"]["train"], **_method_overrides(backbone, method, "resources")}


def _method_overrides(backbone: Config, method: str, section: str) -> Config:
    overrides: Config = backbone.get("runs", {}).get(method, {}).get(section, {})
    return overrides
