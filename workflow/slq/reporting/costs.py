"""Training costs: the hours column of Table 3, and Table A, which compares our device hours with the paper's."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from statistics import mean
from typing import Any

from slq.methods.registry import BASE
from slq.reporting.ledger_columns import (
    BASELINES_NOTE,
    baseline_hours_groups,
    flagged_hours_note,
    flops_and_mfu_cells,
    released_pflop_cell,
)
from slq.reporting.notes import cells_by_row, missing_seeds_note
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import (
    MIXED_DEVICES,
    TableCell,
    common_value,
    format_hours,
    format_integer,
    format_parameter_count,
    join_sources,
    with_numbers,
)
from slq.results.layout import LayoutEntry, ReportLayout
from slq.results.load import Results
from slq.results.paper import Paper

HOURS_HEADERS = {"cuda": "GPU Hour", "cpu": "CPU Hour"}
CONVENTION_NOTE = (
    "Hours are device hours: seconds times devices / 3600, where a device is a GPU or, without GPUs, a CPU thread. "
    "Training includes the training steps that led to the final weights, and building the image cache. Total also "
    "includes initialisation, staging, evaluation on the val split, saving, and steps that a later attempt repeated."
)
PAPER_NOTE = (
    "The paper states “GPU hours on COCO for 5 epochs using H800 GPUs”; its poster does not state what they include."
)
RATIOS_NOTE = "A ratio divides hours of one column; hours on different devices are never divided by each other."
FLOPS_NOTE = (
    "PFLOP: in closed form from the tokens, without padding, of the steps that led to the final weights; the image "
    "cache has a separate row in gpu_hours.csv. GradCache saves memory and computes the same result with more FLOPs. "
    "MFU: PFLOP divided by training hours times the device's peak. {}, released: the gradient runs through the whole "
    "sequence; our implementation computes the same gradient without this."
)
SEEDS_NOTE = "Training is the mean per run, Total the sum over the runs of all seeds; our ratios are ratios of means."


def trained_hours(results: Results, *backbones: str) -> list[Any]:
    """Return the training hours of every existing run of a tuned method, for the given backbones or for all."""
    places = product(backbones or [one.name for one in results.layout.backbones], results.layout.trained_methods)
    rows = [results.rows(*place, "run", "", "hours") for place in places]
    return with_numbers(row for of_method in rows for row in of_method)


def parameters_cell(results: Results, backbone: LayoutEntry, method: str) -> TableCell:
    """Build the cell with a method's number of trained parameters, which must be the same for all seeds."""
    found = with_numbers(results.rows(backbone.name, method, "run", "", "parameters"))
    trained = common_value(found)
    if trained is None or method == BASE:
        return results.cell(backbone.name, method, "run", "", "parameters")
    return TableCell.measured(trained, format_parameter_count, join_sources(found), n=len(found))


def hours_cell(results: Results, backbone: LayoutEntry, method: str) -> TableCell:
    """Build the cell with the mean training hours per run of a method.

    Hours are ranked within a backbone only if all runs of the backbone used the same device (kind and name).
    """
    cell = results.cell(backbone.name, method, "run", "", "hours")
    one_device = len(_distinct_devices(trained_hours(results, backbone.name))) == 1
    return replace(cell, comparable=one_device)


def hours_header(hours: Iterable[Any]) -> str:
    """Return the header of the hours: `GPU Hour` or `CPU Hour` if all are of one device, otherwise `Device Hour`.

    Without any hours, the header is the paper's.
    """
    devices = _distinct_devices(hours)
    if len(devices) > 1:
        return "Device Hour"
    return HOURS_HEADERS[devices[0][0]] if devices else HOURS_HEADERS["cuda"]


def hours_note(hours: Sequence[Any]) -> tuple[str, ...]:
    """Write the note that states what the hours include and which devices were used; empty if there are no hours."""
    if not hours:
        return ()
    names = [name for _, name in _distinct_devices(hours)]
    mixed = " Hours on different devices are not ranked." if len(names) > 1 else ""
    unit = "training time times the number of devices (GPUs or CPU threads)"
    return (f"{hours_header(hours)}: {unit}, on {'; '.join(names)}.{mixed}",)


def _distinct_devices(hours: Iterable[Any]) -> list[tuple[str, str]]:
    """List the distinct devices as sorted pairs (kind, name)."""
    return sorted({row.device for row in hours if row.device})


def gpu_hours_table(results: Results, paper: Paper) -> Table:
    """Build Table A: the paper's training hours and ours, by backbone and tuned method."""
    layout = results.layout
    groups = tuple(_backbone_group(results, paper, backbone) for backbone in layout.backbones)
    baseline_groups = baseline_hours_groups(results)
    return Table(
        name="gpu_hours",
        number="A",
        caption="Training costs in device hours, the paper's and ours.",
        stubs=("Backbone", "Method"),
        columns=_columns(layout),
        groups=groups + baseline_groups,
        notes=(
            CONVENTION_NOTE,
            *((SEEDS_NOTE,) if layout.has_several_seeds else ()),
            *((PAPER_NOTE,) if _paper_backbones(paper) else ()),
            RATIOS_NOTE,
            FLOPS_NOTE.format(layout.labels[layout.proposed_method]),
            *((BASELINES_NOTE,) if baseline_groups else ()),
            *_stand_in_note(layout.backbones, paper),
            *missing_seeds_note(layout, cells_by_row(groups)),
            *flagged_hours_note(results),
        ),
    )


def _columns(layout: ReportLayout) -> tuple[Column, ...]:
    """Build the columns; with several seeds, their headers state whether hours are those of one run or of all seeds."""
    one_run, all_seeds = (", one run", ", all seeds") if layout.has_several_seeds else ("", "")
    relative = f"Relative to {layout.labels[layout.cost_baseline]}"
    return (
        Column("paper", ("Paper (H800)", "GPU Hour")),
        Column("ours", ("Ours", f"Training{one_run}")),
        Column("ours_total", ("Ours", f"Total{all_seeds}")),
        Column("device", ("Ours", "Device")),
        Column("count", ("Ours", "Count")),
        Column("pflop", ("Computed", "PFLOP")),
        Column("pflop_grad_cache", ("Computed", "with GradCache")),
        Column("mfu", ("Computed", "MFU %")),
        Column("paper_ratio", (relative, "Paper")),
        Column("ours_ratio", (relative, "Ours")),
    )


def _backbone_group(results: Results, paper: Paper, backbone: LayoutEntry) -> RowGroup:
    """Build the rows of a backbone; the last row is the proposed method as released.

    The paper's hours were measured with the released algorithm. No run here uses it, so only its FLOPs are computed.
    """
    rows = []
    layout, labels = results.layout, results.layout.labels
    proposed, cost_baseline = layout.proposed_method, layout.cost_baseline
    for method in layout.trained_methods:
        paper_hours, paper_ratio = _paper_cells(paper, backbone, method, cost_baseline)
        computed = flops_and_mfu_cells(results, backbone.name, method)
        measured = _measured_hours_cells(results, backbone, method)
        cells = (paper_hours, *measured, *computed, paper_ratio, _measured_ratio_cell(results, backbone, method))
        rows.append(TableRow(f"{backbone.name}/{method}", labels[method], cells))
    if proposed in layout.methods:
        paper_hours, paper_ratio = _paper_cells(paper, backbone, proposed, cost_baseline)
        not_run = TableCell.missing("the released algorithm is not run here, as ours computes the same gradient")
        computed = (released_pflop_cell(results, backbone.name), not_run, not_run)
        cells = (paper_hours, *(not_run,) * 4, *computed, paper_ratio, not_run)
        rows.append(TableRow(f"{backbone.name}/{proposed}_released", f"{labels[proposed]}, released", cells))
    return RowGroup(backbone.name, backbone.label, tuple(rows))


def _paper_backbones(paper: Paper) -> set[str]:
    """Return the backbones whose hours the paper prints."""
    return {row.backbone for row in paper.table("table3", metric="hours")}


def _paper_cells(paper: Paper, backbone: LayoutEntry, method: str, cost_baseline: str) -> tuple[TableCell, TableCell]:
    """Build the cells of the paper's printed hours for a method, and of their ratio to those of the cost baseline."""
    no_row = TableCell.missing(f"the paper has no row {backbone.paper_name or f'that {backbone.label} stands for'}")
    hours, baseline_hours = (
        paper.find("table3", f"{backbone.paper_name}/{one}", "gpu_hours") for one in (method, cost_baseline)
    )
    hours_cell = paper.cell("table3", f"{backbone.paper_name}/{method}", "gpu_hours") or no_row
    if not (hours and baseline_hours and hours.value is not None and baseline_hours.value):
        no_hours = TableCell.missing(f"the paper has no hours of {backbone.paper_name}")
        return hours_cell, no_hours if backbone.paper_name else no_row
    if method == cost_baseline:
        return hours_cell, TableCell.inherited(1, format_integer, f"divided by itself: {baseline_hours.source}")
    ratio = hours.value / baseline_hours.value
    return hours_cell, TableCell.quoted(ratio, format_hours(ratio), join_sources([hours, baseline_hours]))


def _measured_hours_cells(results: Results, backbone: LayoutEntry, method: str) -> tuple[TableCell, ...]:
    """Build four cells: training hours per run, total hours of all seeds, device names, and device counts."""
    rows = with_numbers(results.rows(backbone.name, method, "run", "", "hours"))
    training = results.cell(backbone.name, method, "run", "", "hours")
    if not rows:
        return (training,) * 4
    source, devices = join_sources(rows), [name for _, name in _distinct_devices(rows)]
    counts = sorted({row.record.number("device", "count") for row in rows})
    total = training
    if len(devices) == 1:
        hours = sum(row.value for row in with_numbers(results.rows(backbone.name, method, "run", "", "total_hours")))
        total = TableCell.measured(hours, format_hours, source, comparable=False, n=len(rows))
    words = (TableCell.measured_text(", ".join(texts), source) for texts in (devices, map(format_integer, counts)))
    return (training, total, *words)


def _measured_ratio_cell(results: Results, backbone: LayoutEntry, method: str) -> TableCell:
    """Compute the ratio of our training hours of a method to those of the cost baseline.

    Both must have been measured on the same device. With several seeds, it is a ratio of means.
    """
    cost_baseline = results.layout.cost_baseline
    places = [(backbone.name, one, "run", "", "hours") for one in (method, cost_baseline)]
    rows, baseline_rows = (with_numbers(results.rows(*place)) for place in places)
    if not rows or not baseline_rows:
        return results.cell(*places[1 if rows else 0])
    if method == cost_baseline:
        return TableCell.inherited(1, format_integer, f"divided by itself: {join_sources(rows)}")
    hours, baseline_hours = (mean(row.value for row in found) for found in (rows, baseline_rows))
    if not baseline_hours:
        return TableCell.missing(f"no hours to divide by: {join_sources(baseline_rows)}")
    source = join_sources([*rows, *baseline_rows])
    if len(_distinct_devices([*rows, *baseline_rows])) > 1:
        return TableCell.missing(f"{MIXED_DEVICES}{source}")
    return TableCell.measured(hours / baseline_hours, format_hours, source, comparable=False)


def _stand_in_note(backbones: Sequence[LayoutEntry], paper: Paper) -> tuple[str, ...]:
    """Write the note on stand-in backbones, whose rows show the hours of a backbone of the paper.

    The note is empty if there is no such backbone.
    """
    others = [entry for entry in backbones if not entry.is_from_paper and entry.paper_name in _paper_backbones(paper)]
    stand_ins = [f"{entry.paper_name} for {entry.label}" for entry in others]
    note = f"The paper's hours were measured with other models and other data than ours: {', '.join(stand_ins)}."
    return (note,) if stand_ins else ()
