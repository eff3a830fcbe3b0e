"""Numbers of one side of a comparison, what is needed to compare them, and the tolerances of the comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, NamedTuple

from slq.evaluation.reference_recalls import RECALL_METRICS
from slq.evaluation.statistics import ClusteredHits
from slq.reporting.interval_tables import DIRECTION_LABELS
from slq.results.cells import Formatter
from slq.results.layout import LayoutEntry

TRAINING_COSTS = "training"  # the benchmark of cells that hold the cost of training
STAND_IN_CONDITIONS = ("backbone", "dataset")  # conditions in which only the paper's numbers may differ
RECALLS = [f"{direction} {recall}" for direction in DIRECTION_LABELS for recall in RECALL_METRICS]
METRICS = [*RECALLS, "score", "parameters", "hours"]  # in the order of output
TOLERANCE_KINDS = ("recall", "score", "hours")  # kinds of numbers with a tolerance


class CellKey(NamedTuple):
    """Key of a cell; `metric` is e.g. `t2i R@5` or `score`; for the benchmark `training`, `parameters` or `hours`."""

    backbone: str
    method: str
    benchmark: str
    metric: str


@dataclass(frozen=True)
class SampleStatistics:
    """Statistics of the sample behind a number.

    Attributes:
        low: lower end of its 95 % interval
        high: upper end of its 95 % interval
        items: number of independent items
        queries: number of queries of these items
    """

    low: float
    high: float
    items: int
    queries: int


@dataclass(frozen=True)
class MetricValue:
    """The number of a cell, in the unit in which it is printed.

    Attributes:
        values: one for each seed; `value` is their mean
        kind: `recall`, `score`, `hours` or `parameters`; decides which tolerance applies
        files: the files that it comes from
        seeds: the seeds of `values`; empty if the number does not depend on a seed
        units_per_point: the size of one point of percent in the printed unit: 1, for hits n / 100
        conditions: values that must be equal for two numbers to be comparable, by name; only names that both sides have
            are compared
        inputs_hash: hash of what produced it (hashes of adapter, backbone, dataset), "" if not known; two numbers with
            the same hash should be equal
        inherited: whether it is base's number, inherited by an equivalence check
        sample: statistics of the items behind the first seed's number; None if not known, or if there are no items
        quoted: whether it is the paper's number, known only as printed
        rounding_error: of a quoted number, half a unit of its last digit
        item_hits: hits by item behind the number of a single run; for a recall, an item is an image with all its
            queries
        hits_column: the column of `item_hits` that belongs to this number
        stale_reason: which of its files do not match their ranks or answers, and why; "" if all match
        note: of a quoted number, how its definition may differ from ours
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
        """Return the mean over the seeds."""
        return mean(self.values)


MetricValues = dict[CellKey, MetricValue]


def reason_not_comparable(a: MetricValue, b: MetricValue) -> str:
    """Explain why two numbers are not comparable; return "" if they are."""
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
    """Backbones and datasets by name, in the order of the configuration, and the thresholds of a comparison.

    Attributes:
        significance_level: the probability that any cell is called different although only chance makes the differences
        tolerances: by kind of number; `recall` and `score` in points of percent, `hours` as a share of the larger
            number
        labels: of the methods, by name
        proposed_method, cost_baseline: as of config.yaml
        seed_sds: by preset, method and kind the standard deviation between runs that differ only in their seed, in
            points, for a number near 50 %
    """

    backbones: Mapping[str, LayoutEntry]
    datasets: Mapping[str, LayoutEntry]
    labels: Mapping[str, str]
    proposed_method: str
    cost_baseline: str
    significance_level: float
    tolerances: Mapping[str, float]
    seed_sds: Mapping[str, Mapping[str, Mapping[str, float]]]

    def seed_sd(self, preset: str, method: str, kind: str) -> float | None:
        """Return the standard deviation between seeds for a method's numbers, in points; None if not configured."""
        return self.seed_sds.get(preset, {}).get(method, {}).get(kind)

    def sort_key(self, backbone: str, method: str, benchmark: str) -> tuple[tuple[int, str], ...]:
        """Return a key that sorts cells in the order of the configuration, names that it does not have last."""
        orders = (list(self.backbones), list(self.labels), list(self.datasets))
        return tuple(
            (order.index(name) if name in order else len(order), name)
            for order, name in zip(orders, (backbone, method, benchmark), strict=True)
        )


def parse_comparison_settings(settings: Mapping[str, Any]) -> ComparisonSettings:
    """Parse the settings of a comparison (`slq.config.job_settings.compare_settings`)."""
    return ComparisonSettings(
        backbones={one["name"]: LayoutEntry(**one) for one in settings["backbones"]},
        datasets={one["name"]: LayoutEntry(**one) for one in settings["datasets"]},
        labels={row["name"]: row["label"] for row in settings["rows"]},
        proposed_method=settings["proposed_method"],
        cost_baseline=settings["cost_baseline"],
        significance_level=settings["level"],
        tolerances={kind: float(settings["tolerance"][kind]) for kind in TOLERANCE_KINDS},
        seed_sds=settings["seed_sd"],
    )
