"""The runs of a preset (a backbone, a method and a seed each), and the training settings of a run."""

from collections.abc import Sequence
from typing import Any

Config = dict[str, Any]

BASE_SEED = 0  # seed folder of the untouched base, in which nothing is random
DISK_CACHE_MODES = ("features", "kv")  # values of `training.image_cache` that need a job before the run


def list_run_seeds(method: str, seeds: Sequence[int]) -> tuple[int, ...]:
    """List the seeds of a method's runs: all for a trained method, one fixed seed for the untrained base."""
    return (BASE_SEED,) if method == "base" else tuple(seeds)


def merge_training_settings(preset: Config, backbone: Config, method: str) -> Config:
    """Merge the `training` settings of a run.

    The backbone's override the preset's, and those of the method on this backbone override both.
    """
    return {**preset["training"], **backbone.get("training", {}), **_method_overrides(backbone, method, "training")}


def merge_training_resources(preset: Config, backbone: Config, method: str) -> Config:
    """Merge the cluster resources of training a run: the preset's, overridden by the method's on this backbone."""
    return {**preset["resources"]["train"], **_method_overrides(backbone, method, "resources")}


def _method_overrides(backbone: Config, method: str, section: str) -> Config:
    """Return a section of the backbone's settings for one method, empty if it has none."""
    overrides: Config = backbone.get("runs", {}).get(method, {}).get(section, {})
    return overrides
