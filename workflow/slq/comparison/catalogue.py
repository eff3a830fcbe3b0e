"""What a comparison takes from the configuration: names and whom they stand for, and how much is too much."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slq.errors import SlqError
from slq.reporting.layout import METHODS, Entry

KINDS = ("recall", "score", "hours")  # what has a tolerance


@dataclass(frozen=True)
class Catalogue:
    """Backbones and sets by name, in the order of the configuration, and the bars of a comparison.

    level: the probability that any cell is called different where chance alone makes the differences
    tolerance: by kind of number; `recall` and `score` in points of percent, `hours` a share of the larger number
    spreads: by preset, method and kind the standard deviation between runs that differ in their seed alone, in points,
        of a number near 50 %
    """

    backbones: Mapping[str, Entry]
    sets: Mapping[str, Entry]
    level: float
    tolerance: Mapping[str, float]
    spreads: Mapping[str, Mapping[str, Mapping[str, float]]]

    def seed_sd(self, preset: str, method: str, kind: str) -> float | None:
        """What another seed does to a number of a method, in points; None if the configuration does not say."""
        return self.spreads.get(preset, {}).get(method, {}).get(kind)

    def backbone(self, name: str) -> Entry:
        """The backbone of this name; one that the configuration does not have stands for none."""
        return self.backbones.get(name, Entry(name, name, ""))

    def benchmark(self, name: str) -> Entry:
        """The set of this name, likewise."""
        return self.sets.get(name, Entry(name, name, ""))

    def place(self, backbone: str, method: str, benchmark: str) -> tuple[tuple[int, str], ...]:
        """Sorts cells in the order of the configuration, names that it does not have behind it."""
        orders = (list(self.backbones), list(METHODS), list(self.sets))
        return tuple(
            (order.index(name) if name in order else len(order), name)
            for order, name in zip(orders, (backbone, method, benchmark), strict=True)
        )


def parse_catalogue(settings: Mapping[str, Any]) -> Catalogue:
    """The catalogue of the command line's JSON (`slq.settings.compare_settings`).

    Raises:
        SlqError: a key is missing.
    """
    try:
        return Catalogue(
            backbones={one["name"]: Entry(**one) for one in settings["backbones"]},
            sets={one["name"]: Entry(**one) for one in settings["sets"]},
            level=float(settings["level"]),
            tolerance={kind: float(settings["tolerance"][kind]) for kind in KINDS},
            spreads=settings["seed_sd"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SlqError(f"settings of the comparison: {type(error).__name__} {error}; see slq/settings.py") from error
