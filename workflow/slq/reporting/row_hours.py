"""What rows of Table 1 that are no runs spent, from the ledger: nothing of it is training."""

from slq.accounting.ledger import ROWS
from slq.reporting.cells import Cell, hours, integer
from slq.reporting.computed import has_ledger, ledger_lines, ledger_source, no_ledger
from slq.reporting.grid import Group, Row
from slq.reporting.records import Results

COMPARATORS = "Comparators"  # which embed with no backbone of the preset's
NOTE = "Rows of Table 1 that are no runs train nothing; their hours are in no other row of this table."


def of_rows(ours: Results) -> tuple[Group, ...]:
    """A group with a row per backbone that they read out or ask, and one of the others; none where none was counted.

    Without a ledger a row for those that the layout has.
    """
    lines = [line for line in ledger_lines(ours) if line["stage"] == ROWS]
    counted = [line["backbone"] for line in lines]
    if not has_ledger(ours):
        counted = [row.backbone or "" for row in ours.layout.rows]
    labels = {backbone.name: backbone.label for backbone in ours.layout.backbones} | {"": COMPARATORS}
    rows = []
    for name, label in labels.items():
        if count := counted.count(name):
            own = [line for line in lines if line["backbone"] == name]
            rows.append(Row(f"rows/{name or 'comparators'}", f"{label} ({count})", _cells(ours, own)))
    return (Group("rows", "Rows, no runs", tuple(rows)),) if rows else ()


def _cells(ours: Results, lines: list[dict[str, str]]) -> tuple[Cell, ...]:
    """In the columns of Table A; hours of different devices are different units, and are not added.

    No lines: there is no ledger.
    """
    source = ledger_source(ours)
    devices = sorted({line["device"] for line in lines})
    none, unpaired = Cell.missing("the paper tells no hours of it"), Cell.missing("nothing to divide: no training")
    if not lines:
        return (none, *(no_ledger(ours),) * 7, *(unpaired,) * 2)
    unknown = Cell.missing(f"{source} does not say: no steps are counted")
    total = Cell.missing(f"not hours of one device: {source}")
    if not all(line["total_hours"] for line in lines):
        total = Cell.missing(f"{source}, column flags: hours of a line are not known")
    elif len(devices) == 1:
        total = Cell.measured(sum(float(line["total_hours"]) for line in lines), hours, source, comparable=False)
    counts = sorted({float(line["devices"]) for line in lines})
    return (
        none,
        Cell.by_construction(0, integer, f"nothing is trained: {source}"),
        total,
        Cell.word(", ".join(devices), source),
        Cell.word(", ".join(map(integer, counts)), source),
        *(unknown,) * 3,
        *(unpaired,) * 2,
    )
