"""What a job asks a cluster for, from the closed form that the forecast uses: hours and memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slq.accounting.architecture import NotForecast, read_architecture
from slq.accounting.forecast import Range, Sizes
from slq.accounting.memory import evaluating_gb
from slq.accounting.row_costs import row_costs
from slq.accounting.row_estimate import hours_of_rows

START = 0.25  # hours: Python, weights, reading what is there
MARGIN = 1.5  # times the high end of the forecast, in which no loading and no padding is


@dataclass(frozen=True)
class Needs:
    """Of one job."""

    hours: float
    mem_gb: float


def needs(settings: Mapping[str, Any], backbone: str, method: str, stage: str) -> Needs | None:
    """None where the closed form has no answer: of a device without a peak, an unknown architecture, a size left out.

    Args:
        settings: of `cost_settings.run_forecast_settings`.
        stage: `train` or `evaluate`.
    """
    (entry,) = (entry for entry in settings["backbones"] if entry["name"] == backbone)
    if not settings["peak_tflops"]:
        return None
    try:
        cell = Sizes(settings, entry).cell(method, {})
    except NotForecast:
        return None
    if stage == "train":
        return Needs(_hours(cell.train, cell.gpus), cell.host)
    return Needs(_hours(cell.evaluate, 1), cell.host_evaluating)


def row_needs(settings: Mapping[str, Any]) -> dict[str, Needs | None]:
    """Of each row of Table 1 that is no run; None as in `needs`, and where what finds or re-ranks has no closed form.

    Args:
        settings: of `cost_settings.forecast_settings`.
    """
    entries = {entry["name"]: entry for entry in [*settings["backbones"], *settings["foreign_backbones"]]}
    hours = hours_of_rows(row_costs(settings, {}))
    found: dict[str, Needs | None] = {}
    for row in settings["rows"]:
        known = hours[row["name"]]
        names = {row["backbone"], row["embeds"].get("backbone")} - {None}  # one is freed before the other is loaded
        gb = (evaluating_gb(read_architecture(entries[name]["architecture"]), settings["dtype"]) for name in names)
        found[row["name"]] = None if known is None else Needs(_hours(known, 1), max(gb))
    return found


def _hours(found: Range | None, gpus: int) -> float:
    return START + MARGIN * (found.high if found else 0.0) / gpus
