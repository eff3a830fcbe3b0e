"""Cost of training: the hours column of Table 3, and Table A, which compares our device hours with the paper's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from slq.common.errors import SlqError
from slq.cost.hours import total_device_hours, training_device_hours
from slq.methods.registry import BASE
from slq.reporting.ledger_columns import (
    BASELINES_NOTE,
    baseline_hours_groups,
    flagged_hours_note,
    flops_and_mfu_cells,
    released_pflop_cell,
)
from slq.reporting.notes import cells_by_row, describe_runs, missing_seeds_note
from slq.reporting.recalls import PaperTables
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import TableCell, format_hours, format_integer
from slq.results.layout import LayoutEntry, ReportLayout
from slq.results.records import Record, Results, joined_sources

HOURS_HEADERS = {"cuda": "GPU Hour", "cpu": "CPU Hour"}
CONVENTION_NOTE = (
    "Hours are device hours: seconds times devices / 3600; a device is a GPU or, without GPUs, a CPU thread. Training "
    "counts the training spans that the run is made of, and what was cached of images for it; Total adds "
    "initialisation, staging, evaluation on the val "
    "split, saving, and steps that a later attempt repeated."
)
PAPER_NOTE = "The paper: “GPU hours on COCO for 5 epochs using H800 GPUs”; its poster does not say what they include."
RATIOS_NOTE = "Each ratio stays within one column of hours; hours of different devices are never divided."
FLOPS_NOTE = (
    "PFLOP: the closed form on the tokens of the steps that count, without padding; what was cached of images has a "
    "line of its own in gpu_hours.csv. With GradCache, as memory may demand, the same result takes more. MFU: "
    "PFLOP over training hours and the device's peak. SLQ, released: the gradient runs through the whole "
    "sequence; ours computes the same one without."
)
SEEDS_NOTE = "Training is that of one run, Total that of the runs of all seeds together; our ratios are of means."


@dataclass(frozen=True)
class RunCost:
    """Device hours of a tuned run, and the devices that it used."""

    run: Record
    device_kind: str
    device_name: str
    num_devices: float
    training_hours: float
    total_hours: float


def compute_run_cost(run: Record) -> RunCost:
    """Compute the device hours of a tuned run.

    Raises:
        SlqError: the spans or the device of the run are missing or malformed; the message names file and key.
    """
    kind = run.text("device", "kind")
    if kind not in HOURS_HEADERS:
        raise SlqError(f"{run.path}: key device.kind is {kind!r}; expected one of {list(HOURS_HEADERS)}")
    count = run.number("device", "count")
    try:
        training, total = training_device_hours(run.content), total_device_hours(run.content)
    except SlqError as error:
        raise SlqError(f"{run.path}: {error}") from error
    return RunCost(run, kind, run.text("device", "name"), count, training, total)


def costs_by_method(results: Results, backbone: LayoutEntry) -> dict[str, list[RunCost]]:
    """Compute the cost of each existing run of a backbone, by method; base is left out, as it is not trained."""
    return {
        method: [compute_run_cost(run) for run in results.run_records(backbone.name, method)]
        for method in results.layout.trained_methods
    }


def all_costs(results: Results) -> list[RunCost]:
    """Compute the cost of every existing run of the layout."""
    costs_per_method = [
        costs for backbone in results.layout.backbones for costs in costs_by_method(results, backbone).values()
    ]
    return [cost for costs in costs_per_method for cost in costs]


def hours_cell(results: Results, backbone: LayoutEntry, method: str) -> TableCell:
    """Build the cell with the mean training hours of one run of a method.

    Hours are ranked within a backbone only if all of its runs used the same device (kind and name).
    """
    runs = results.run_records(backbone.name, method)
    if not runs:
        return results.missing_cell(backbone.name, method, "run.json")
    if method == BASE:
        return TableCell.inherited(0, format_integer, f"nothing is trained: {joined_sources(runs)}")
    costs = costs_by_method(results, backbone)
    one_device = len(_distinct_devices(cost for found in costs.values() for cost in found)) == 1
    return _training_hours_cell(costs[method], comparable=one_device)


def _training_hours_cell(costs: Sequence[RunCost], comparable: bool) -> TableCell:
    """Build the cell with the mean training hours over the seeds of a method."""
    if len(_distinct_devices(costs)) > 1:
        return _mixed_devices_cell(costs)
    return TableCell.mean([cost.training_hours for cost in costs], format_hours, _run_sources(costs), comparable)


def _mixed_devices_cell(costs: Sequence[RunCost]) -> TableCell:
    return TableCell.missing(f"not hours of one device: {_run_sources(costs)}")


def _run_sources(costs: Sequence[RunCost]) -> str:
    return joined_sources([cost.run for cost in costs])


def hours_header(costs: Iterable[RunCost]) -> str:
    """Return the header of the hours: `GPU Hour` or `CPU Hour` if one device gave all of them, else `Device Hour`.

    Without any hours it is the paper's header.
    """
    devices = _distinct_devices(costs)
    if len(devices) > 1:
        return "Device Hour"
    return HOURS_HEADERS[devices[0][0]] if devices else HOURS_HEADERS["cuda"]


def hours_note(costs: Sequence[RunCost]) -> tuple[str, ...]:
    """Write the note that says what the hours count and on which devices they were spent; empty without hours."""
    if not costs:
        return ()
    names = [name for _, name in _distinct_devices(costs)]
    mixed = " Hours of different devices are not ranked." if len(names) > 1 else ""
    return (f"{hours_header(costs)}: training spans times devices (GPUs or CPU threads) on {'; '.join(names)}.{mixed}",)


def _distinct_devices(costs: Iterable[RunCost]) -> list[tuple[str, str]]:
    """List the distinct devices, sorted, as (kind, name)."""
    return sorted({(cost.device_kind, cost.device_name) for cost in costs})


def gpu_hours_table(results: Results, paper: PaperTables) -> Table:
    """Build Table A: the paper's hours and ours, by backbone and tuned method."""
    layout = results.layout
    groups, baseline_groups = (
        tuple(_backbone_group(results, paper, backbone) for backbone in layout.backbones),
        baseline_hours_groups(results),
    )
    return Table(
        name="gpu_hours",
        number="A",
        caption=f"Device hours of training, the paper's and ours. {describe_runs(layout)}",
        stubs=("Backbone", "Method"),
        columns=_columns(layout),
        groups=groups + baseline_groups,
        notes=(
            CONVENTION_NOTE,
            *((SEEDS_NOTE,) if layout.has_several_seeds else ()),
            *((PAPER_NOTE,) if any(column == "gpu_hours" for _, _, column in paper.table3) else ()),
            RATIOS_NOTE,
            FLOPS_NOTE,
            *((BASELINES_NOTE,) if baseline_groups else ()),
            *_stand_in_note(layout.backbones, paper),
            *missing_seeds_note(layout, cells_by_row(groups)),
            *flagged_hours_note(results),
        ),
    )


def _columns(layout: ReportLayout) -> tuple[Column, ...]:
    """Build the columns; with several seeds, the headers say whether the hours are of one run or of all seeds."""
    one_run, all_seeds = (", one run", ", all seeds") if layout.has_several_seeds else ("", "")
    return (
        Column("paper", ("Paper (H800)", "GPU Hour")),
        Column("ours", ("Ours", f"Training{one_run}")),
        Column("ours_total", ("Ours", f"Total{all_seeds}")),
        Column("device", ("Ours", "Device")),
        Column("count", ("Ours", "Count")),
        Column("pflop", ("Computed", "PFLOP")),
        Column("pflop_grad_cache", ("Computed", "with GradCache")),
        Column("mfu", ("Computed", "MFU %")),
        Column("paper_ratio", ("Relative to Full FT", "Paper")),
        Column("ours_ratio", ("Relative to Full FT", "Ours")),
    )


def _backbone_group(results: Results, paper: PaperTables, backbone: LayoutEntry) -> RowGroup:
    rows = []
    for method in results.layout.trained_methods:
        paper_hours, paper_ratio = (
            _paper_hours_cell(paper, backbone, method),
            _paper_ratio_cell(paper, backbone, method, results.layout.cost_baseline),
        )
        ledger_cells = flops_and_mfu_cells(results, backbone.name, method)
        cells = (
            paper_hours,
            *_measured_hours_cells(results, backbone, method),
            *ledger_cells,
            paper_ratio,
            _measured_ratio_cell(results, backbone, method),
        )
        rows.append(TableRow(f"{backbone.name}/{method}", results.layout.labels[method], cells))
    if results.layout.proposed_method in results.layout.methods:
        rows.append(_released_row(results, paper, backbone))
    return RowGroup(backbone.name, backbone.label, tuple(rows))


def _released_row(results: Results, paper: PaperTables, backbone: LayoutEntry) -> TableRow:
    """Build the row of SLQ as released.

    The paper's hours are of this algorithm; no run here uses it, so only its FLOPs are computed.
    """
    not_run = TableCell.missing("the released algorithm is not run here: ours has the same gradient")
    method = results.layout.proposed_method
    paper_hours = _paper_hours_cell(paper, backbone, method)
    paper_ratio = _paper_ratio_cell(paper, backbone, method, results.layout.cost_baseline)
    cells = (
        paper_hours,
        *(not_run,) * 4,
        released_pflop_cell(results, backbone.name),
        not_run,
        not_run,
        paper_ratio,
        not_run,
    )
    return TableRow(f"{backbone.name}/{method}_released", f"{results.layout.labels[method]}, released", cells)


def _paper_hours_cell(paper: PaperTables, backbone: LayoutEntry, method: str) -> TableCell:
    return paper.table3.get(
        (backbone.paper_name, method, "gpu_hours"), TableCell.missing(_no_paper_row_reason(backbone))
    )


def _no_paper_row_reason(backbone: LayoutEntry) -> str:
    """Explain why the paper has no numbers for a backbone."""
    return f"the paper has no row {backbone.paper_name or f'that {backbone.label} stands for'}"


def _measured_hours_cells(results: Results, backbone: LayoutEntry, method: str) -> tuple[TableCell, ...]:
    """Build four cells: training hours of one run, total hours of all seeds, names and numbers of devices."""
    costs = costs_by_method(results, backbone)[method]
    if not costs:
        return (results.missing_cell(backbone.name, method, "run.json"),) * 4
    return (
        _training_hours_cell(costs, comparable=False),
        _total_hours_cell(costs),
        TableCell.measured_text(", ".join(name for _, name in _distinct_devices(costs)), _run_sources(costs)),
        TableCell.measured_text(
            ", ".join(map(format_integer, sorted({cost.num_devices for cost in costs}))), _run_sources(costs)
        ),
    )


def _total_hours_cell(costs: Sequence[RunCost]) -> TableCell:
    """Build the cell with the total hours of all seeds of a method together."""
    if len(_distinct_devices(costs)) > 1:
        return _mixed_devices_cell(costs)
    total = sum(cost.total_hours for cost in costs)
    return TableCell.measured(total, format_hours, _run_sources(costs), comparable=False, n=len(costs))


def _paper_ratio_cell(paper: PaperTables, backbone: LayoutEntry, method: str, cost_baseline: str) -> TableCell:
    """Compute the paper's hours of a method divided by its hours of the cost baseline, both as printed."""
    method_hours = paper.table3.get((backbone.paper_name, method, "gpu_hours"))
    baseline_hours = paper.table3.get((backbone.paper_name, cost_baseline, "gpu_hours"))
    if not (
        method_hours
        and baseline_hours
        and isinstance(method_hours.value, float)
        and isinstance(baseline_hours.value, float)
        and baseline_hours.value
    ):
        paper_name = backbone.paper_name
        return TableCell.missing(
            f"the paper has no hours of {paper_name}" if paper_name else _no_paper_row_reason(backbone)
        )
    if method == cost_baseline:
        return TableCell.inherited(1, format_integer, f"divided by itself: {baseline_hours.source}")
    ratio = method_hours.value / baseline_hours.value
    return TableCell.quoted(ratio, format_hours(ratio), f"{method_hours.source}; {baseline_hours.source}")


def _measured_ratio_cell(results: Results, backbone: LayoutEntry, method: str) -> TableCell:
    """Compute our training hours of a method divided by those of the cost baseline.

    Both must come from the same device; with several seeds, the mean is divided by the mean.
    """
    costs, cost_baseline = costs_by_method(results, backbone), results.layout.cost_baseline
    method_costs, baseline_costs = costs[method], costs[cost_baseline]
    if not method_costs or not baseline_costs:
        return results.missing_cell(backbone.name, cost_baseline if method_costs else method, "run.json")
    if method == cost_baseline:
        return TableCell.inherited(1, format_integer, f"divided by itself: {_run_sources(baseline_costs)}")
    baseline_hours = mean(cost.training_hours for cost in baseline_costs)
    if not baseline_hours:
        return TableCell.missing(f"no hours to divide by: {_run_sources(baseline_costs)}")
    if len(_distinct_devices([*method_costs, *baseline_costs])) > 1:
        return _mixed_devices_cell([*method_costs, *baseline_costs])
    ratio = mean(cost.training_hours for cost in method_costs) / baseline_hours
    return TableCell.measured(ratio, format_hours, _run_sources([*method_costs, *baseline_costs]), comparable=False)


def _stand_in_note(backbones: Sequence[LayoutEntry], paper: PaperTables) -> tuple[str, ...]:
    """Write the note on backbones that are not the paper's, beside which the hours of one of the paper's are printed.

    The note is empty if there is no such backbone.
    """
    paper_backbones = {name for name, _, column in paper.table3 if column == "gpu_hours"}
    stand_ins = [
        f"{entry.paper_name} for {entry.label}"
        for entry in backbones
        if not entry.is_from_paper and entry.paper_name in paper_backbones
    ]
    note = f"The paper's hours are those of {', '.join(stand_ins)}: other models and other data than ours."
    return (note,) if stand_ins else ()
