"""Device hours of one run, computed from its `run.json` (docs/results.md)."""

from collections.abc import Mapping
from typing import Any

from slq.common.errors import SlqError


def training_device_hours(run: Mapping[str, Any]) -> float:
    """Compute a run's hours of training times its devices: the headline, compared with the paper's GPU hours.

    Convention: only synchronised training time counts, and the time to cache image features or prefixes for it, in full
    for each run that reads the cache. Initialisation, staging, evaluation on the val split and saving are left out here
    and included in `total_device_hours`. A device is one GPU or, without GPUs, one CPU thread; hours of different
    devices are different units. The paper does not say what its hours include.

    Raises:
        SlqError: the run lacks its training span or its device.
    """
    cache_seconds = _span_seconds(run, "feature_cache") if "feature_cache" in run.get("spans", {}) else 0.0
    return (_span_seconds(run, "train") + cache_seconds) * _device_count(run) / 3600


def total_device_hours(run: Mapping[str, Any]) -> float:
    """Compute the hours of all spans (init, staging, train, eval, save) times devices; see `training_device_hours`.

    Raises:
        SlqError: the run lacks its spans or its device.
    """
    spans = run.get("spans")
    if not isinstance(spans, Mapping):
        raise SlqError("run.json: spans is missing; expected seconds by kind")
    return sum(_span_seconds(run, kind) for kind in spans) * _device_count(run) / 3600


def _span_seconds(run: Mapping[str, Any], kind: str) -> float:
    """Read the seconds of one kind of span."""
    return _read_number(run, "spans", kind, 0, "seconds")


def _device_count(run: Mapping[str, Any]) -> float:
    """Read the number of devices."""
    return _read_number(run, "device", "count", 1, "the number of GPUs or CPU threads")


def _read_number(run: Mapping[str, Any], part: str, key: str, minimum: float, expected: str) -> float:
    """Read `part`.`key` of a run as a number.

    Raises:
        SlqError: it is missing, no number, or below `minimum`.
    """
    section = run.get(part)
    value = section.get(key) if isinstance(section, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= minimum:
        raise SlqError(f"run.json: {part}.{key} is {value!r}; expected {expected}, at least {minimum:g}")
    return value
