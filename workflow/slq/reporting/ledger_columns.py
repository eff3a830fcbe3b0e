"""Columns of Table A that come from the ledger (docs/hours.md): training FLOPs, MFU, and hours of the baselines."""

from pathlib import Path
from statistics import mean

from slq.common.files import read_csv_rows
from slq.cost.ledger import BASELINE_STAGE, COLUMNS
from slq.reporting.table_model import RowGroup, TableRow
from slq.results.cells import (
    Formatter,
    TableCell,
    format_hours,
    format_integer,
    format_one_decimal,
    format_significant_digits,
    with_numbers,
)
from slq.results.load import Results

LEDGER_FILE = "gpu_hours.csv"
FLAGS_NOTE = "Odd in the events, whose hours are of a monotonic clock all the same (column flags of gpu_hours.csv):"

COMPUTED_COLUMNS: tuple[tuple[str, Formatter, float], ...] = (  # how each is printed, and in which unit
    ("pflop", format_significant_digits, 1),
    ("pflop_grad_cache", format_significant_digits, 1),
    ("mfu", format_one_decimal, 100),
)
COMPARATORS_LABEL = "Comparators"  # they use no backbone of the preset
BASELINES_NOTE = "Baselines train nothing; their hours are in no other row of this table."


def flops_and_mfu_cells(results: Results, backbone: str, method: str) -> tuple[TableCell, ...]:
    """Build cells of training PFLOP, PFLOP with GradCache (Gao et al. 2021), and MFU in percent; means over seeds."""
    if not with_numbers(results.rows(backbone, method, "run", "", "hidden_size")):
        return (results.cell(backbone, method, "run", "", "hidden_size"),) * 3
    lines, cells = _training_rows(results, backbone, method), []
    for column, formatter, scale in COMPUTED_COLUMNS:
        numbers = [scale * float(line[column]) for line in lines if line[column]]
        complete = numbers and len(numbers) == len(lines)
        mean_cell = TableCell.mean(numbers, formatter, ledger_source(results), comparable=False) if complete else None
        cells.append(mean_cell or _missing_from_ledger(results))
    return tuple(cells)


def released_pflop_cell(results: Results, backbone: str) -> TableCell:
    """Build the cell with the PFLOP that runs of the proposed method would have needed as it was released."""
    lines = _training_rows(results, backbone, results.layout.proposed_method)
    pflops = [float(line["pflop_released"]) for line in lines if line["pflop_released"]]
    if not pflops:
        return _missing_from_ledger(results)
    source = f"the closed form on the steps of {ledger_source(results)}"
    return TableCell.inherited(mean(pflops), format_significant_digits, source)


def baseline_hours_groups(results: Results) -> tuple[RowGroup, ...]:
    """Build the group of baselines: a row per backbone that baselines use, and one for comparators without a backbone.

    Rows without baselines are left out, and so is a group without rows. Without a ledger, the rows are those of the
    baselines in the layout.
    """
    lines = [line for line in read_ledger_rows(results) if line["stage"] == BASELINE_STAGE]
    backbone_names = [line["backbone"] for line in lines]
    if not _ledger_path(results).exists():
        backbone_names = [baseline.backbone or "" for baseline in results.layout.baselines]
    labels = {backbone.name: backbone.label for backbone in results.layout.backbones} | {"": COMPARATORS_LABEL}
    rows = []
    for name, label in labels.items():
        if count := backbone_names.count(name):
            cells = _baseline_cells(results, [line for line in lines if line["backbone"] == name])
            rows.append(TableRow(f"baselines/{name or 'comparators'}", f"{label} ({count})", cells))
    return (RowGroup("baselines", "Baselines (no training)", tuple(rows)),) if rows else ()


def _baseline_cells(results: Results, lines: list[dict[str, str]]) -> tuple[TableCell, ...]:
    """Build a row of Table A for some baselines.

    Hours of different devices are different units, and are not added up.

    Args:
        lines: the ledger's lines of these baselines; empty if there is no ledger
    """
    source, devices = ledger_source(results), sorted({line["device"] for line in lines})
    no_paper_hours = TableCell.missing("the paper tells no hours of it")
    no_ratios = (TableCell.missing("nothing to divide: no training"),) * 2
    no_flops = _missing_from_ledger(results, "no steps are counted")
    if not lines:
        return (no_paper_hours, *(no_flops,) * 7, *no_ratios)
    if not all(line["total_hours"] for line in lines):
        total = TableCell.missing(f"{source}, column flags: hours of a line are not known")
    elif len(devices) > 1:
        total = TableCell.missing(f"not hours of one device: {source}")
    else:
        hours = sum(float(line["total_hours"]) for line in lines)
        total = TableCell.measured(hours, format_hours, source, comparable=False)
    device_counts = map(format_integer, sorted({float(line["devices"]) for line in lines}))
    words = (TableCell.measured_text(", ".join(texts), source) for texts in (devices, device_counts))
    untrained = TableCell.inherited(0, format_integer, f"nothing is trained: {source}")
    return (no_paper_hours, untrained, total, *words, *(no_flops,) * 3, *no_ratios)


def read_ledger_rows(results: Results) -> list[dict[str, str]]:
    """Read the rows of the preset's ledger; return an empty list if it has none."""
    path = _ledger_path(results)
    if not path.exists():
        return []
    return [row for row, _ in read_csv_rows(path, list(COLUMNS))]


def flagged_hours_note(results: Results) -> tuple[str, ...]:
    """Write the note that quotes the flagged rows of the ledger; empty if no row has a flag."""
    flagged = [
        f"{row['backbone']} {row['method']} (seed {row['seed']}, {row['stage']}): {row['flags']}".strip()
        for row in read_ledger_rows(results)
        if row["flags"]
    ]
    return (f"{FLAGS_NOTE} {'. '.join(flagged)}.",) if flagged else ()


def ledger_source(results: Results) -> str:
    """Return the path of the ledger, as sources print it."""
    return results.relative_path(_ledger_path(results))


def _training_rows(results: Results, backbone: str, method: str) -> list[dict[str, str]]:
    seeds = {str(seed) for seed in results.layout.seeds_of(method)}
    place = {"backbone": backbone, "method": method, "stage": "train"}
    return [row for row in read_ledger_rows(results) if place.items() <= row.items() and row["seed"] in seeds]


def _missing_from_ledger(
    results: Results, detail: str = "no such line, no closed form, or no peak of the device"
) -> TableCell:
    """Return the cell of a number that the ledger lacks, or of a ledger that does not exist."""
    problem = f"does not say: {detail}" if _ledger_path(results).exists() else "does not exist"
    return TableCell.missing(f"{ledger_source(results)} {problem}")


def _ledger_path(results: Results) -> Path:
    return results.folder / LEDGER_FILE
