"""What Table A takes from the ledger (docs/hours.md): FLOPs and MFU of training, hours of the baselines."""

from collections.abc import Sequence
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
)
from slq.results.records import Results, relative_path

LEDGER_FILE = "gpu_hours.csv"
FLAGS_NOTE = "Odd in the events, whose hours are of a monotonic clock all the same (column flags of gpu_hours.csv):"

COMPARATORS_LABEL = "Comparators"  # which embed with no backbone of the preset's
BASELINES_NOTE = "Baselines train nothing; their hours are in no other row of this table."


def flops_and_mfu_cells(results: Results, backbone: str, method: str) -> tuple[TableCell, ...]:
    """PFLOP of training, PFLOP of the same with GradCache, and MFU in percent; of several seeds the means."""
    if not results.run_records(backbone, method):
        return (results.missing_cell(backbone, method, "run.json"),) * 3
    ledger_rows = _training_rows(results, backbone, method)
    return tuple(
        _mean_cell(results, [row[column] for row in ledger_rows], formatter, scale)
        for column, formatter, scale in (
            ("pflop", format_significant_digits, 1),
            ("pflop_grad_cache", format_significant_digits, 1),
            ("mfu", format_one_decimal, 100),
        )
    )


def released_pflop_cell(results: Results, backbone: str) -> TableCell:
    """PFLOP that the runs of SLQ would have computed with the released algorithm."""
    values = [row["pflop_released"] for row in _training_rows(results, backbone, "slq")]
    pflops = [float(value) for value in values if value]
    if not pflops:
        return _missing_from_ledger(results)
    return TableCell.inherited(
        mean(pflops), format_significant_digits, f"the closed form on the steps of {ledger_source(results)}"
    )


def baseline_hours_groups(results: Results) -> tuple[RowGroup, ...]:
    """A group with a row per backbone that they read out or ask, and one of the others; none where none was counted.

    Without a ledger a row for those that the layout has.
    """
    lines = [line for line in read_ledger_rows(results) if line["stage"] == BASELINE_STAGE]
    backbone_names = [line["backbone"] for line in lines]
    if not _ledger_path(results).exists():
        backbone_names = [baseline.backbone or "" for baseline in results.layout.baselines]
    labels = {backbone.name: backbone.label for backbone in results.layout.backbones} | {"": COMPARATORS_LABEL}
    rows = []
    for name, label in labels.items():
        if count := backbone_names.count(name):
            backbone_lines = [line for line in lines if line["backbone"] == name]
            rows.append(
                TableRow(
                    f"baselines/{name or 'comparators'}", f"{label} ({count})", _baseline_cells(results, backbone_lines)
                )
            )
    return (RowGroup("baselines", "Baselines (no training)", tuple(rows)),) if rows else ()


def _baseline_cells(results: Results, lines: list[dict[str, str]]) -> tuple[TableCell, ...]:
    """In the columns of Table A; hours of different devices are different units, and are not added.

    No lines: there is no ledger.
    """
    source = ledger_source(results)
    devices = sorted({line["device"] for line in lines})
    no_paper_hours, no_ratio = (
        TableCell.missing("the paper tells no hours of it"),
        TableCell.missing("nothing to divide: no training"),
    )
    no_flops = _missing_from_ledger(results, "no steps are counted")
    if not lines:
        return (no_paper_hours, *(no_flops,) * 7, *(no_ratio,) * 2)
    total_cell = TableCell.missing(f"not hours of one device: {source}")
    if not all(line["total_hours"] for line in lines):
        total_cell = TableCell.missing(f"{source}, column flags: hours of a line are not known")
    elif len(devices) == 1:
        total_cell = TableCell.measured(
            sum(float(line["total_hours"]) for line in lines), format_hours, source, comparable=False
        )
    device_counts = sorted({float(line["devices"]) for line in lines})
    return (
        no_paper_hours,
        TableCell.inherited(0, format_integer, f"nothing is trained: {source}"),
        total_cell,
        TableCell.measured_text(", ".join(devices), source),
        TableCell.measured_text(", ".join(map(format_integer, device_counts)), source),
        *(no_flops,) * 3,
        *(no_ratio,) * 2,
    )


def read_ledger_rows(results: Results) -> list[dict[str, str]]:
    """The lines of the preset's ledger; none without one."""
    path = _ledger_path(results)
    if not path.exists():
        return []
    return [row for row, _ in read_csv_rows(path, list(COLUMNS))]


def flagged_hours_note(results: Results) -> tuple[str, ...]:
    """A note that names the lines of the ledger with a flag, and what it says; none where none has one."""
    flagged = [
        f"{row['backbone']} {row['method']} (seed {row['seed']}, {row['stage']}): {row['flags']}".strip()
        for row in read_ledger_rows(results)
        if row["flags"]
    ]
    return (f"{FLAGS_NOTE} {'. '.join(flagged)}.",) if flagged else ()


def ledger_source(results: Results) -> str:
    """The ledger's path as sources have it."""
    return relative_path(_ledger_path(results), results.root)


def _training_rows(results: Results, backbone: str, method: str) -> list[dict[str, str]]:
    seeds = {str(seed) for seed in results.layout.seeds_of(method)}
    stage_key = (backbone, method, "train")
    return [
        row
        for row in read_ledger_rows(results)
        if (row["backbone"], row["method"], row["stage"]) == stage_key and row["seed"] in seeds
    ]


def _mean_cell(results: Results, values: Sequence[str], formatter: Formatter, scale: float) -> TableCell:
    numbers = [scale * float(value) for value in values if value]
    if not numbers or len(numbers) < len(values):
        return _missing_from_ledger(results)
    return TableCell.mean(numbers, formatter, ledger_source(results), comparable=False)


def _missing_from_ledger(
    results: Results, detail: str = "no such line, no closed form, or no peak of the device"
) -> TableCell:
    """The cell for a number that the ledger does not have, or of a ledger that does not exist."""
    problem = f"does not say: {detail}" if _ledger_path(results).exists() else "does not exist"
    return TableCell.missing(f"{ledger_source(results)} {problem}")


def _ledger_path(results: Results) -> Path:
    return results.root / results.layout.preset / LEDGER_FILE
