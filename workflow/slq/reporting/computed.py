"""What training computed, from the ledger (docs/hours.md): FLOPs, and the share of the device's peak that they mean."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from slq.accounting.ledger import COLUMNS
from slq.files import read_rows
from slq.reporting.cells import Cell, Format, one_decimal, quantity
from slq.reporting.records import Results, relative

NAME = "gpu_hours.csv"
ODD = "Odd in the events, whose hours are of a monotonic clock all the same (column flags of gpu_hours.csv):"


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
        return _unknown(ours)
    return Cell.by_construction(mean(numbers), quantity, f"the closed form on the steps of {ledger_source(ours)}")


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
        return _unknown(ours)
    return Cell.mean(numbers, form, ledger_source(ours), comparable=False)


def _unknown(ours: Results) -> Cell:
    if not has_ledger(ours):
        return no_ledger(ours)
    return Cell.missing(f"{ledger_source(ours)} does not say: no such line, no closed form, or no peak of the device")


def has_ledger(ours: Results) -> bool:
    """Whether the preset has one."""
    return _path(ours).exists()


def no_ledger(ours: Results) -> Cell:
    """The cell for a number of a ledger that does not exist."""
    return Cell.missing(f"{ledger_source(ours)} does not exist")


def _path(ours: Results) -> Path:
    return ours.root / ours.layout.preset / NAME
