"""What training cost: the hour cells of Table 3, and the table that sets our hours beside the paper's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from slq.common.errors import SlqError
from slq.cost.hours import device_hours, total_hours
from slq.reporting.grid import Column, Group, Row, Table
from slq.reporting.ledger_columns import NOTE, computed_cells, odd_hours, of_rows, released_pflop
from slq.reporting.notes import by_row, fewer_seeds, runs_shown
from slq.reporting.recalls import Reference
from slq.results.cells import Cell, hours, integer
from slq.results.layout import METHODS, Entry, Layout
from slq.results.records import Record, Results, joined

HEADERS = {"cuda": "GPU Hour", "cpu": "CPU Hour"}
CONVENTION = (
    "Hours are device hours: seconds times devices / 3600; a device is a GPU or, without GPUs, a CPU thread. Training "
    "counts the training spans that the run is made of, and what was kept of images for it; Total adds "
    "initialisation, staging, evaluation on the val "
    "split, saving, and what attempts lost."
)
PAPER = "The paper: “GPU hours on COCO for 5 epochs using H800 GPUs”; its poster does not say what they include."
RATIOS = "Each ratio stays within one column of hours; hours of different devices are never divided."
COMPUTED = (
    "PFLOP: the closed form on the tokens of the steps that count, without padding; what was kept of images has a line "
    "of its own in gpu_hours.csv. In two passes, as memory may "
    "demand, the same result takes more. MFU: PFLOP over training hours and the device's peak. SLQ, released: the "
    "gradient runs through the whole sequence; ours computes the same one without."
)
SEEDS = "Training is that of one run, Total that of the runs of all seeds together; our ratios are of means."


@dataclass(frozen=True)
class Spent:
    """Hours of a tuned run and the device they were spent on."""

    run: Record
    kind: str
    device: str
    count: float
    training: float
    total: float


def spent(run: Record) -> Spent:
    """What a tuned run spent.

    Raises:
        SlqError: its spans or its device are missing or malformed; names file and key.
    """
    kind = run.text("device", "kind")
    if kind not in HEADERS:
        raise SlqError(f"{run.path}: key device.kind is {kind!r}; expected one of {list(HEADERS)}")
    count = run.number("device", "count")
    try:
        training, total = device_hours(run.content), total_hours(run.content)
    except SlqError as error:
        raise SlqError(f"{run.path}: {error}") from error
    return Spent(run, kind, run.text("device", "name"), count, training, total)


def tuned(ours: Results, backbone: Entry) -> dict[str, list[Spent]]:
    """What the existing runs of a backbone spent, by method; the untouched base has nothing to count."""
    return {method: [spent(run) for run in ours.runs(backbone.name, method)] for method in METHODS if method != "base"}


def all_costs(ours: Results) -> list[Spent]:
    """What every existing run of the layout spent."""
    found = [costs for backbone in ours.layout.backbones for costs in tuned(ours, backbone).values()]
    return [cost for costs in found for cost in costs]


def hours_cell(ours: Results, backbone: Entry, method: str) -> Cell:
    """Training hours of one run of a method; they rank within their backbone only if its runs used one device."""
    runs = ours.runs(backbone.name, method)
    if not runs:
        return ours.missing(backbone.name, method, "run.json")
    if method == "base":
        return Cell.by_construction(0, integer, f"nothing is trained: {joined(runs)}")
    costs = tuned(ours, backbone)
    one_device = len(_devices(cost for found in costs.values() for cost in found)) == 1
    return _one_run(costs[method], comparable=one_device)


def _one_run(costs: Sequence[Spent], comparable: bool) -> Cell:
    """Mean training hours over the seeds of a method."""
    if len(_devices(costs)) > 1:
        return _of_several_devices(costs)
    return Cell.mean([cost.training for cost in costs], hours, _files(costs), comparable)


def _of_several_devices(costs: Sequence[Spent]) -> Cell:
    return Cell.missing(f"not hours of one device: {_files(costs)}")


def _files(costs: Sequence[Spent]) -> str:
    return joined([cost.run for cost in costs])


def hours_header(costs: Iterable[Spent]) -> str:
    """`GPU Hour` or `CPU Hour` if all hours were spent on one device; the paper's header if there are none."""
    devices = _devices(costs)
    if len(devices) > 1:
        return "Device Hour"
    return HEADERS[devices[0][0]] if devices else HEADERS["cuda"]


def hours_note(costs: Sequence[Spent]) -> tuple[str, ...]:
    """What the hours are and where they were spent; no note without hours."""
    if not costs:
        return ()
    names = [name for _, name in _devices(costs)]
    mixed = " Hours of different devices are not ranked." if len(names) > 1 else ""
    return (f"{hours_header(costs)}: training spans times devices (GPUs or CPU threads) on {'; '.join(names)}.{mixed}",)


def _devices(costs: Iterable[Spent]) -> list[tuple[str, str]]:
    """The distinct devices, as (kind, name)."""
    return sorted({(cost.kind, cost.device) for cost in costs})


def gpu_hours(ours: Results, papers: Reference) -> Table:
    """The paper's hours and ours per backbone and tuned method."""
    layout = ours.layout
    groups, rows = tuple(_group(ours, papers, backbone) for backbone in layout.backbones), of_rows(ours)
    return Table(
        name="gpu_hours",
        number="A",
        caption=f"Device hours of training, the paper's and ours. {runs_shown(layout)}",
        stubs=("Backbone", "Method"),
        columns=_columns(layout),
        groups=groups + rows,
        notes=(
            CONVENTION,
            *((SEEDS,) if layout.several else ()),
            *((PAPER,) if any(column == "gpu_hours" for _, _, column in papers.table3) else ()),
            RATIOS,
            COMPUTED,
            *((NOTE,) if rows else ()),
            *_stand_ins(layout.backbones, papers),
            *fewer_seeds(layout, by_row(groups)),
            *odd_hours(ours),
        ),
    )


def _columns(layout: Layout) -> tuple[Column, ...]:
    """With several seeds the hours say of how many runs they are."""
    one, all_ = (", one run", ", all seeds") if layout.several else ("", "")
    return (
        Column("paper", ("Paper (H800)", "GPU Hour")),
        Column("ours", ("Ours", f"Training{one}")),
        Column("ours_total", ("Ours", f"Total{all_}")),
        Column("device", ("Ours", "Device")),
        Column("count", ("Ours", "Count")),
        Column("pflop", ("Computed", "PFLOP")),
        Column("pflop_two_pass", ("Computed", "in two passes")),
        Column("mfu", ("Computed", "MFU %")),
        Column("paper_ratio", ("Relative to Full FT", "Paper")),
        Column("ours_ratio", ("Relative to Full FT", "Ours")),
    )


def _group(ours: Results, papers: Reference, backbone: Entry) -> Group:
    rows = []
    for method in METHODS:
        if method != "base":
            paper, ratio = _paper_hours(papers, backbone, method), _paper_ratio(papers, backbone, method)
            computed = computed_cells(ours, backbone.name, method)
            cells = (paper, *_our_hours(ours, backbone, method), *computed, ratio, _our_ratio(ours, backbone, method))
            rows.append(Row(f"{backbone.name}/{method}", METHODS[method], cells))
    if "slq" in ours.layout.methods:
        rows.append(_released(ours, papers, backbone))
    return Group(backbone.name, backbone.label, tuple(rows))


def _released(ours: Results, papers: Reference, backbone: Entry) -> Row:
    """SLQ as released, which the paper's hours are of: no run of ours computes it so."""
    none = Cell.missing("the released algorithm is not run here: ours has the same gradient")
    paper, ratio = _paper_hours(papers, backbone, "slq"), _paper_ratio(papers, backbone, "slq")
    cells = (paper, *(none,) * 4, released_pflop(ours, backbone.name), none, none, ratio, none)
    return Row(f"{backbone.name}/slq_released", "SLQ, released", cells)


def _paper_hours(papers: Reference, backbone: Entry, method: str) -> Cell:
    return papers.table3.get((backbone.reference, method, "gpu_hours"), Cell.missing(_no_row(backbone)))


def _no_row(backbone: Entry) -> str:
    """Why nothing of the paper stands beside a backbone."""
    return f"the paper has no row {backbone.reference or f'that {backbone.label} stands for'}"


def _our_hours(ours: Results, backbone: Entry, method: str) -> tuple[Cell, ...]:
    """Training of one run, total of all seeds, and the devices and counts of devices that there were."""
    costs = tuned(ours, backbone)[method]
    if not costs:
        return (ours.missing(backbone.name, method, "run.json"),) * 4
    return (
        _one_run(costs, comparable=False),
        _all_runs(costs),
        Cell.word(", ".join(name for _, name in _devices(costs)), _files(costs)),
        Cell.word(", ".join(map(integer, sorted({cost.count for cost in costs}))), _files(costs)),
    )


def _all_runs(costs: Sequence[Spent]) -> Cell:
    """Total hours of all seeds of a method together."""
    if len(_devices(costs)) > 1:
        return _of_several_devices(costs)
    total = sum(cost.total for cost in costs)
    return Cell.measured(total, hours, _files(costs), comparable=False, n=len(costs))


def _paper_ratio(papers: Reference, backbone: Entry, method: str) -> Cell:
    """The paper's hours over its full fine-tuning's, of the printed values."""
    part = papers.table3.get((backbone.reference, method, "gpu_hours"))
    whole = papers.table3.get((backbone.reference, "full_ft", "gpu_hours"))
    if not (part and whole and isinstance(part.value, float) and isinstance(whole.value, float) and whole.value):
        return Cell.missing(
            f"the paper has no hours of {backbone.reference}" if backbone.reference else _no_row(backbone)
        )
    if method == "full_ft":
        return Cell.by_construction(1, integer, f"divided by itself: {whole.source}")
    ratio = part.value / whole.value
    return Cell.quoted(ratio, hours(ratio), f"{part.source}; {whole.source}")


def _our_ratio(ours: Results, backbone: Entry, method: str) -> Cell:
    """Our hours over our full fine-tuning's, on the same device only; of several seeds, mean over mean."""
    costs = tuned(ours, backbone)
    part, whole = costs[method], costs["full_ft"]
    if not part or not whole:
        return ours.missing(backbone.name, "full_ft" if part else method, "run.json")
    if method == "full_ft":
        return Cell.by_construction(1, integer, f"divided by itself: {_files(whole)}")
    divisor = mean(cost.training for cost in whole)
    if not divisor:
        return Cell.missing(f"no hours to divide by: {_files(whole)}")
    if len(_devices([*part, *whole])) > 1:
        return _of_several_devices([*part, *whole])
    ratio = mean(cost.training for cost in part) / divisor
    return Cell.measured(ratio, hours, _files([*part, *whole]), comparable=False)


def _stand_ins(backbones: Sequence[Entry], papers: Reference) -> tuple[str, ...]:
    """Says whose hours stand beside a backbone that is not the paper's; nothing of one beside which none stand."""
    theirs = {name for name, _, column in papers.table3 if column == "gpu_hours"}
    named = [
        f"{entry.reference} for {entry.label}"
        for entry in backbones
        if not entry.is_the_papers and entry.reference in theirs
    ]
    note = f"The paper's hours are those of {', '.join(named)}: other models and other data than ours."
    return (note,) if named else ()
