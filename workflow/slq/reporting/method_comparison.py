"""Table D: paired comparison of the proposed method with every other method on the same images and questions.

Claims are judged by the same comparisons.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import pandas as pd

from slq.common.errors import SlqError
from slq.config.runs import BASE_SEED
from slq.evaluation.seed_differences import (
    MIN_SEEDS,
    SeedDifference,
    accuracy_seed_difference,
    recall_seed_differences,
)
from slq.evaluation.statistics import BOOTSTRAP_SEED, compute_hits_per_image
from slq.methods.registry import BASE
from slq.reporting.interval_tables import DIRECTION_LABELS, MEAN_AND_INTERVAL, SCORE, build_backbone_groups
from slq.reporting.table_model import Column, Table
from slq.results.cells import Formatter, TableCell, format_integer, format_one_decimal, format_p_value, with_sign
from slq.results.checks import THIS_RUN_ONLY
from slq.results.layout import LayoutEntry
from slq.results.load import Results

Tables = tuple[pd.DataFrame, pd.DataFrame]
SIGNIFICANCE_LEVEL = 0.05  # a verdict needs a p-value below this level
HEADERS = {"difference": ("Difference", 3.1), "p": ("p", 1.3), "verdict": ("Verdict", 4.1)}  # and widths in cm
TABLE_NOTE = (
    "Difference: {} minus the other method, in percentage points (hits for OCRBench): the mean over seeds of the "
    "differences at equal seed. Its 95 % confidence interval covers seeds (Student's t) and images or questions "
    f"(paired bootstrap). A verdict needs p below {SIGNIFICANCE_LEVEL}. p-values are not corrected for the number of "
    "rows: of twenty rows without a true difference, one gets a verdict on average."
)
FEW_SEEDS_NOTE = (
    f"Fewer than {MIN_SEEDS} seeds: interval and p cover images or questions only (p of one run's scores: McNemar's "
    f"exact test). Such a difference decides nothing about the methods; after “{THIS_RUN_ONLY}” stands what these runs "
    "alone would say."
)


class PairedDifference(NamedTuple):
    """The difference between two methods on the same items, over seeds.

    Attributes:
        difference: the difference in percentage points
        source: the files of both methods
        scale: the size of a percentage point in the printed unit, which is hits for OCRBench
        formatter: formats a difference in the printed unit, with its sign
    """

    difference: SeedDifference
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
            Column(f"{other} {key}", (f"{labels[proposed]} against {labels[other]}", head), width)
            for other in others
            for key, (head, width) in HEADERS.items()
        ),
        groups=build_backbone_groups(results, make_cells),
        notes=(TABLE_NOTE.format(labels[proposed]), FEW_SEEDS_NOTE),
        widths=(4.6, 0),
        several_seeds=MEAN_AND_INTERVAL,
    )


def _difference_cells(pair: PairedDifference | TableCell, label: str) -> list[TableCell]:
    """Build the cells of a difference (value with interval, p-value, verdict), or repeat the cell that is missing."""
    if isinstance(pair, TableCell):
        return [pair] * len(HEADERS)
    difference, source, scale, formatter = pair
    value = TableCell.measured(scale * difference.value, formatter, source, comparable=False, n=difference.num_seeds)
    return [
        value.with_interval(scale * difference.low, scale * difference.high, formatter),
        TableCell.measured(difference.p, format_p_value, source, comparable=False),
        TableCell.measured_text(describe_difference(difference, label), source),
    ]


def describe_difference(difference: SeedDifference, label: str) -> str:
    """Return the verdict on the method with the given label, of few seeds behind THIS_RUN_ONLY."""
    if difference.is_equal_by_check:
        return "equal by check"
    verdict = f"{label} {'higher' if difference.value > 0 else 'lower'}"
    if difference.p >= SIGNIFICANCE_LEVEL:
        verdict = "not told apart"
    return verdict if difference.decides else f"{THIS_RUN_ONLY}: {verdict}"


def compare_methods(
    results: Results, backbone: LayoutEntry, first_method: str, second_method: str, dataset: LayoutEntry
) -> dict[tuple[str, str], PairedDifference] | TableCell:
    """Compute the difference of the first method minus the second on a dataset, by direction and metric.

    The key of a score is SCORE. Runs are paired by seed; base, which has no seed, is paired with every run of the other
    method. If there is no pair of ranks or answers, a missing cell is returned.

    Raises:
        SlqError: two runs were evaluated on different items.
    """
    kind = "retention" if dataset in results.layout.retention_datasets else "retrieval"
    sides = []
    for method in (first_method, second_method):
        by_seed = results.evidence(backbone.name, method, kind, dataset.name)
        if isinstance(by_seed, TableCell):
            return by_seed
        sides.append(dict.fromkeys(results.layout.seeds, by_seed[BASE_SEED]) if method == BASE else by_seed)
    pairs = [(sides[0][seed], sides[1][seed]) for seed in sides[0] if seed in sides[1]]
    if not pairs:
        return TableCell.missing(f"no seed has both {first_method} and {second_method} of {backbone.name}")
    source = "; ".join(dict.fromkeys(table.attrs["source"] for side in zip(*pairs, strict=True) for table in side))
    items = len(pairs[0][0])
    scale, formatter = (items / 100, format_integer) if dataset.is_scored_in_hits else (1.0, format_one_decimal)
    try:
        differences = _score_difference(pairs) if kind == "retention" else _recall_differences(pairs)
    except SlqError as error:
        raise SlqError(f"{source}: {error}") from error
    signed = with_sign(formatter)
    return {key: PairedDifference(difference, source, scale, signed) for key, difference in differences.items()}


def _recall_differences(pairs: Sequence[Tables]) -> dict[tuple[str, str], SeedDifference]:
    """Compute the differences of recalls by direction and metric from the ranks of each seed."""
    found = {}
    for direction in DIRECTION_LABELS:
        hits = [
            (compute_hits_per_image(first, direction), compute_hits_per_image(second, direction))
            for first, second in pairs
        ]
        for metric, difference in recall_seed_differences(hits, BOOTSTRAP_SEED).items():
            found[direction, metric] = difference
    return found


def _score_difference(pairs: Sequence[Tables]) -> dict[tuple[str, str], SeedDifference]:
    """Compute the difference of scores from the answers of each seed, which two methods may inherit from one run."""
    answers = [(_answers_by_id(first), _answers_by_id(second)) for first, second in pairs]
    is_same_run = all(first.attrs["source"] == second.attrs["source"] for first, second in pairs)
    return {SCORE: replace(accuracy_seed_difference(answers, BOOTSTRAP_SEED), is_equal_by_check=is_same_run)}


def _answers_by_id(answers: pd.DataFrame) -> dict[str, bool]:
    """Return whether each answer is correct, by the question's id."""
    return dict(zip(answers["id"], answers["is_correct"], strict=True))
