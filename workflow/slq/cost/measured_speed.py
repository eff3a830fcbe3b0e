"""Speed of a device as `slq bench` measured it, instead of an assumed share of its peak.

The speed of a run is the FLOP/s of the bench's variant that trains as the run does. For a backbone that was not
measured it is estimated from those that were, since FLOPs already account for their sizes.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.common.schema import require_schema, wrap_content_errors
from slq.methods.registry import Method

BENCH_SCHEMA = 3  # of the file that `slq bench --json` writes
REMEDY = "run `slq bench --json` again"
# Factor between the estimated speed and the true one if a single backbone, or another variant, was measured. Our
# assumption, not measured.
ASSUMED_ERROR_FACTOR = 1.5


@dataclass(frozen=True)
class Speed:
    """FLOP/s of a run: the median, and the lowest and highest expected.

    Attributes:
        is_measured: whether this very backbone and variant were measured; otherwise the speed is an estimate.
    """

    median: float
    low: float
    high: float
    is_measured: bool


class MeasuredSpeeds:
    """Speeds of one device in one dtype, by backbone and variant of the bench."""

    def __init__(self, measurements: Sequence[Mapping[str, Any]]) -> None:
        """Collect the speeds of every repetition.

        Args:
            measurements: contents of files of `slq bench --json`, at least one.
        """
        self.device, self.dtype = measurements[0]["device"]["name"], measurements[0]["dtype"]
        self.samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for one in measurements:
            for row in one["rows"]:
                speeds = [row["flops"] / seconds for seconds in row["all_seconds"]]
                self.samples[row["variant"]][one["backbone"]] += speeds

    def find_speed(self, backbone: str, variant: str) -> Speed:
        """Return the measured speed of a run, or an estimate.

        The estimate is the median of the other backbones' medians. Its error is the largest ratio between two of them,
        or ASSUMED_ERROR_FACTOR if there is only one; at least the latter if only other variants were measured.

        Args:
            variant: the variant of the bench that trains as the run does.
        """
        by_backbone = self.samples.get(variant, {})
        if samples := by_backbone.get(backbone):
            return Speed(median(samples), min(samples), max(samples), True)
        if by_backbone:
            return _estimate_speed(list(by_backbone.values()), 1.0)
        every = [samples for by_backbone in self.samples.values() for samples in by_backbone.values()]
        return _estimate_speed(every, ASSUMED_ERROR_FACTOR)


def _estimate_speed(measured: Sequence[Sequence[float]], least_factor: float) -> Speed:
    """Estimate a speed from samples of other runs; the error is a factor of at least `least_factor`."""
    medians = [median(samples) for samples in measured]
    factor = max(medians) / min(medians) if len(medians) > 1 else ASSUMED_ERROR_FACTOR
    middle, factor = median(medians), max(factor, least_factor)
    return Speed(middle, middle / factor, middle * factor, False)


def bench_variant(method: Method, image_cache: str) -> str:
    """Return the variant of the bench that trains as a method does with an image cache."""
    return method.name if method.changes_backbone else {"kv": "kv_disk"}.get(image_cache, image_cache)


def apply_bench(settings: Mapping[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """Return the settings of a forecast with the device and the speeds that files of `slq bench --json` measured.

    Args:
        settings: from `cost_settings.forecast_settings`.

    Raises:
        SlqError: a file is of another schema or form, of a backbone that the preset lacks, or in another dtype than the
            preset trains in; or the files are of several devices.
    """
    measurements, expected = [read_json(path) for path in files], [one["name"] for one in settings["backbones"]]
    for path, content in zip(files, measurements, strict=True):
        require_schema(path, content, BENCH_SCHEMA, REMEDY)
        with wrap_content_errors(path, REMEDY):
            dtype, backbone = MeasuredSpeeds([content]).dtype, content["backbone"]
        if backbone not in expected or dtype != settings["dtype"]:
            raise SlqError(
                f"{path}: a bench of {backbone} in {dtype}; expected {', '.join(expected)} in {settings['dtype']}, as "
                f"preset {settings['preset']} trains: slq bench --backbone NAME --dtype {settings['dtype']}"
            )
    return apply_measurements(settings, measurements)


def apply_measurements(settings: Mapping[str, Any], measurements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of a forecast with measured speeds instead of assumed ones.

    Raises:
        SlqError: the measurements are of several devices.
    """
    if len(devices := {one["device"]["name"] for one in measurements}) > 1:
        raise SlqError(
            f"--bench: expected files of one device, found {', '.join(sorted(devices))}; forecast each separately"
        )
    speeds = MeasuredSpeeds(measurements)
    return {**settings, "device": speeds.device, "measured_speeds": speeds}
