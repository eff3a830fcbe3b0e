"""The same ranks counted in other ways: ties, single captions, other galleries, images that training has seen."""

from collections.abc import Callable
from dataclasses import replace

from slq.evaluation.rank_table import leak_recalls
from slq.reporting.grid import Column, Group, Row, Table
from slq.reporting.interval_tables import WAYS
from slq.reporting.notes import find_audit, leak_note, leaked, runs_shown
from slq.results.cells import Cell, integer, one_decimal, without_numbers
from slq.results.evidence import ranked
from slq.results.layout import METHODS, Entry
from slq.results.records import Record, Results

RECALL = "R@5"
PARTS = ("clean", "leaked")
HOW = (
    "Printed: as in Tables 1 and 3, ties in the query's favour, any caption of an image a hit. Own captions: the share "
    "of an image's captions that rank within 5, mean over images. Ties: how many ranks they decide."
)


def counts_table(ours: Results) -> Table:
    """R@5 of every method under each way to count a set.

    Raises:
        SlqError: a file that exists cannot be used.
    """
    audit, sets = find_audit(ours), ours.layout.retrieval_sets
    return Table(
        name="counts",
        number="E",
        caption=f"Recall at 5 in percent, counted in other ways. {runs_shown(ours.layout)}",
        stubs=("Counted",),
        columns=tuple(
            Column(f"{method} {way}", (label, WAYS[way])) for method, label in METHODS.items() for way in WAYS
        ),
        groups=tuple(
            Group(one.name, one.label, tuple(row for entry in sets for row in _rows(ours, one, entry, audit)))
            for one in ours.layout.backbones
        ),
        notes=(HOW, *leak_note(ours, audit)),
        widths=(7.6, 1.75),
    )


def _rows(ours: Results, backbone: Entry, entry: Entry, audit: Record | None) -> list[Row]:
    """One way to count after the other, of one set."""
    name = f"retrieval/{entry.name}.json"
    records = ours.everywhere(name, backbone)
    printed = f" ({described(records[0].at('counted'))})" if records else ""

    def row(key: str, label: str, cell_of: Callable[[str, str], Cell]) -> Row:
        cells = tuple(cell_of(method, way) for method in METHODS for way in WAYS)
        return Row(f"{backbone.name}/{entry.name}/{key}", f"{entry.label}: {label}", cells)

    def recall(*keys: str) -> Callable[[str, str], Cell]:
        return lambda method, way: ours.cell(backbone.name, method, name, (*keys, way, RECALL), one_decimal)

    def of_part(part: str) -> Callable[[str, str], Cell]:
        return lambda method, way: leak_cells[method][part, way]

    def strict(method: str, way: str) -> Cell:
        if way == "t2i":
            return Cell.missing("a caption has one image: the same as printed")
        return recall("metrics")(method, "i2t_strict")

    rows = [
        row("printed", f"printed{printed}", recall("metrics")),
        row("pessimistic", "ties against the query", recall("pessimistic")),
        row("ties", "ties", lambda method, way: ours.cell(backbone.name, method, name, ("ties", way), integer)),
        row("strict", "own captions", strict),
    ]
    for other in records[0].at("variants") if records else ():
        label = described(records[0].at("variants", other, "counted"))
        rows.append(row(other, label, recall("variants", other, "metrics")))
    if audit is not None and leaked(audit, entry):
        leak_cells = {method: _leak_cells(ours, backbone, method, entry, audit) for method in METHODS}
        rows += [row(part, part, of_part(part)) for part in PARTS]
    return rows


def described(counted: dict[str, int | None]) -> str:
    """A variant in words."""
    captions = "all captions" if counted["captions"] is None else f"{counted['captions']} captions an image"
    return captions if counted["fold"] is None else f"{captions}, folds of {counted['fold']} images"


def _leak_cells(
    ours: Results, backbone: Entry, method: str, entry: Entry, audit: Record
) -> dict[tuple[str, str], Cell]:
    """By part and direction, the mean over the seeds whose ranks exist."""
    found = [ranked(ours, backbone.name, method, entry.name, seed) for seed in ours.layout.seeds_of(method)]
    there = [one for one in found if not isinstance(one, Cell)]
    lacking = without_numbers(found)
    if not there:
        none = lacking if found else ours.missing(backbone.name, method, f"retrieval/{entry.name}.ranks.parquet")
        return {(part, way): none for part in PARTS for way in WAYS}
    parts = [leak_recalls(one.table, leaked(audit, entry)) for one in there]
    source = "; ".join([*(one.source for one in there), audit.source])
    cells = {}
    for part in PARTS:
        for way in WAYS:
            metrics = [counted[part]["metrics"] for counted in parts]
            values = [recalls[way][RECALL] for recalls in metrics if recalls is not None]
            cell = replace(Cell.mean(values, one_decimal, source), reason=lacking.reason) if values else None
            cells[part, way] = cell or Cell.missing(f"no {part} image")
    return cells
