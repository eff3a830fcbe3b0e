"""Every number of Tables 1 and 3 that is counted on a sample, with the interval that other samples would fall in."""

from collections.abc import Callable, Iterable

from slq.common.errors import SlqError
from slq.evaluation.statistics import accuracy_interval
from slq.reporting.grid import Column, Group, Row, Table
from slq.reporting.notes import one_run, runs_shown
from slq.results.cells import Cell, integer, one_decimal
from slq.results.evidence import judged
from slq.results.layout import METHODS, Entry
from slq.results.records import Record, Results

WAYS = {"t2i": "T2I", "i2t": "I2T"}
RECALLS = ("R@1", "R@5", "R@10")
HOW = (
    "T2I: text to image, I2T: image to text. Recalls: bootstrap over images, each with all its captions; scores: "
    "Wilson's interval over questions. Two intervals that overlap do not make two methods equal: Table D compares them "
    "on the same items."
)
SEEDS = "an interval says what other images or questions would give; other seeds are Table 3's deviation."


def intervals_table(ours: Results) -> Table:
    """Recalls and scores with their 95 % intervals, per backbone and method.

    Raises:
        SlqError: a file that exists cannot be used.
    """

    def recalls(backbone: Entry, entry: Entry, way: str, recall: str) -> list[Cell]:
        found = (ours.compared(backbone.name, method, f"retrieval/{entry.name}.json") for method in METHODS)
        return [recall_cell(one, way, recall) for one in found]

    def scores(backbone: Entry, entry: Entry) -> list[Cell]:
        return [_score(ours, backbone, method, entry) for method in METHODS]

    return Table(
        name="intervals",
        number="C",
        caption=f"Recalls in percent and scores, with 95 % intervals. {runs_shown(ours.layout, mean=False)}",
        stubs=("Benchmark",),
        columns=tuple(Column(method, (label,)) for method, label in METHODS.items()),
        groups=by_benchmark(ours, recalls, scores),
        notes=(HOW, *one_run(ours, SEEDS)),
        widths=(6, 3.8),
    )


def by_benchmark(
    ours: Results,
    recall_cells: Callable[[Entry, Entry, str, str], Iterable[Cell]],
    score_cells: Callable[[Entry, Entry], Iterable[Cell]],
) -> tuple[Group, ...]:
    """A group per backbone: a row for each recall of each retrieval set, and one for each retention set.

    Args:
        recall_cells: of a backbone and a set, a direction and a recall
        score_cells: of a backbone and a set
    """
    groups = []
    for backbone in ours.layout.backbones:
        rows = [
            Row(
                f"{backbone.name}/{one.name} {way} {r}",
                f"{one.label}, {WAYS[way]} {r}",
                tuple(recall_cells(backbone, one, way, r)),
            )
            for one in ours.layout.retrieval_sets
            for way in WAYS
            for r in RECALLS
        ]
        for one in ours.layout.retention_sets:
            rows.append(Row(f"{backbone.name}/{one.name}", one.label, tuple(score_cells(backbone, one))))
        groups.append(Group(backbone.name, backbone.label, tuple(rows)))
    return tuple(groups)


def recall_cell(record: Record | Cell, way: str, recall: str) -> Cell:
    """A recall of one metrics file with its interval; without the file its cell."""
    if isinstance(record, Cell):
        return record
    value = record.number("metrics", way, recall)
    return Cell.measured(value, one_decimal, record.source, n=1).between(*ends(record, way, recall), one_decimal)


def ends(record: Record, *keys: str) -> tuple[float, float]:
    """The ends of a recall's 95 % interval, as its metrics file has them.

    Raises:
        SlqError: it has none.
    """
    match record.at("ci95", *keys):
        case [int() | float() as low, int() | float() as high]:
            return low, high
    raise SlqError(f"{record.path}: key ci95.{'.'.join(keys)} is no pair of numbers; make the file again")


def _score(ours: Results, backbone: Entry, method: str, entry: Entry) -> Cell:
    """In percent, of OCRBench in hits."""
    found = judged(ours, backbone.name, method, entry.name)
    if isinstance(found, Cell):
        return found
    unit, form = (len(found.hits) / 100, integer) if entry.counts_hits else (1.0, one_decimal)
    interval = accuracy_interval(sum(found.hits.values()), len(found.hits))
    make = Cell.by_construction if found.by_construction else Cell.measured
    cell = make(unit * interval.value, form, found.source, n=1)
    return cell.between(unit * interval.low, unit * interval.high, form)
