"""Device hours of one run, computed from its `run.json` (docs/results.md)."""

from slq.results.record import Record


def training_device_hours(run: Record) -> float:
    """Compute a run's hours of training times its devices: the headline, compared with the paper's GPU hours.

    Convention: only synchronised training time counts, and the time to cache image features or prefixes for it, in full
    for each run that reads the cache. Initialisation, staging, evaluation on the val split and saving are left out here
    and included in `total_device_hours`. A device is one GPU or, without GPUs, one CPU thread; hours of different
    devices are different units. The paper does not say what its hours include.

    Raises:
        SlqError: the run lacks its training span or its device.
    """
    cache_seconds = run.number("spans", "feature_cache") if "feature_cache" in run.value("spans") else 0.0
    return (run.number("spans", "train") + cache_seconds) * run.number("device", "count") / 3600


def total_device_hours(run: Record) -> float:
    """Compute the hours of all spans (init, staging, train, eval, save) times devices; see `training_device_hours`.

    Raises:
        SlqError: the run lacks its spans or its device.
    """
    return sum(run.number("spans", kind) for kind in run.value("spans")) * run.number("device", "count") / 3600
