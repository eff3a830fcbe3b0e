"""The paper's Tables 1 and 3, filled from stored results; each other table has its room."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from slq.common.errors import SlqError
from slq.reporting.costs import all_costs, gpu_hours, hours_cell, hours_header, hours_note
from slq.reporting.counts import counts_table
from slq.reporting.extended import Published, extended_table
from slq.reporting.grid import Column, Group, Row, Table, mark_columns
from slq.reporting.interval_tables import intervals_table
from slq.reporting.method_comparison import comparisons_table
from slq.reporting.notes import by_row, disputed_notes, fewer_seeds, flag, origin_note, runs_shown
from slq.reporting.recalls import MARKS, SHORT, RecallColumns, Reference, no_set
from slq.reporting.retention import retention_table
from slq.results.cells import NONE, Cell, Format, integer, one_decimal, parameters, rank
from slq.results.layout import METHODS, Entry, Slot, slots
from slq.results.records import Results, agreed, joined

WAYS = {"t2i": "IR", "i2t": "TR"}
TABLE3_SCORES = {"mmmu": "MMMU", "realworldqa": "RealWQA", "ocrbench": "OCRBench"}
WITHIN = "Marks are given within a backbone, among at least two tuned methods."
BASE = " Base, the untouched one, has none."
HEAD = "Full FT's Param. leave out an LM head that is no embedding: no vector depends on it. The paper's count it."
ONE_RUN = "Costs are those of one run. Base has no seed: it is one run."


def collect(ours: Results, reference: Path) -> list[Table]:
    """Tables 1 and 3 of a layout, and those that extend them.

    Args:
        reference: the folder of the paper's values

    Raises:
        SlqError: a file that exists is malformed, incomplete or another run's.
    """
    papers = Reference(reference, ours.root)
    own = [table1(ours, papers), table3(ours, papers), gpu_hours(ours, papers), retention_table(ours)]
    evidence = [intervals_table(ours), comparisons_table(ours), counts_table(ours)]
    return [*own, *evidence, extended_table(ours, papers, Published.read(reference, ours.root))]


def table1(ours: Results, papers: Reference) -> Table:
    """Retrieval of the paper's baselines (quoted) and of SLQ (ours)."""
    columns = RecallColumns(ours, papers)
    labels = {group: models for group, models in papers.recalls.groups.items() if group != "Ours"}
    rows = [Row(model, model, columns.quoted(papers.recalls, model)) for models in labels.values() for model in models]
    for backbone in ours.layout.backbones:
        cells = columns.cells(partial(_recall, ours, backbone.name))
        rows.append(Row(f"{backbone.name}/slq", f"SLQ ({backbone.label})", cells))
    marked = iter(mark_columns(rows, lambda _, cells: rank(cells)))
    groups = [Group(label, label, tuple(islice(marked, len(models)))) for label, models in labels.items()]
    groups.append(Group("Ours", "Ours", tuple(marked)))
    return Table(
        name="table1",
        number="1",
        caption=f"Retrieval on {columns.listed}: the share of queries, in percent, whose best positive ranks within K "
        f"(R@K). {runs_shown(ours.layout)}",
        stubs=("Model",),
        columns=columns.heads(),
        groups=tuple(groups),
        notes=(*columns.notes(), *flag(ours), *fewer_seeds(ours.layout, by_row(groups))),
    )


def _recall(ours: Results, backbone: str, name: str, way: str, recall: str) -> Cell:
    return ours.cell(backbone, "slq", name, ("metrics", way, recall), one_decimal)


def table3(ours: Results, papers: Reference) -> Table:
    """Tuning strategies within each backbone: cost, recall, and what the tuned backbone still answers."""
    retrieval = slots(ours.layout.retrieval_sets, papers.recalled())
    retention = slots(ours.layout.retention_sets, papers.scored())
    costs = all_costs(ours)
    head = (HEAD,) if "full_ft" in ours.layout.methods else ()
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
            *head,
            *one_run,
            *hours_note(costs),
            *origin_note(ours),
            *disputed_notes(ours),
            *fewer_seeds(ours.layout, by_row(groups)),
        ),
    )


def _table3_columns(hours: str, retrieval: Sequence[Slot], retention: Sequence[Slot]) -> tuple[Column, ...]:
    recalls = [
        Column(f"{place.key} {way} R@5", (place.header(SHORT), name))
        for place in retrieval
        for way, name in WAYS.items()
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
    taking_part = [cell for cell in cells if cell.comparable and cell.state not in NONE]
    return rank(cells, higher_is_better=column > 1) if len(taking_part) > 1 else cells


def _strategy(ours: Results, backbone: Entry, method: str, retrieval: Sequence[Slot], retention: Sequence[Slot]) -> Row:
    recalls = [
        _score(ours, backbone, method, "retrieval", place, (way, "R@5"), one_decimal)
        for place in retrieval
        for way in WAYS
    ]
    # OCRBench counts hits of 1,000; the others are percent.
    forms = [integer if place.entry and place.entry.counts_hits else one_decimal for place in retention]
    scores = [
        _score(ours, backbone, method, "retention", place, ("score",), form)
        for place, form in zip(retention, forms, strict=True)
    ]
    cells = [_count(ours, backbone, method), hours_cell(ours, backbone, method), *recalls, *scores]
    if method == "base":
        cells = [replace(cell, comparable=False) for cell in cells]
    return Row(f"{backbone.name}/{method}", METHODS[method], tuple(cells))


def _score(
    ours: Results, backbone: Entry, method: str, kind: str, place: Slot, keys: Sequence[str], form: Format
) -> Cell:
    """A metric of a method on one set."""
    if place.entry is None:
        return no_set(ours, place)
    return ours.cell(backbone.name, method, f"{kind}/{place.entry.name}.json", ("metrics", *keys), form)


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
