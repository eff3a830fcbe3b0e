"""Numbers of one side of a comparison, the information needed to compare them, and the settings of a comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, NamedTuple

from slq.evaluation.reference_recalls import RECALL_METRICS
from slq.evaluation.seed_differences import MIN_SEEDS
from slq.evaluation.statistics import ClusteredHits
from slq.reporting.interval_tables import DIRECTION_LABELS
from slq.results.cells import Formatter
from slq.results.layout import LayoutEntry

TRAINING_COSTS = "training"  # the `benchmark` of cells with training costs
STAND_IN_CONDITIONS = ("backbone", "dataset")  # conditions that differ only between a stand-in and the paper
RECALLS = [f"{direction} {recall}" for direction in DIRECTION_LABELS for recall in RECALL_METRICS]
METRICS = [*RECALLS, "score", "parameters", "hours"]  # in the order of output
TOLERANCE_KINDS = ("recall", "score", "hours")  # kinds of numbers with a tolerance


class CellKey(NamedTuple):
    """Key of a cell; `metric` is for example `t2i R@5` or `score`, or for `training` `parameters` or `hours`."""

    backbone: str
    method: str
    benchmark: str
    metric: str


@dataclass(frozen=True)
class SampleStatistics:
    """Statistics of the sample behind a number.

    Attributes:
        low: lower bound of the number's 95 % confidence interval
        high: upper bound of the number's 95 % confidence interval
        items: number of independent items
        queries: number of queries, of which an item may have several
    """

    low: float
    high: float
    items: int
    queries: int


@dataclass(frozen=True)
class MetricValue:
    """The number of a cell, in its printed unit.

    Attributes:
        values: one value per seed; `value` is their mean
        kind: `recall`, `score`, `hours` or `parameters`; selects the tolerance
        files: the files that the number comes from
        seeds: the seeds of `values`; empty if the number does not depend on a seed
        units_per_point: the size of one percentage point in the printed unit: 1, or n / 100 for hits
        conditions: values that must be equal for two numbers to be comparable, by name; only names that both sides have
            are compared
        inputs_hash: hash of the inputs (the hashes of adapter, backbone and dataset), "" if unknown; two numbers with
            the same hash should be equal
        inherited: whether it is base's number, inherited through an equivalence check
        sample: statistics of the items behind the first seed's number; None if unknown, or if there are no items
        quoted: whether it is the paper's number, known only as printed
        rounding_error: half a unit of the last printed digit of a quoted number
        item_hits: hits by item behind the value of each seed; for a recall, an item is an image with all its queries.
            Empty if they are not known for every seed
        hits_column: the column of `item_hits` for this number
        stale_reason: which of its files do not match their ranks or answers, and why; "" if all match
        note: how the definition of a quoted number may differ from ours
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
    item_hits: tuple[ClusteredHits, ...] = ()
    hits_column: int = 0
    stale_reason: str = ""
    note: str = ""

    @property
    def value(self) -> float:
        """The mean over the seeds."""
        return mean(self.values)

    @property
    def has_few_seeds(self) -> bool:
        """Whether it is our number of a trained method with too few seeds to say something about the method."""
        return not self.quoted and 0 < len(self.seeds) < MIN_SEEDS


MetricValues = dict[CellKey, MetricValue]


def reason_not_comparable(a: MetricValue, b: MetricValue) -> str:
    """Explain why two numbers are not comparable; return "" if they are comparable."""
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
        significance_level: bound on the probability that any cell differs by chance alone
        tolerances: by kind of number; `recall` and `score` in percentage points, `hours` as a share of the larger
            number
        labels: labels of the methods, by name
        proposed_method, cost_baseline: as in config.yaml
        seed_sds: standard deviation between runs that differ only in their seed, in percentage points for a number near
            50 %, by preset, method and kind
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
        """Return the standard deviation between seeds of a method's numbers, in points; None if not configured."""
        return self.seed_sds.get(preset, {}).get(method, {}).get(kind)

    def sort_key(self, backbone: str, method: str, benchmark: str) -> tuple[tuple[int, str], ...]:
        """Return a key that sorts cells in the order of the configuration, with unknown names last."""
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
