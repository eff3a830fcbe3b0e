"""What Table A takes from the ledger (docs/hours.md): FLOPs and MFU of training, hours of rows that are no runs."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from slq.common.files import read_rows
from slq.cost.ledger import COLUMNS, ROWS
from slq.reporting.grid import Group, Row
from slq.results.cells import Cell, Format, hours, integer, one_decimal, quantity
from slq.results.records import Results, relative

NAME = "gpu_hours.csv"
ODD = "Odd in the events, whose hours are of a monotonic clock all the same (column flags of gpu_hours.csv):"

COMPARATORS = "Comparators"  # which embed with no backbone of the preset's
NOTE = "Rows of Table 1 that are no runs train nothing; their hours are in no other row of this table."


def computed_cells(ours: Results, backbone: str, method: str) -> tuple[Cell, ...]:
    """PFLOP of training, PFLOP of the same in two passes, and MFU in percent; of several seeds the means."""
    if not ours.runs(backbone, method):
        return (ours.missing(backbone, method, "run.json"),) * 3
    found = _training(ours, backbone, method)
    return tuple(
        _mean(ours, [row[column] for row in found], form, scale)
        for column, form, scale in (("pflop", quantity, 1), ("pflop_two_pass", quantity, 1), ("mfu", one_decimal, 100))
    )


def released_pflop(ours: Results, backbone: str) -> Cell:
    """PFLOP that the runs of SLQ would have computed with the released algorithm."""
    values = [row["pflop_released"] for row in _training(ours, backbone, "slq")]
    numbers = [float(value) for value in values if value]
    if not numbers:
        return _silent(ours)
    return Cell.by_construction(mean(numbers), quantity, f"the closed form on the steps of {ledger_source(ours)}")


def of_rows(ours: Results) -> tuple[Group, ...]:
    """A group with a row per backbone that they read out or ask, and one of the others; none where none was counted.

    Without a ledger a row for those that the layout has.
    """
    lines = [line for line in ledger_lines(ours) if line["stage"] == ROWS]
    counted = [line["backbone"] for line in lines]
    if not _path(ours).exists():
        counted = [row.backbone or "" for row in ours.layout.rows]
    labels = {backbone.name: backbone.label for backbone in ours.layout.backbones} | {"": COMPARATORS}
    rows = []
    for name, label in labels.items():
        if count := counted.count(name):
            own = [line for line in lines if line["backbone"] == name]
            rows.append(Row(f"rows/{name or 'comparators'}", f"{label} ({count})", _row_cells(ours, own)))
    return (Group("rows", "Rows, no runs", tuple(rows)),) if rows else ()


def _row_cells(ours: Results, lines: list[dict[str, str]]) -> tuple[Cell, ...]:
    """In the columns of Table A; hours of different devices are different units, and are not added.

    No lines: there is no ledger.
    """
    source = ledger_source(ours)
    devices = sorted({line["device"] for line in lines})
    none, unpaired = Cell.missing("the paper tells no hours of it"), Cell.missing("nothing to divide: no training")
    unknown = _silent(ours, "no steps are counted")
    if not lines:
        return (none, *(unknown,) * 7, *(unpaired,) * 2)
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


def ledger_lines(ours: Results) -> list[dict[str, str]]:
    """The lines of the preset's ledger; none without one."""
    path = _path(ours)
    if not path.exists():
        return []
    return [row for row, _ in read_rows(path, list(COLUMNS))]


def odd_hours(ours: Results) -> tuple[str, ...]:
    """A note that names the lines of the ledger with a flag, and what it says; none where none has one."""
    odd = [
        f"{row['backbone']} {row['method']} (seed {row['seed']}, {row['stage']}): {row['flags']}".strip()
        for row in ledger_lines(ours)
        if row["flags"]
    ]
    return (f"{ODD} {'. '.join(odd)}.",) if odd else ()


def ledger_source(ours: Results) -> str:
    """The ledger's path as sources have it."""
    return relative(_path(ours), ours.root)


def _training(ours: Results, backbone: str, method: str) -> list[dict[str, str]]:
    seeds = {str(seed) for seed in ours.layout.seeds_of(method)}
    place = (backbone, method, "train")
    return [
        row
        for row in ledger_lines(ours)
        if (row["backbone"], row["method"], row["stage"]) == place and row["seed"] in seeds
    ]


def _mean(ours: Results, values: Sequence[str], form: Format, scale: float) -> Cell:
    numbers = [scale * float(value) for value in values if value]
    if not numbers or len(numbers) < len(values):
        return _silent(ours)
    return Cell.mean(numbers, form, ledger_source(ours), comparable=False)


def _silent(ours: Results, why: str = "no such line, no closed form, or no peak of the device") -> Cell:
    """The cell for a number that the ledger does not have, or of a ledger that does not exist."""
    says = f"does not say: {why}" if _path(ours).exists() else "does not exist"
    return Cell.missing(f"{ledger_source(ours)} {says}")


def _path(ours: Results) -> Path:
    return ours.root / ours.layout.preset / NAME
