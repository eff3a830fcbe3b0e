"""What training cost: the hour cells of Table 3, and the table that sets our hours beside the paper's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slq.accounting.hours import device_hours, total_hours
from slq.errors import SlqError
from slq.reporting.cells import Cell, hours, integer
from slq.reporting.grid import Column, Group, Row, Table
from slq.reporting.layout import METHODS, Entry
from slq.reporting.records import Record, Reference, Results

HEADERS = {"cuda": "GPU Hour", "cpu": "CPU Hour"}
COLUMNS = (
    Column("paper", ("Paper (H800)", "GPU Hour")),
    Column("ours", ("Ours", "Training")),
    Column("ours_total", ("Ours", "Total")),
    Column("device", ("Ours", "Device")),
    Column("count", ("Ours", "Count")),
    Column("paper_ratio", ("Relative to Full FT", "Paper")),
    Column("ours_ratio", ("Relative to Full FT", "Ours")),
)
CONVENTION = (
    "Hours are device hours: seconds times devices / 3600; a device is a GPU or, without GPUs, a CPU thread. Training "
    "counts the training spans alone; Total adds initialisation, staging, evaluation on the val split and saving."
)
PAPER = "The paper: “GPU hours on COCO for 5 epochs using H800 GPUs”; its poster does not say what they include."
RATIOS = "Each ratio stays within one column of hours; hours of different devices are never divided."


@dataclass(frozen=True)
class Spent:
    """Hours of a tuned run and the device they were spent on."""

    source: str
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
    return Spent(run.source, kind, run.text("device", "name"), count, training, total)


def tuned(ours: Results, backbone: Entry) -> dict[str, Spent]:
    """What the existing runs of a backbone spent, by method; the untouched base has nothing to count."""
    runs = {method: ours.run(backbone.name, method) for method in METHODS if method != "base"}
    return {method: spent(run) for method, run in runs.items() if run is not None}


def hours_cell(ours: Results, backbone: Entry, method: str) -> Cell:
    """A run's training hours; they rank within their backbone only if its runs used one device."""
    run = ours.run(backbone.name, method)
    if run is None:
        return ours.missing(backbone.name, method, "run.json")
    if method == "base":
        return Cell.by_construction(0, integer, f"nothing is trained: {run.source}")
    one_device = len(_devices(tuned(ours, backbone).values())) == 1
    return Cell.measured(spent(run).training, hours, run.source, comparable=one_device)


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
    return Table(
        name="gpu_hours",
        number="A",
        caption=f"Device hours of training, the paper's and ours. Preset {layout.preset}, seed {layout.seed}.",
        stubs=("Backbone", "Method"),
        columns=COLUMNS,
        groups=tuple(_group(ours, papers, backbone) for backbone in layout.backbones),
        notes=(CONVENTION, f"{PAPER} {RATIOS}", *_stand_ins(layout.backbones)),
    )


def _group(ours: Results, papers: Reference, backbone: Entry) -> Group:
    rows = []
    for method in METHODS:
        if method != "base":
            paper, ratio = _paper_hours(papers, backbone, method), _paper_ratio(papers, backbone, method)
            cells = (paper, *_our_hours(ours, backbone, method), ratio, _our_ratio(ours, backbone, method))
            rows.append(Row(f"{backbone.name}/{method}", METHODS[method], cells))
    return Group(backbone.name, backbone.label, tuple(rows))


def _paper_hours(papers: Reference, backbone: Entry, method: str) -> Cell:
    quote = papers.table3.get((backbone.reference, method, "gpu_hours"))
    return quote.cell() if quote else Cell.missing(f"the paper has no row {backbone.reference}")


def _our_hours(ours: Results, backbone: Entry, method: str) -> tuple[Cell, ...]:
    """Training, total, device, count."""
    cost = tuned(ours, backbone).get(method)
    if cost is None:
        return (ours.missing(backbone.name, method, "run.json"),) * 4
    return (
        Cell.measured(cost.training, hours, cost.source, comparable=False),
        Cell.measured(cost.total, hours, cost.source, comparable=False),
        Cell.word(cost.device, cost.source),
        Cell.measured(cost.count, integer, cost.source, comparable=False),
    )


def _paper_ratio(papers: Reference, backbone: Entry, method: str) -> Cell:
    """The paper's hours over its full fine-tuning's, of the printed values."""
    part = papers.table3.get((backbone.reference, method, "gpu_hours"))
    whole = papers.table3.get((backbone.reference, "full_ft", "gpu_hours"))
    if part is None or whole is None or part.value is None or not whole.value:
        return Cell.missing(f"the paper has no hours of {backbone.reference}")
    if method == "full_ft":
        return Cell.by_construction(1, integer, f"divided by itself: {whole.source}")
    ratio = part.value / whole.value
    return Cell.quoted(ratio, hours(ratio), f"{part.source}; {whole.source}")


def _our_ratio(ours: Results, backbone: Entry, method: str) -> Cell:
    """Our hours over our full fine-tuning's, on the same device only."""
    costs = tuned(ours, backbone)
    part, whole = costs.get(method), costs.get("full_ft")
    if part is None or whole is None:
        return ours.missing(backbone.name, "full_ft" if part else method, "run.json")
    if method == "full_ft":
        return Cell.by_construction(1, integer, f"divided by itself: {whole.source}")
    if len(_devices([part, whole])) > 1 or not whole.training:
        return Cell.missing(f"{part.source} and {whole.source} are not hours of one device")
    return Cell.measured(part.training / whole.training, hours, f"{part.source}; {whole.source}", comparable=False)


def _stand_ins(backbones: Sequence[Entry]) -> tuple[str, ...]:
    """Says whose hours stand beside a backbone that the paper does not have."""
    named = [f"{entry.reference} for {entry.label}" for entry in backbones if not entry.is_the_papers]
    note = f"The paper's hours are those of {', '.join(named)}: other models and other data than ours."
    return (note,) if named else ()
