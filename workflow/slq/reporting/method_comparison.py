"""Table D: paired comparison of SLQ with LoRA and full fine-tuning on the same images and questions.

The claims use the same comparisons.
"""

from functools import cache, partial

import pandas as pd

from slq.common.errors import SlqError
from slq.evaluation.statistics import (
    BOOTSTRAP_SEED,
    Difference,
    accuracy_difference,
    compute_hits_per_image,
    recall_differences,
)
from slq.reporting.interval_tables import DIRECTION_LABELS, build_backbone_groups
from slq.reporting.notes import describe_runs, first_seed_note
from slq.reporting.table_model import Column, Table
from slq.results.cells import Formatter, TableCell, format_integer, format_one_decimal, format_p_value, with_sign
from slq.results.layout import METHODS, LayoutEntry
from slq.results.load import Results

SourcedDifference = tuple[Difference, str]  # the difference and its source files
OTHER_METHODS = ("lora", "full_ft")
SIGNIFICANCE_LEVEL = 0.05  # a p-value below it gives a verdict
HEADERS = {"difference": "Difference", "p": "p", "verdict": "Verdict"}
TABLE_NOTE = (
    "Difference: SLQ minus the other, in points of percent, of OCRBench in hits, with its 95 % interval. Recalls: "
    "paired bootstrap over images; scores: McNemar's exact test on the questions that only one of the two answers, "
    f"interval by bootstrap over questions. A verdict needs p below {SIGNIFICANCE_LEVEL}. p is of each row alone: of "
    "twenty rows without a true difference, one gets a verdict on average."
)
SEEDS_NOTE = (
    "runs of one seed see the same data in the same order, and a test on the same images wants a run against a run. It "
    "does not say what another seed would give."
)


def comparisons_table(results: Results) -> Table:
    """Build Table D: differences, intervals, p-values and verdicts of SLQ against LoRA and full fine-tuning.

    Raises:
        SlqError: two runs are not of the same dataset, or a file that exists cannot be used.
    """
    cached_comparison = cache(partial(compare_recalls, results))  # slow, and gives all recalls of a dataset at once

    def recall_cells(backbone: LayoutEntry, dataset: LayoutEntry, direction: str, metric: str) -> list[TableCell]:
        comparisons = (cached_comparison(backbone, "slq", other, dataset) for other in OTHER_METHODS)
        differences = (one if isinstance(one, TableCell) else one[direction, metric] for one in comparisons)
        return [cell for one in differences for cell in _difference_cells(one, 1.0, format_one_decimal)]

    def score_cells(backbone: LayoutEntry, dataset: LayoutEntry) -> list[TableCell]:
        return [cell for other in OTHER_METHODS for cell in _score_cells(results, backbone, other, dataset)]

    return Table(
        name="comparisons",
        number="D",
        caption="SLQ against other tuning, on the same images and questions. "
        f"{describe_runs(results.layout, cells_are_means=False)}",
        stubs=("Benchmark",),
        columns=tuple(
            Column(f"{other} {key}", (f"SLQ against {METHODS[other]}", head))
            for other in OTHER_METHODS
            for key, head in HEADERS.items()
        ),
        groups=build_backbone_groups(results, recall_cells, score_cells),
        notes=(TABLE_NOTE, *first_seed_note(results, SEEDS_NOTE)),
        widths=(5.4, 2.9),
    )


def _score_cells(results: Results, backbone: LayoutEntry, other: str, dataset: LayoutEntry) -> list[TableCell]:
    """Build the three cells of a retention dataset."""
    comparison = compare_scores(results, backbone, "slq", other, dataset)
    if isinstance(comparison, TableCell):
        return _difference_cells(comparison, 1.0, format_one_decimal)
    difference, num_questions = comparison
    return _difference_cells(
        difference, *((num_questions / 100, format_integer) if dataset.is_scored_in_hits else (1.0, format_one_decimal))
    )


def _difference_cells(comparison: SourcedDifference | TableCell, scale: float, formatter: Formatter) -> list[TableCell]:
    """Build the cells of a difference: value with interval, p-value and verdict; or the reason why there is none."""
    if isinstance(comparison, TableCell):
        return [comparison] * len(HEADERS)
    (difference, source), signed_formatter = comparison, with_sign(formatter)
    value, low, high = (scale * number for number in (difference.value, difference.low, difference.high))
    return [
        TableCell.measured(value, signed_formatter, source, comparable=False).with_interval(
            low, high, signed_formatter
        ),
        TableCell.measured(difference.p, format_p_value, source, comparable=False),
        TableCell.measured_text(describe_difference(difference), source),
    ]


def describe_difference(difference: Difference) -> str:
    """Return the verdict on SLQ: higher, lower or not told apart."""
    if difference.p >= SIGNIFICANCE_LEVEL:
        return "not told apart"
    return "SLQ higher" if difference.value > 0 else "SLQ lower"


def compare_recalls(
    results: Results, backbone: LayoutEntry, first_method: str, second_method: str, dataset: LayoutEntry
) -> dict[tuple[str, str], SourcedDifference] | TableCell:
    """Compute the recalls of one method minus another's, by direction and R@K.

    With several seeds, the runs of the first seed are compared. If a method has no ranks, its missing cell is returned.

    Raises:
        SlqError: the two are not of the same images and captions, or a file that exists cannot be used.
    """
    found = _load_pair(results, backbone, (first_method, second_method), "retrieval", dataset)
    if isinstance(found, TableCell):
        return found
    first, second, source = found
    compared: dict[tuple[str, str], SourcedDifference] = {}
    for direction in DIRECTION_LABELS:
        hits = (compute_hits_per_image(table, direction) for table in (first, second))
        try:
            differences = recall_differences(*hits, BOOTSTRAP_SEED)
        except SlqError as error:
            raise SlqError(f"{source}: {error}") from error
        compared |= {(direction, metric): (difference, source) for metric, difference in differences.items()}
    return compared


def compare_scores(
    results: Results, backbone: LayoutEntry, first_method: str, second_method: str, dataset: LayoutEntry
) -> tuple[SourcedDifference, int] | TableCell:
    """Compute the accuracy of one method minus another's in percent, and the number of questions.

    If a method has no answers, its missing cell is returned. Errors as in `compare_recalls`.
    """
    found = _load_pair(results, backbone, (first_method, second_method), "retention", dataset)
    if isinstance(found, TableCell):
        return found
    first, second, source = found
    hits = (dict(zip(answers["id"], answers["is_correct"], strict=True)) for answers in (first, second))
    try:
        return (accuracy_difference(*hits, BOOTSTRAP_SEED), source), len(first)
    except SlqError as error:
        raise SlqError(f"{source}: {error}") from error


def _load_pair(
    results: Results, backbone: LayoutEntry, methods: tuple[str, str], kind: str, dataset: LayoutEntry
) -> tuple[pd.DataFrame, pd.DataFrame, str] | TableCell:
    """Load the ranks or answers of two methods, and name both files; or return the first missing one's cell."""
    first, second = (results.evidence(backbone.name, method, kind, dataset.name) for method in methods)
    if isinstance(first, TableCell):
        return first
    if isinstance(second, TableCell):
        return second
    return first, second, f"{first.attrs['source']}; {second.attrs['source']}"
