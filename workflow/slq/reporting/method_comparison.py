"""Table D: paired comparison of the proposed method with every other method on the same images and questions.

Claims are judged by the same comparisons.
"""

from functools import cache, partial
from typing import NamedTuple

from slq.common.errors import SlqError
from slq.evaluation.statistics import (
    BOOTSTRAP_SEED,
    Difference,
    accuracy_difference,
    compute_hits_per_image,
    recall_differences,
)
from slq.reporting.interval_tables import DIRECTION_LABELS, SCORE, build_backbone_groups
from slq.reporting.table_model import Column, Table
from slq.results.cells import Formatter, TableCell, format_integer, format_one_decimal, format_p_value, with_sign
from slq.results.layout import LayoutEntry
from slq.results.load import Results

SIGNIFICANCE_LEVEL = 0.05  # a verdict needs a p-value below this level
HEADERS = {"difference": "Difference", "p": "p", "verdict": "Verdict"}
TABLE_NOTE = (
    "Difference: {} minus the other method, in percentage points (hits for OCRBench), with its 95 % confidence "
    "interval. Recalls: paired bootstrap over images. Scores: McNemar's exact test on the questions that only one of "
    "the two methods answers correctly, and a bootstrap interval over questions. A verdict needs p below "
    f"{SIGNIFICANCE_LEVEL}. p-values are not corrected for the number of rows: of twenty rows without a true "
    "difference, one gets a verdict on average."
)
SEEDS_NOTE = (
    "runs with the same seed see the same data in the same order, and a paired test compares one run with one run. The "
    "result does not cover the variation between seeds."
)


class PairedDifference(NamedTuple):
    """The difference between two methods on the same items.

    Attributes:
        difference: the difference in percentage points
        source: the files of both methods
        scale: the size of a percentage point in the printed unit, which is hits for OCRBench
        formatter: formats a difference in the printed unit, with its sign
    """

    difference: Difference
    source: str
    scale: float
    formatter: Formatter

    def printed(self) -> list[str]:
        """Format the difference and both bounds of its confidence interval."""
        ends = (self.difference.value, self.difference.low, self.difference.high)
        return [self.formatter(self.scale * number) for number in ends]


def comparisons_table(results: Results) -> Table:
    """Build Table D: differences, intervals, p-values and verdicts of the proposed method against the others."""
    proposed, others, labels = results.layout.proposed_method, results.layout.other_methods, results.layout.labels
    compare = cache(partial(compare_methods, results))  # slow, and computes all recalls of a dataset at once

    def make_cells(backbone: LayoutEntry, dataset: LayoutEntry, direction: str, metric: str) -> list[TableCell]:
        found = [compare(backbone, proposed, other, dataset) for other in others]
        pairs = (one if isinstance(one, TableCell) else one[direction, metric] for one in found)
        return [cell for one in pairs for cell in _difference_cells(one, labels[proposed])]

    return Table(
        name="comparisons",
        number="D",
        caption=f"{labels[proposed]} against the other tuning methods, on the same images and questions.",
        stubs=("Benchmark",),
        columns=tuple(
            Column(f"{other} {key}", (f"{labels[proposed]} against {labels[other]}", head))
            for other in others
            for key, head in HEADERS.items()
        ),
        groups=build_backbone_groups(results, make_cells),
        notes=(TABLE_NOTE.format(labels[proposed]),),
        widths=(5.4, 2.9),
        first_seed_reason=SEEDS_NOTE,
    )


def _difference_cells(pair: PairedDifference | TableCell, label: str) -> list[TableCell]:
    """Build the cells of a difference (value with interval, p-value, verdict), or repeat the cell that is missing."""
    if isinstance(pair, TableCell):
        return [pair] * len(HEADERS)
    difference, source, scale, formatter = pair
    value = TableCell.measured(scale * difference.value, formatter, source, comparable=False)
    return [
        value.with_interval(scale * difference.low, scale * difference.high, formatter),
        TableCell.measured(difference.p, format_p_value, source, comparable=False),
        TableCell.measured_text(describe_difference(difference, label), source),
    ]


def describe_difference(difference: Difference, label: str) -> str:
    """Return the verdict on the method with the given label: higher, lower or not told apart."""
    if difference.p >= SIGNIFICANCE_LEVEL:
        return "not told apart"
    return f"{label} higher" if difference.value > 0 else f"{label} lower"


def compare_methods(
    results: Results, backbone: LayoutEntry, first_method: str, second_method: str, dataset: LayoutEntry
) -> dict[tuple[str, str], PairedDifference] | TableCell:
    """Compute the difference of the first method minus the second on a dataset, by direction and metric.

    The key of a score is SCORE. With several seeds, the runs of the first seed are compared. If a method has no ranks
    or answers, its missing cell is returned.

    Raises:
        SlqError: the two runs were evaluated on different items.
    """
    kind = "retention" if dataset in results.layout.retention_datasets else "retrieval"
    first, second = (
        results.evidence(backbone.name, method, kind, dataset.name) for method in (first_method, second_method)
    )
    if isinstance(first, TableCell):
        return first
    if isinstance(second, TableCell):
        return second
    source = f"{first.attrs['source']}; {second.attrs['source']}"
    scale, formatter = (len(first) / 100, format_integer) if dataset.is_scored_in_hits else (1.0, format_one_decimal)
    differences: dict[tuple[str, str], Difference] = {}
    try:
        if kind == "retention":
            one, other = (dict(zip(answers["id"], answers["is_correct"], strict=True)) for answers in (first, second))
            differences[SCORE] = accuracy_difference(one, other, BOOTSTRAP_SEED)
        for direction in DIRECTION_LABELS if kind == "retrieval" else ():
            hits, other_hits = (compute_hits_per_image(table, direction) for table in (first, second))
            recalls = recall_differences(hits, other_hits, BOOTSTRAP_SEED)
            differences |= {(direction, metric): difference for metric, difference in recalls.items()}
    except SlqError as error:
        raise SlqError(f"{source}: {error}") from error
    signed = with_sign(formatter)
    return {key: PairedDifference(difference, source, scale, signed) for key, difference in differences.items()}
