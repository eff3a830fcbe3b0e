"""Device hours of one run, computed from its `run.json` (docs/results.md)."""

from collections.abc import Iterable

from slq.results.record import Record


def training_device_hours(run: Record) -> float:
    """Compute a run's training hours times its number of devices, to be compared with the paper's GPU hours.

    The hours include synchronised training time and the time to cache image features or prefixes. Each run that reads
    the cache includes the full caching time. Initialisation, staging, evaluation on the val split and saving are
    included only in `total_device_hours`. A device is one GPU or, without GPUs, one CPU thread. Hours on different
    devices are different units. The paper does not state what its hours include.
    """
    kinds = [kind for kind in run.value("spans") if kind == "feature_cache"]
    return _device_hours(run, ["train", *kinds])


def total_device_hours(run: Record) -> float:
    """Compute the hours of all spans (init, staging, train, eval, save) times devices; see `training_device_hours`."""
    return _device_hours(run, run.value("spans"))


def _device_hours(run: Record, kinds: Iterable[str]) -> float:
    seconds = sum(run.number("spans", kind, minimum=0) for kind in kinds)
    return seconds * run.number("device", "count", minimum=1) / 3600
