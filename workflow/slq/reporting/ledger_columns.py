"""Columns of Table A from the ledger (docs/hours.md): training FLOPs, MFU, and the hours of the baselines."""

from statistics import mean

import pandas as pd

from slq.reporting.table_model import RowGroup, TableRow
from slq.results.cells import (
    MIXED_DEVICES,
    Formatter,
    TableCell,
    format_hours,
    format_integer,
    format_one_decimal,
    format_significant_digits,
    with_numbers,
)
from slq.results.ledger import BASELINE_STAGE
from slq.results.load import Results, as_rows

FLAGS_NOTE = "Anomalies in the events (column flags of gpu_hours.csv); hours are always taken from a monotonic clock:"
COMPUTED_COLUMNS: tuple[tuple[str, Formatter, float], ...] = (  # column, format, and scale to the printed unit
    ("pflop", format_significant_digits, 1),
    ("pflop_grad_cache", format_significant_digits, 1),
    ("mfu", format_one_decimal, 100),
)
COMPARATORS_LABEL = "Comparators"  # they use no backbone of the preset
BASELINES_NOTE = "Baselines are not trained; no other row of this table includes their hours."


def flops_and_mfu_cells(results: Results, backbone: str, method: str) -> tuple[TableCell, ...]:
    """Build the cells of training PFLOP, PFLOP with GradCache (Gao et al. 2021) and MFU in percent (seed means)."""
    if not with_numbers(results.rows(backbone, method, "run", "", "hidden_size")):
        return (results.cell(backbone, method, "run", "", "hidden_size"),) * 3
    lines, cells = _training_lines(results, backbone, method), []
    for column, formatter, scale in COMPUTED_COLUMNS:
        if len(lines) and lines[column].notna().all():
            numbers = [scale * value for value in lines[column]]
            cells.append(TableCell.mean(numbers, formatter, ledger_source(results), comparable=False))
        else:
            cells.append(_missing_from_ledger(results))
    return tuple(cells)


def released_pflop_cell(results: Results, backbone: str) -> TableCell:
    """Build the cell with the PFLOP that the proposed method's runs would need with the released algorithm."""
    pflops = _training_lines(results, backbone, results.layout.proposed_method)["pflop_released"].dropna()
    if pflops.empty:
        return _missing_from_ledger(results)
    source = f"the closed form on the steps of {ledger_source(results)}"
    return TableCell.inherited(mean(pflops.tolist()), format_significant_digits, source)


def baseline_hours_groups(results: Results) -> tuple[RowGroup, ...]:
    """Build the group of baselines: one row per backbone that baselines use, and one for those without a backbone.

    Rows without baselines are left out, and so is a group without rows. Without a ledger, the rows follow from the
    baselines in the layout.
    """
    lines = results.ledger[results.ledger["stage"] == BASELINE_STAGE]
    backbone_names = lines["backbone"].tolist()
    if not results.ledger_path.exists():
        backbone_names = [baseline.backbone or "" for baseline in results.layout.baselines]
    labels = {backbone.name: backbone.label for backbone in results.layout.backbones} | {"": COMPARATORS_LABEL}
    rows = []
    for name, label in labels.items():
        if count := backbone_names.count(name):
            cells = _baseline_cells(results, lines[lines["backbone"] == name])
            rows.append(TableRow(f"baselines/{name or 'comparators'}", f"{label} ({count})", cells))
    return (RowGroup("baselines", "Baselines (no training)", tuple(rows)),) if rows else ()


def _baseline_cells(results: Results, lines: pd.DataFrame) -> tuple[TableCell, ...]:
    """Build the cells of a row of Table A for several baselines.

    Hours on different devices are different units and are not added.

    Args:
        lines: the ledger's lines of these baselines; empty if there is no ledger
    """
    source, devices = ledger_source(results), sorted({*lines["device"]})
    no_paper_hours = TableCell.missing("the paper gives no hours for it")
    no_ratios = (TableCell.missing("no ratio, because nothing is trained"),) * 2
    no_flops = _missing_from_ledger(results, "no steps are recorded")
    if lines.empty:
        return (no_paper_hours, *(no_flops,) * 7, *no_ratios)
    if lines["total_hours"].isna().any():
        total = TableCell.missing(f"{source}, column flags: the hours of a row are not known")
    elif len(devices) > 1:
        total = TableCell.missing(f"{MIXED_DEVICES}{source}")
    else:
        total = TableCell.measured(sum(lines["total_hours"].tolist()), format_hours, source, comparable=False)
    device_counts = map(format_integer, sorted({*lines["devices"]}))
    words = (TableCell.measured_text(", ".join(texts), source) for texts in (devices, device_counts))
    untrained = TableCell.inherited(0, format_integer, f"nothing is trained: {source}")
    return (no_paper_hours, untrained, total, *words, *(no_flops,) * 3, *no_ratios)


def flagged_hours_note(results: Results) -> tuple[str, ...]:
    """Write the note that quotes the flagged rows of the ledger; empty if no row has a flag."""
    flagged = [
        f"{row.backbone} {row.method} (seed {row.seed:.0f}, {row.stage}): {row.flags}".strip()
        for row in as_rows(results.ledger)
        if row.flags
    ]
    return (f"{FLAGS_NOTE} {'. '.join(flagged)}.",) if flagged else ()


def ledger_source(results: Results) -> str:
    """Return the path of the ledger, as printed in sources."""
    return results.relative_path(results.ledger_path)


def _training_lines(results: Results, backbone: str, method: str) -> pd.DataFrame:
    ledger = results.ledger
    of_run = (ledger["backbone"] == backbone) & (ledger["method"] == method) & (ledger["stage"] == "train")
    return ledger[of_run & ledger["seed"].isin(results.layout.seeds_of(method))]


def _missing_from_ledger(
    results: Results, detail: str = "no such row, no closed form, or no known peak of the device"
) -> TableCell:
    """Return the missing cell for a number that the ledger lacks, or for a ledger that does not exist."""
    problem = f"has no such number: {detail}" if results.ledger_path.exists() else "does not exist"
    return TableCell.missing(f"{ledger_source(results)} {problem}")
