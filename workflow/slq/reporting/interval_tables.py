"""Table C: every sampled number of Tables 1 and 3 with its 95 % interval."""

from collections.abc import Callable, Iterable

from slq.common.errors import SlqError
from slq.evaluation.statistics import accuracy_interval
from slq.reporting.notes import describe_runs, first_seed_note
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import TableCell, format_integer, format_one_decimal
from slq.results.evidence import load_run_answers
from slq.results.layout import LayoutEntry
from slq.results.records import Record, Results

DIRECTION_LABELS = {"t2i": "T2I", "i2t": "I2T"}
RECALL_METRICS = ("R@1", "R@5", "R@10")
TABLE_NOTE = (
    "T2I: text to image, I2T: image to text. Recalls: bootstrap over images, each with all its captions; scores: "
    "Wilson's interval over questions. Two intervals that overlap do not make two methods equal: Table D compares them "
    "on the same items."
)
SEEDS_NOTE = "an interval says what other images or questions would give; other seeds are Table 3's deviation."


def intervals_table(results: Results) -> Table:
    """Build Table C: recalls and scores with their 95 % intervals, per backbone and method.

    Raises:
        SlqError: a file that exists cannot be used.
    """

    def recall_cells(backbone: LayoutEntry, dataset: LayoutEntry, direction: str, metric: str) -> list[TableCell]:
        records = (
            results.first_seed_record(backbone.name, method, f"retrieval/{dataset.name}.json")
            for method in results.layout.labels
        )
        return [recall_cell(one, direction, metric) for one in records]

    def score_cells(backbone: LayoutEntry, dataset: LayoutEntry) -> list[TableCell]:
        return [_score_cell(results, backbone, method, dataset) for method in results.layout.labels]

    return Table(
        name="intervals",
        number="C",
        caption="Recalls in percent and scores, with 95 % intervals. "
        f"{describe_runs(results.layout, cells_are_means=False)}",
        stubs=("Benchmark",),
        columns=tuple(Column(method, (label,)) for method, label in results.layout.labels.items()),
        groups=build_backbone_groups(results, recall_cells, score_cells),
        notes=(TABLE_NOTE, *first_seed_note(results, SEEDS_NOTE)),
        widths=(6, 3.8),
    )


def build_backbone_groups(
    results: Results,
    recall_cells: Callable[[LayoutEntry, LayoutEntry, str, str], Iterable[TableCell]],
    score_cells: Callable[[LayoutEntry, LayoutEntry], Iterable[TableCell]],
) -> tuple[RowGroup, ...]:
    """Build a group per backbone: a row for each recall of each retrieval dataset, and one for each retention dataset.

    Args:
        recall_cells: makes the cells of a row from a backbone, a dataset, a direction and a recall
        score_cells: makes the cells of a row from a backbone and a retention dataset
    """
    groups = []
    for backbone in results.layout.backbones:
        rows = [
            TableRow(
                f"{backbone.name}/{one.name} {direction} {r}",
                f"{one.label}, {DIRECTION_LABELS[direction]} {r}",
                tuple(recall_cells(backbone, one, direction, r)),
            )
            for one in results.layout.retrieval_datasets
            for direction in DIRECTION_LABELS
            for r in RECALL_METRICS
        ]
        for one in results.layout.retention_datasets:
            rows.append(TableRow(f"{backbone.name}/{one.name}", one.label, tuple(score_cells(backbone, one))))
        groups.append(RowGroup(backbone.name, backbone.label, tuple(rows)))
    return tuple(groups)


def recall_cell(record: Record | TableCell, direction: str, metric: str) -> TableCell:
    """Build the cell of a recall with its interval; a missing or stale file's cell is returned as it is."""
    if isinstance(record, TableCell):
        return record
    value = record.number("metrics", direction, metric)
    return TableCell.measured(value, format_one_decimal, record.source, n=1).with_interval(
        *interval_bounds(record, direction, metric), format_one_decimal
    )


def interval_bounds(record: Record, *keys: str) -> tuple[float, float]:
    """Return the ends of a metric's 95 % interval, as stored in its metrics file.

    Raises:
        SlqError: the file has no such interval.
    """
    match record.value("ci95", *keys):
        case [int() | float() as low, int() | float() as high]:
            return low, high
    raise SlqError(f"{record.path}: key ci95.{'.'.join(keys)} is no pair of numbers; make the file again")


def _score_cell(results: Results, backbone: LayoutEntry, method: str, dataset: LayoutEntry) -> TableCell:
    """Build the cell of an accuracy with its interval: in percent or, for OCRBench, in hits."""
    answers = load_run_answers(results, backbone.name, method, dataset.name)
    if isinstance(answers, TableCell):
        return answers
    scale, formatter = (
        (len(answers.correct_by_id) / 100, format_integer) if dataset.is_scored_in_hits else (1.0, format_one_decimal)
    )
    interval = accuracy_interval(sum(answers.correct_by_id.values()), len(answers.correct_by_id))
    make_cell = TableCell.inherited if answers.inherited else TableCell.measured
    cell = make_cell(scale * interval.value, formatter, answers.source, n=1)
    return cell.with_interval(scale * interval.low, scale * interval.high, formatter)
