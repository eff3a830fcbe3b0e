"""Device hours of one run, computed from its `run.json` (docs/results.md)."""

from collections.abc import Iterable

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
    kinds = [kind for kind in run.value("spans") if kind == "feature_cache"]
    return _device_hours(run, ["train", *kinds])


def total_device_hours(run: Record) -> float:
    """Compute the hours of all spans (init, staging, train, eval, save) times devices; see `training_device_hours`.

    Raises:
        SlqError: the run lacks its spans or its device.
    """
    return _device_hours(run, run.value("spans"))


def _device_hours(run: Record, kinds: Iterable[str]) -> float:
    seconds = sum(run.number("spans", kind, minimum=0) for kind in kinds)
    return seconds * run.number("device", "count", minimum=1) / 3600
