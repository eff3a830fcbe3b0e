"""Table D: paired comparison of the proposed method with the others on the same images and questions.

The claims use the same comparisons.
"""

from functools import cache, partial
from itertools import chain

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
from slq.results.evidence import load_run_answers, load_run_ranks
from slq.results.layout import LayoutEntry
from slq.results.records import Results

SourcedDifference = tuple[Difference, str]  # the difference and its source files
SIGNIFICANCE_LEVEL = 0.05  # a p-value below it gives a verdict
HEADERS = {"difference": "Difference", "p": "p", "verdict": "Verdict"}
TABLE_NOTE = (
    "Difference: {} minus the other, in points of percent, of OCRBench in hits, with its 95 % interval. Recalls: "
    "paired bootstrap over images; scores: McNemar's exact test on the questions that only one of the two answers, "
    f"interval by bootstrap over questions. A verdict needs p below {SIGNIFICANCE_LEVEL}. p is of each row alone: of "
    "twenty rows without a true difference, one gets a verdict on average."
)
SEEDS_NOTE = (
    "runs of one seed see the same data in the same order, and a test on the same images wants a run against a run. It "
    "does not say what another seed would give."
)


def comparisons_table(results: Results) -> Table:
    """Build Table D: differences, intervals, p-values and verdicts of the proposed method against the others.

    Raises:
        SlqError: two runs are not of the same dataset, or a file that exists cannot be used.
    """
    proposed, others, labels = results.layout.proposed_method, results.layout.other_methods, results.layout.labels
    cached_comparison = cache(partial(compare_recalls, results))  # slow, and gives all recalls of a dataset at once

    def recall_cells(backbone: LayoutEntry, dataset: LayoutEntry, direction: str, metric: str) -> list[TableCell]:
        comparisons = (cached_comparison(backbone, proposed, other, dataset) for other in others)
        differences = (one if isinstance(one, TableCell) else one[direction, metric] for one in comparisons)
        cells = (_difference_cells(one, 1.0, format_one_decimal, labels[proposed]) for one in differences)
        return list(chain.from_iterable(cells))

    def score_cells(backbone: LayoutEntry, dataset: LayoutEntry) -> list[TableCell]:
        return [cell for other in others for cell in _score_cells(results, backbone, other, dataset)]

    return Table(
        name="comparisons",
        number="D",
        caption=f"{labels[proposed]} against other tuning, on the same images and questions. "
        f"{describe_runs(results.layout, cells_are_means=False)}",
        stubs=("Benchmark",),
        columns=tuple(
            Column(f"{other} {key}", (f"{labels[proposed]} against {labels[other]}", head))
            for other in others
            for key, head in HEADERS.items()
        ),
        groups=build_backbone_groups(results, recall_cells, score_cells),
        notes=(TABLE_NOTE.format(labels[proposed]), *first_seed_note(results, SEEDS_NOTE)),
        widths=(5.4, 2.9),
    )


def _score_cells(results: Results, backbone: LayoutEntry, other: str, dataset: LayoutEntry) -> list[TableCell]:
    """Build the three cells of a retention dataset."""
    proposed, label = results.layout.proposed_method, results.layout.labels[results.layout.proposed_method]
    comparison = compare_scores(results, backbone, proposed, other, dataset)
    if isinstance(comparison, TableCell):
        return _difference_cells(comparison, 1.0, format_one_decimal, label)
    difference, num_questions = comparison
    scale, formatter = (num_questions / 100, format_integer) if dataset.is_scored_in_hits else (1.0, format_one_decimal)
    return _difference_cells(difference, scale, formatter, label)


def _difference_cells(
    comparison: SourcedDifference | TableCell, scale: float, formatter: Formatter, label: str
) -> list[TableCell]:
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
        TableCell.measured_text(describe_difference(difference, label), source),
    ]


def describe_difference(difference: Difference, label: str) -> str:
    """Return the verdict on the method with this label: higher, lower or not told apart."""
    if difference.p >= SIGNIFICANCE_LEVEL:
        return "not told apart"
    return f"{label} higher" if difference.value > 0 else f"{label} lower"


def compare_recalls(
    results: Results, backbone: LayoutEntry, first_method: str, second_method: str, dataset: LayoutEntry
) -> dict[tuple[str, str], SourcedDifference] | TableCell:
    """Compute the recalls of one method minus another's, by direction and R@K.

    With several seeds, the runs of the first seed are compared. If a method has no ranks, its missing cell is returned.

    Raises:
        SlqError: the two are not of the same images and captions, or a file that exists cannot be used.
    """
    first, second = (
        load_run_ranks(results, backbone.name, method, dataset.name) for method in (first_method, second_method)
    )
    if isinstance(first, TableCell):
        return first
    if isinstance(second, TableCell):
        return second
    source = f"{first.source}; {second.source}"
    compared: dict[tuple[str, str], SourcedDifference] = {}
    for direction in DIRECTION_LABELS:
        try:
            differences = recall_differences(
                compute_hits_per_image(first.table, direction),
                compute_hits_per_image(second.table, direction),
                BOOTSTRAP_SEED,
            )
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
    first, second = (
        load_run_answers(results, backbone.name, method, dataset.name) for method in (first_method, second_method)
    )
    if isinstance(first, TableCell):
        return first
    if isinstance(second, TableCell):
        return second
    source = f"{first.source}; {second.source}"
    try:
        return (accuracy_difference(first.correct_by_id, second.correct_by_id, BOOTSTRAP_SEED), source), len(
            first.correct_by_id
        )
    except SlqError as error:
        raise SlqError(f"{source}: {error}") from error
