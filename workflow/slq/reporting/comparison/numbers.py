"""A number of one side of a comparison, what is needed to judge it beside the other's, and how much is too much."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, NamedTuple

from slq.common.errors import SlqError
from slq.evaluation.statistics import Clusters
from slq.reporting.interval_tables import RECALLS, WAYS
from slq.results.cells import Format
from slq.results.layout import METHODS, Entry

TRAINING = "training"  # in the place of a benchmark: what a run's training took
STANDS = ("backbone", "set")  # traits that only the paper's numbers have otherwise than by their cell
METRICS = [*(f"{way} {recall}" for way in WAYS for recall in RECALLS), "score", "parameters", "hours"]  # in order
KINDS = ("recall", "score", "hours")  # what has a tolerance


class Key(NamedTuple):
    """A cell: `metric` is `t2i R@5`, `score`, or of TRAINING `parameters` or `hours`."""

    backbone: str
    method: str
    benchmark: str
    metric: str


@dataclass(frozen=True)
class Sample:
    """What a number is counted on: its 95 % interval, how many independent items, and how many queries of them."""

    low: float
    high: float
    items: int
    queries: int


@dataclass(frozen=True)
class Number:
    """A cell's number, in the unit of print.

    values: one for each seed; `value` is their mean
    seeds: which they are; none of what no seed moves
    kind: `recall`, `score`, `hours` or `parameters`; decides which tolerance holds
    unit: how much one point of percent is in print: 1, of hits n / 100
    files: where it comes from
    traits: what must be alike for two numbers to be comparable, by what it is; those that both sides know are compared
    origin: identity of what gave it (hashes of adapter, backbone, set), "" if that is not known; two numbers of one
        origin are the same number
    proved: it is base's, by proof
    sample: the items that the first seed's is counted on; None if it is not known, or counted on none
    quoted: the paper's, known as it is printed; `rounding`: then half a unit of its last digit
    evidence, column: hits by item behind a single run's number, and its place among their recalls; of a recall an item
        is an image with all its queries
    stale: which of its files are not what their ranks or answers give, and why; "" where all are
    note: of a quoted number, in what it may be counted otherwise than ours
    """

    values: tuple[float, ...]
    kind: str
    form: Format
    files: tuple[str, ...]
    seeds: tuple[int, ...] = ()
    unit: float = 1.0
    traits: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    proved: bool = False
    sample: Sample | None = None
    quoted: bool = False
    rounding: float = 0.0
    evidence: Clusters | None = None
    column: int = 0
    stale: str = ""
    note: str = ""

    @property
    def value(self) -> float:
        """The mean over the seeds."""
        return mean(self.values)


Numbers = dict[Key, Number]


def unlike(a: Number, b: Number) -> str:
    """Why two numbers are not comparable, "" if they are."""
    ours, papers = (b, a) if a.quoted else (a, b)
    apart = [trait for trait in a.traits if b.traits.get(trait, a.traits[trait]) != a.traits[trait]]
    return "; ".join(
        f"{ours.traits[trait]} stands for {papers.traits[trait]}"
        if trait in STANDS
        else f"other {trait}: {a.traits[trait]} against {b.traits[trait]}"
        for trait in apart
    )


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
    """The catalogue of the command line's JSON (`slq.config.slices.compare_settings`).

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
        raise SlqError(
            f"settings of the comparison: {type(error).__name__} {error}; see slq/config/slices.py"
        ) from error
