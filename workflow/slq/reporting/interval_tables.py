"""Table C: every recall and score of Tables 1 and 3 with its 95 % confidence interval."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from slq.evaluation.reference_recalls import RECALL_METRICS
from slq.evaluation.seed_differences import MIN_SEEDS, mean_interval
from slq.evaluation.statistics import Interval, accuracy_interval
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import TableCell, empty_cell, format_integer, format_one_decimal, mean_cell, with_numbers
from slq.results.layout import LayoutEntry, ReportLayout
from slq.results.load import Results

DIRECTION_LABELS = {"t2i": "T2I", "i2t": "I2T"}
SCORE = ("", "score")  # direction and metric of a score
TABLE_NOTE = (
    "T2I: text to image; I2T: image to text. Recalls: bootstrap over images, each with all its captions. Scores: "
    "Wilson interval over questions. Overlapping intervals do not mean that two methods are equal; Table D compares "
    "methods on the same items."
)
MEAN_AND_INTERVAL = "mean, with its 95 % interval"
SEEDS_NOTE = (
    "Several seeds: a number is the mean over the seeds. From {min_seeds} seeds on, its interval also covers the "
    "variation between seeds (Student's t); with fewer, only that between samples of images or questions."
)


def intervals_table(results: Results) -> Table:
    """Build Table C: recalls and scores with their 95 % confidence intervals, by backbone and method."""

    def make_cells(backbone: LayoutEntry, dataset: LayoutEntry, direction: str, metric: str) -> list[TableCell]:
        if (direction, metric) == SCORE:
            return [_score_cell(results, backbone.name, method, dataset) for method in results.layout.labels]
        return [
            recall_cell(results, backbone.name, method, dataset.name, metric, direction)
            for method in results.layout.labels
        ]

    return Table(
        name="intervals",
        number="C",
        caption="Recalls in percent and scores, with 95 % confidence intervals.",
        stubs=("Benchmark",),
        columns=tuple(Column(method, (label,)) for method, label in results.layout.labels.items()),
        groups=build_backbone_groups(results, make_cells),
        notes=(TABLE_NOTE, *interval_seeds_note(results.layout)),
        widths=(6, 3.8),
        several_seeds=MEAN_AND_INTERVAL,
    )


def interval_seeds_note(layout: ReportLayout) -> tuple[str, ...]:
    """Write the note on what the intervals of several seeds cover; empty with one seed."""
    return (SEEDS_NOTE.format(min_seeds=MIN_SEEDS),) if layout.has_several_seeds else ()


def build_backbone_groups(
    results: Results, make_cells: Callable[[LayoutEntry, LayoutEntry, str, str], Iterable[TableCell]]
) -> tuple[RowGroup, ...]:
    """Build a group per backbone: a row for each recall of each retrieval dataset, and one for each retention dataset.

    Args:
        make_cells: makes the cells of a row, given backbone, dataset, direction and metric (for a score, SCORE)
    """
    layout = results.layout
    recalls = [(direction, metric) for direction in DIRECTION_LABELS for metric in RECALL_METRICS]
    places = [(dataset, *place) for dataset in layout.retrieval_datasets for place in recalls]
    places += [(dataset, *SCORE) for dataset in layout.retention_datasets]
    groups = []
    for backbone in layout.backbones:
        rows = []
        for dataset, direction, metric in places:
            key = f"{backbone.name}/{dataset.name}" + f" {direction} {metric}" * bool(direction)
            label = f"{dataset.label}, {DIRECTION_LABELS[direction]} {metric}" if direction else dataset.label
            rows.append(TableRow(key, label, tuple(make_cells(backbone, dataset, direction, metric))))
        groups.append(RowGroup(backbone.name, backbone.label, tuple(rows)))
    return tuple(groups)


def recall_cell(results: Results, backbone: str, method: str, dataset: str, metric: str, direction: str) -> TableCell:
    """Build the cell of a recall's mean over the seeds, with its confidence interval instead of its deviation."""
    rows = results.rows(backbone, method, "retrieval", dataset, metric, direction)
    found = with_numbers(rows)
    if not found:
        return empty_cell(rows) if rows else results.left_out_cell(method)
    interval = mean_interval([Interval(row.value, row.low, row.high) for row in found])
    cell = replace(mean_cell(rows), sd=None, spread="")
    return cell.with_interval(interval.low, interval.high, format_one_decimal)


def _score_cell(results: Results, backbone: str, method: str, dataset: LayoutEntry) -> TableCell:
    """Build the cell of an accuracy's mean over the seeds with its interval, in percent or, for OCRBench, in hits."""
    by_seed = results.evidence(backbone, method, "retention", dataset.name)
    if isinstance(by_seed, TableCell):
        return by_seed
    answers = list(by_seed.values())
    scale, formatter = (
        (len(answers[0]) / 100, format_integer) if dataset.is_scored_in_hits else (1.0, format_one_decimal)
    )
    interval = mean_interval([accuracy_interval(int(one["is_correct"].sum()), len(one)) for one in answers])
    make_cell = TableCell.inherited if all(one.attrs["inherits"] for one in answers) else TableCell.measured
    source = "; ".join(dict.fromkeys(one.attrs["source"] for one in answers))
    cell = make_cell(scale * interval.value, formatter, source, n=len(answers))
    return cell.with_interval(scale * interval.low, scale * interval.high, formatter)
