"""A number of one side of a comparison, what is needed to judge it beside the other's, and how much is too much."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, NamedTuple

from slq.common.errors import SlqError
from slq.evaluation.statistics import ClusteredHits
from slq.reporting.interval_tables import DIRECTION_LABELS, RECALL_METRICS
from slq.results.cells import Formatter
from slq.results.layout import METHODS, LayoutEntry

TRAINING_COSTS = "training"  # in the place of a benchmark: what a run's training took
STAND_IN_CONDITIONS = ("backbone", "dataset")  # traits that only the paper's numbers have otherwise than by their cell
METRICS = [
    *(f"{direction} {recall}" for direction in DIRECTION_LABELS for recall in RECALL_METRICS),
    "score",
    "parameters",
    "hours",
]  # in order
TOLERANCE_KINDS = ("recall", "score", "hours")  # what has a tolerance


class CellKey(NamedTuple):
    """A cell: `metric` is `t2i R@5`, `score`, or of `training` `parameters` or `hours`."""

    backbone: str
    method: str
    benchmark: str
    metric: str


@dataclass(frozen=True)
class SampleStatistics:
    """What a number is counted on: its 95 % interval, how many independent items, and how many queries of them."""

    low: float
    high: float
    items: int
    queries: int


@dataclass(frozen=True)
class MetricValue:
    """A cell's number, in the unit of print.

    values: one for each seed; `value` is their mean
    seeds: which they are; none of what no seed moves
    kind: `recall`, `score`, `hours` or `parameters`; decides which tolerance holds
    units_per_point: how much one point of percent is in print: 1, of hits n / 100
    files: where it comes from
    conditions: what must be alike for two numbers to be comparable, by what it is; those that both sides know are
        compared
    inputs_hash: identity of what gave it (hashes of adapter, backbone, dataset), "" if that is not known; two numbers
        of one origin are the same number
    inherited: it is base's, by an equivalence check
    sample: the items that the first seed's is counted on; None if it is not known, or counted on none
    quoted: the paper's, known as it is printed; `rounding_error`: then half a unit of its last digit
    item_hits, hits_column: hits by item behind a single run's number, and its place among their recalls; of a recall an
        item is an image with all its queries
    stale_reason: which of its files are not what their ranks or answers give, and why; "" where all are
    note: of a quoted number, in what it may be counted otherwise than ours
    """

    values: tuple[float, ...]
    kind: str
    formatter: Formatter
    files: tuple[str, ...]
    seeds: tuple[int, ...] = ()
    units_per_point: float = 1.0
    conditions: Mapping[str, str] = field(default_factory=dict)
    inputs_hash: str = ""
    inherited: bool = False
    sample: SampleStatistics | None = None
    quoted: bool = False
    rounding_error: float = 0.0
    item_hits: ClusteredHits | None = None
    hits_column: int = 0
    stale_reason: str = ""
    note: str = ""

    @property
    def value(self) -> float:
        """The mean over the seeds."""
        return mean(self.values)


MetricValues = dict[CellKey, MetricValue]


def reason_not_comparable(a: MetricValue, b: MetricValue) -> str:
    """Why two numbers are not comparable, "" if they are."""
    result, paper = (b, a) if a.quoted else (a, b)
    differing = [trait for trait in a.conditions if b.conditions.get(trait, a.conditions[trait]) != a.conditions[trait]]
    return "; ".join(
        f"{result.conditions[trait]} stands for {paper.conditions[trait]}"
        if trait in STAND_IN_CONDITIONS
        else f"other {trait}: {a.conditions[trait]} against {b.conditions[trait]}"
        for trait in differing
    )


@dataclass(frozen=True)
class ComparisonSettings:
    """Backbones and datasets by name, in the order of the configuration, and the bars of a comparison.

    significance_level: the probability that any cell is called different where chance alone makes the differences
    tolerances: by kind of number; `recall` and `score` in points of percent, `hours` a share of the larger number
    seed_sds: by preset, method and kind the standard deviation between runs that differ in their seed alone, in points,
        of a number near 50 %
    """

    backbones: Mapping[str, LayoutEntry]
    datasets: Mapping[str, LayoutEntry]
    significance_level: float
    tolerances: Mapping[str, float]
    seed_sds: Mapping[str, Mapping[str, Mapping[str, float]]]

    def seed_sd(self, preset: str, method: str, kind: str) -> float | None:
        """What another seed does to a number of a method, in points; None if the configuration does not say."""
        return self.seed_sds.get(preset, {}).get(method, {}).get(kind)

    def backbone(self, name: str) -> LayoutEntry:
        """The backbone of this name; one that the configuration does not have stands for none."""
        return self.backbones.get(name, LayoutEntry(name, name, ""))

    def dataset(self, name: str) -> LayoutEntry:
        """The dataset of this name, likewise."""
        return self.datasets.get(name, LayoutEntry(name, name, ""))

    def sort_key(self, backbone: str, method: str, benchmark: str) -> tuple[tuple[int, str], ...]:
        """Sorts cells in the order of the configuration, names that it does not have behind it."""
        orders = (list(self.backbones), list(METHODS), list(self.datasets))
        return tuple(
            (order.index(name) if name in order else len(order), name)
            for order, name in zip(orders, (backbone, method, benchmark), strict=True)
        )


def parse_comparison_settings(settings: Mapping[str, Any]) -> ComparisonSettings:
    """The catalogue of the command line's JSON (`slq.config.job_settings.compare_settings`).

    Raises:
        SlqError: a key is missing.
    """
    try:
        return ComparisonSettings(
            backbones={one["name"]: LayoutEntry(**one) for one in settings["backbones"]},
            datasets={one["name"]: LayoutEntry(**one) for one in settings["datasets"]},
            significance_level=float(settings["level"]),
            tolerances={kind: float(settings["tolerance"][kind]) for kind in TOLERANCE_KINDS},
            seed_sds=settings["seed_sd"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SlqError(
            f"settings of the comparison: {type(error).__name__} {error}; see slq/config/job_settings.py"
        ) from error
