"""Table C: every recall and score of Tables 1 and 3 with its 95 % confidence interval."""

from collections.abc import Callable, Iterable

from slq.evaluation.reference_recalls import RECALL_METRICS
from slq.evaluation.statistics import accuracy_interval
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import TableCell, empty_cell, format_integer, format_one_decimal, mean_cell, with_numbers
from slq.results.layout import LayoutEntry
from slq.results.load import Results

DIRECTION_LABELS = {"t2i": "T2I", "i2t": "I2T"}
SCORE = ("", "score")  # direction and metric of a score
TABLE_NOTE = (
    "T2I: text to image; I2T: image to text. Recalls: bootstrap over images, each with all its captions. Scores: "
    "Wilson interval over questions. Overlapping intervals do not mean that two methods are equal; Table D compares "
    "methods on the same items."
)
SEEDS_NOTE = (
    "an interval covers the variation between samples of images or questions; the variation between seeds is the "
    "standard deviation in Table 3."
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
        notes=(TABLE_NOTE,),
        widths=(6, 3.8),
        first_seed_reason=SEEDS_NOTE,
    )


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
    """Build the cell of a recall of a method's first seed, with its confidence interval."""
    rows = results.rows(backbone, method, "retrieval", dataset, metric, direction)
    if not rows or not with_numbers(rows[:1]):
        return empty_cell(rows) if rows else results.left_out_cell(method)
    return mean_cell(rows[:1]).with_interval(rows[0].low, rows[0].high, format_one_decimal)


def _score_cell(results: Results, backbone: str, method: str, dataset: LayoutEntry) -> TableCell:
    """Build the cell of an accuracy with its confidence interval, in percent or, for OCRBench, in hits."""
    answers = results.evidence(backbone, method, "retention", dataset.name)
    if isinstance(answers, TableCell):
        return answers
    scale, formatter = (len(answers) / 100, format_integer) if dataset.is_scored_in_hits else (1.0, format_one_decimal)
    interval = accuracy_interval(int(answers["is_correct"].sum()), len(answers))
    make_cell = TableCell.inherited if answers.attrs["inherits"] else TableCell.measured
    cell = make_cell(scale * interval.value, formatter, answers.attrs["source"], n=1)
    return cell.with_interval(scale * interval.low, scale * interval.high, formatter)
