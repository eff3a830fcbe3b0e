"""The paper's Tables 1 and 3, filled from stored results; each other table has its room."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slq.errors import SlqError
from slq.reporting.cells import Cell, Format, integer, one_decimal, parameters, rank
from slq.reporting.comparisons import comparisons_table
from slq.reporting.costs import all_costs, gpu_hours, hours_cell, hours_header, hours_note
from slq.reporting.counts import counts_table
from slq.reporting.grid import Column, Group, Row, Table, mark_columns
from slq.reporting.intervals import intervals_table
from slq.reporting.layout import METHODS, Entry, Layout, Slot, slots
from slq.reporting.leaks import flag
from slq.reporting.records import Reference, Results, agreed, joined
from slq.reporting.retention import retention_table
from slq.reporting.seeds import by_row, fewer_seeds, runs_shown

DIRECTIONS = {"i2t": "Image → Text", "t2i": "Text → Image"}
RECALLS = ("R@1", "R@5", "R@10")
TABLE1_SETS = {"flickr30k": "Flickr30K (1K test set)", "coco": "COCO (5K test set)"}
TABLE3_SETS = {"flickr30k": "Flickr30K", "coco": "COCO"}
TABLE3_SCORES = {"mmmu": "MMMU", "realworldqa": "RealWQA", "ocrbench": "OCRBench"}
MARKS = "Bold: best; underlined: second-best; values that print alike share a mark."
WITHIN = "Marks are given within a backbone, among at least two tuned methods."
BASE = " Base, the untouched one, has none."
ONE_RUN = "Costs are those of one run. Base has no seed: it is one run."


def collect(layout: Layout, results: Path, reference: Path) -> list[Table]:
    """Tables 1 and 3 of a layout, and those that extend them.

    Args:
        results: the folder that holds one folder per preset
        reference: the folder of the paper's values

    Raises:
        SlqError: a file that exists is malformed, incomplete or another run's.
    """
    ours, papers = Results(results, layout), Reference(reference, results)
    extended = [intervals_table(ours), comparisons_table(ours), counts_table(ours)]
    return [table1(ours, papers), table3(ours, papers), gpu_hours(ours, papers), retention_table(ours), *extended]


def table1(ours: Results, papers: Reference) -> Table:
    """Retrieval of the paper's baselines (quoted) and of SLQ (ours)."""
    places = slots(ours.layout.retrieval_sets, papers.sets())
    labels = {group: models for group, models in papers.groups.items() if group != "Ours"}
    quoted = [Row(model, model, _quoted_cells(papers, model, places)) for models in labels.values() for model in models]
    measured = [_slq_row(ours, backbone, places) for backbone in ours.layout.backbones]
    rows = {row.key: row for row in mark_columns(quoted + measured, lambda _, cells: rank(cells))}
    groups = [Group(label, label, tuple(rows[model] for model in models)) for label, models in labels.items()]
    groups.append(Group("Ours", "Ours", tuple(rows[row.key] for row in measured)))
    return Table(
        name="table1",
        number="1",
        caption=f"Retrieval on {_listed(places)}: the share of queries, in percent, whose best positive ranks within K "
        f"(R@K). {runs_shown(ours.layout)}",
        stubs=("Model",),
        columns=tuple(
            Column(f"{place.key} {way} {recall}", (_counted(ours, place), DIRECTIONS[way], recall))
            for place, way, recall in _recalls(places)
        ),
        groups=tuple(groups),
        notes=(*_table1_notes(places, papers), *flag(ours), *fewer_seeds(ours.layout, by_row(groups))),
    )


def _recalls(places: Sequence[Slot]) -> list[tuple[Slot, str, str]]:
    return [(place, way, recall) for place in places for way in DIRECTIONS for recall in RECALLS]


def _quoted_cells(papers: Reference, model: str, places: Sequence[Slot]) -> tuple[Cell, ...]:
    """A published row; its cells rank with ours only where ours come from the same set."""
    cells = []
    for place, way, recall in _recalls(places):
        quote = papers.table1.get((model, place.reference, way, recall))
        same_set = place.entry is not None and place.entry.is_the_papers
        cells.append(quote.cell(same_set) if quote else Cell.missing("the paper has no such column"))
    return tuple(cells)


def _slq_row(ours: Results, backbone: Entry, places: Sequence[Slot]) -> Row:
    cells = tuple(
        _score(ours, backbone, "slq", "retrieval", place, (way, recall), one_decimal)
        for place, way, recall in _recalls(places)
    )
    return Row(f"{backbone.name}/slq", f"SLQ ({backbone.label})", cells)


def _score(
    ours: Results, backbone: Entry, method: str, kind: str, place: Slot, keys: Sequence[str], form: Format
) -> Cell:
    """A metric of a method on one set."""
    if place.entry is None:
        return Cell.missing(f"preset {ours.layout.preset} has no set that stands for {place.reference}")
    return ours.cell(backbone.name, method, f"{kind}/{place.entry.name}.json", ("metrics", *keys), form)


def _counted(ours: Results, place: Slot) -> str:
    """Table 1's header of a set, with the number of images if results say it."""
    if place.entry is None:
        return place.header(TABLE1_SETS)
    name = f"retrieval/{place.entry.name}.json"
    runs = [(backbone.name, method) for backbone in ours.layout.backbones for method in ours.layout.methods]
    images = agreed([record for run in runs for record in ours.over_seeds(*run, name)], "n", "images")
    if images is None:
        return place.header(TABLE1_SETS)
    count = f"{images / 1000:.0f}K" if images % 1000 == 0 else f"{images:.0f}"
    return f"{place.entry.label} ({count} test images)"


def _table1_notes(places: Sequence[Slot], papers: Reference) -> tuple[str, ...]:
    stand_ins = [
        place for place in places if place.entry and not place.entry.is_the_papers and place.reference in papers.sets()
    ]
    if not stand_ins:
        return (MARKS,)
    its = " and ".join(TABLE3_SETS.get(place.reference, place.reference) for place in stand_ins)
    note = f"Quoted values are the paper's on its own {its}, not on {_listed(stand_ins)}"
    return (MARKS, f"{note}: they take no part in the marks.")


def table3(ours: Results, papers: Reference) -> Table:
    """Tuning strategies within each backbone: cost, recall, and what the tuned backbone still answers."""
    retrieval = slots(ours.layout.retrieval_sets, papers.recalled())
    retention = slots(ours.layout.retention_sets, papers.scored())
    costs = all_costs(ours)
    one_run = (ONE_RUN,) if ours.layout.several else ()
    groups = tuple(_strategies(ours, backbone, retrieval, retention) for backbone in ours.layout.backbones)
    return Table(
        name="table3",
        number="3",
        caption=f"Tuning strategies: parameters trained, training cost, recall at 5 in percent (IR: text to image, TR: "
        f"image to text), and the scores of the tuned backbone. {runs_shown(ours.layout)}",
        stubs=("Backbone", "Method"),
        shared=(Column("dim", ("Dim.",)),),
        columns=_table3_columns(hours_header(costs), retrieval, retention),
        groups=groups,
        notes=(
            MARKS,
            WITHIN + BASE * ours.layout.table3_base,
            *flag(ours),
            *one_run,
            *hours_note(costs),
            *fewer_seeds(ours.layout, by_row(groups)),
        ),
    )


def _table3_columns(hours: str, retrieval: Sequence[Slot], retention: Sequence[Slot]) -> tuple[Column, ...]:
    recalls = [
        Column(f"{place.key} {way} R@5", (place.header(TABLE3_SETS), name))
        for place in retrieval
        for way, name in (("t2i", "IR"), ("i2t", "TR"))
    ]
    scores = [Column(place.key, (place.header(TABLE3_SCORES),)) for place in retention]
    return (Column("parameters", ("Param.",)), Column("hours", (hours,)), *recalls, *scores)


def _strategies(ours: Results, backbone: Entry, retrieval: Sequence[Slot], retention: Sequence[Slot]) -> Group:
    """A backbone's rows, marked."""
    shown = [method for method in METHODS if ours.layout.table3_base or method != "base"]
    rows = [_strategy(ours, backbone, method, retrieval, retention) for method in shown]
    return Group(backbone.name, backbone.label, mark_columns(rows, _mark_strategies), (_width(ours, backbone),))


def _mark_strategies(column: int, cells: Sequence[Cell]) -> Sequence[Cell]:
    """Marks of one column of one backbone; the first two columns are costs, where less is better."""
    taking_part = [cell for cell in cells if cell.comparable and cell.state != "missing"]
    return rank(cells, higher_is_better=column > 1) if len(taking_part) > 1 else cells


def _strategy(ours: Results, backbone: Entry, method: str, retrieval: Sequence[Slot], retention: Sequence[Slot]) -> Row:
    recalls = [
        _score(ours, backbone, method, "retrieval", place, (way, "R@5"), one_decimal)
        for place in retrieval
        for way in ("t2i", "i2t")
    ]
    scores = [
        _score(ours, backbone, method, "retention", place, ("score",), _score_format(place)) for place in retention
    ]
    cells = [_count(ours, backbone, method), hours_cell(ours, backbone, method), *recalls, *scores]
    if method == "base":
        cells = [replace(cell, comparable=False) for cell in cells]
    return Row(f"{backbone.name}/{method}", METHODS[method], tuple(cells))


def _score_format(place: Slot) -> Format:
    """OCRBench counts hits of 1,000; the others are percent."""
    return integer if place.entry is not None and place.entry.counts_hits else one_decimal


def _count(ours: Results, backbone: Entry, method: str) -> Cell:
    """Parameters that a method trains, of which no seed has more than another."""
    runs = ours.runs(backbone.name, method)
    trained = agreed(runs, "parameters", "trainable")
    if trained is None:
        return ours.missing(backbone.name, method, "run.json")
    if method != "base":
        return Cell.measured(trained, parameters, joined(runs), n=len(runs))
    if trained != 0:
        raise SlqError(f"{runs[0].path}: key parameters.trainable is {trained:g}; expected 0, as base trains nothing")
    return Cell.by_construction(0, parameters, f"nothing is trained: {joined(runs)}")


def _width(ours: Results, backbone: Entry) -> Cell:
    """The paper's "Dim.", on which all runs of the backbone agree."""
    runs = [run for method in METHODS for run in ours.runs(backbone.name, method)]
    width = agreed(runs, "width")
    if width is None:
        return Cell.missing(f"no run of {backbone.name} exists")
    return Cell.measured(width, integer, joined(runs), comparable=False)


def _listed(places: Sequence[Slot]) -> str:
    return " and ".join(place.header(TABLE3_SETS) for place in places)
