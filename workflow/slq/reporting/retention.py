"""What a tuned backbone still answers, by set and type of question, beside chance and the base that sees no image."""

from collections.abc import Sequence

from slq.common.errors import SlqError
from slq.reporting.grid import Column, Group, Row, Table
from slq.reporting.notes import disputed_notes, fewer_seeds, origin_note, runs_shown
from slq.results.cells import Cell, Format, integer, one_decimal
from slq.results.layout import METHODS, Entry
from slq.results.records import Record, Results, agreed, joined

COLUMNS = (
    Column("n", ("Items",)),
    Column("chance", ("Chance",)),
    Column("blind", ("Base, blind",)),
    *(Column(method, (label,)) for method, label in METHODS.items()),
)
# Where a metrics file has the number of items, chance and accuracy: of all items, and under each type.
WHOLE: Sequence[tuple[str, ...]] = (("n", "items"), ("chance",), ("metrics", "accuracy"))
OF_TYPE = ("n", "chance", "score")
CHANCE = (
    "Chance: the mean over items of the best guess that sees neither picture nor question: of multiple choice any "
    "option, of an open question the answer that most open items of its type accept."
)
BLIND = "Base, blind: the same questions without their images."


def retention_table(ours: Results) -> Table:
    """The share of right answers by method, of base without images, and by chance, per backbone, set and type.

    Raises:
        SlqError: runs of one set were scored by different scorers, or disagree about its items or chance.
    """
    layout = ours.layout
    groups = tuple(_group(ours, backbone) for backbone in layout.backbones)
    return Table(
        name="retention",
        number="B",
        caption=f"Right answers in percent, by retention set and type of question. {runs_shown(layout)}",
        stubs=("Questions",),
        columns=COLUMNS,
        groups=groups,
        widths=(9, 1.75),
        notes=(
            *_scorer_note(ours),
            *origin_note(ours),
            *disputed_notes(ours),
            CHANCE,
            BLIND,
            *fewer_seeds(layout, _by_method(groups)),
        ),
    )


def _by_method(groups: tuple[Group, ...]) -> dict[str, list[Cell]]:
    """The cells of each method's column, by `<backbone>/<method>`."""
    columns = [column.key for column in COLUMNS]
    return {
        f"{group.key}/{method}": [row.cells[columns.index(method)] for row in group.rows]
        for group in groups
        for method in METHODS
    }


def _group(ours: Results, backbone: Entry) -> Group:
    """A backbone's rows: each set as a whole, then by type."""
    rows = []
    for entry in ours.layout.retention_sets:
        types = sorted({type_ for record in _records(ours, backbone, entry) for type_ in record.at("types")})
        rows += [_row(ours, backbone, entry, one) for one in ("", *types)]
    return Group(backbone.name, backbone.label, tuple(rows))


def _row(ours: Results, backbone: Entry, entry: Entry, type_: str = "") -> Row:
    """The row of a set, or of its items of one type."""
    items, chance, accuracy = [("types", type_, key) for key in OF_TYPE] if type_ else WHOLE
    sighted, blind = f"retention/{entry.name}.json", f"blind/{entry.name}.json"
    cells = (
        _agreed(ours, backbone, entry, items, integer),
        _agreed(ours, backbone, entry, chance, one_decimal),
        ours.cell(backbone.name, "base", blind, accuracy, one_decimal),
        *(ours.cell(backbone.name, method, sighted, accuracy, one_decimal) for method in METHODS),
    )
    key, label = (f"{entry.name}/{type_}", f"{entry.label}: {type_}") if type_ else (entry.name, entry.label)
    return Row(f"{backbone.name}/{key}", label, cells)


def _records(ours: Results, backbone: Entry, entry: Entry) -> list[Record]:
    """The files in which the answers of a backbone's runs to a set are scored."""
    blind = ours.over_seeds(backbone.name, "base", f"blind/{entry.name}.json")
    return [*ours.everywhere(f"retention/{entry.name}.json", backbone), *blind]


def _agreed(ours: Results, backbone: Entry, entry: Entry, keys: tuple[str, ...], form: Format) -> Cell:
    """A number that belongs to the set, whoever answers."""
    records = _records(ours, backbone, entry)
    number = agreed(records, *keys)
    if number is None:
        return Cell.missing(f"no answers of {backbone.name} to {entry.name} exist")
    return Cell.measured(number, form, joined(records), comparable=False)


def _scorer_note(ours: Results) -> tuple[str, ...]:
    """Whose verdicts the numbers count, by set; no note without numbers."""
    named = []
    for entry in ours.layout.retention_sets:
        records = [record for backbone in ours.layout.backbones for record in _records(ours, backbone, entry)]
        for record in records:
            if record.text("scorer") != records[0].text("scorer"):
                raise SlqError(f"scorer differs between {records[0].path} and {record.path}: one of them is stale")
        if records:
            named.append(f"{entry.label} by {records[0].text('scorer')}")
    return (f"Scorers: {'; '.join(named)}.",) if named else ()
