"""What the figures show: points of runs in panels, each with the file it came from, and the runs that are not there."""

from collections.abc import Sequence
from dataclasses import dataclass

from slq.errors import SlqError
from slq.reporting.cells import Cell
from slq.reporting.costs import all_costs, hours_header, spent
from slq.reporting.layout import METHODS, Entry, Layout
from slq.reporting.records import Results, joined

Run = tuple[Entry, str, int]  # backbone, method, seed
WAYS = {"t2i": "T2I", "i2t": "I2T"}


@dataclass(frozen=True)
class Point:
    """A point of a figure; `x` is a word where the axis has no scale."""

    x: float | str
    y: float
    source: str


@dataclass(frozen=True)
class Series:
    """The points of one run in one panel; `part` tells several lines of a run apart."""

    backbone: Entry
    method: str
    seed: int
    points: tuple[Point, ...]
    part: str = ""

    @property
    def key(self) -> str:
        """The series in `figures.csv`."""
        return " ".join(filter(None, (f"{self.backbone.name}/{self.method}/seed{self.seed}", self.part)))


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its key in `figures.csv`, its title, what it shows, and the runs that it would show.

    stale: those that are there, with a file whose numbers do not follow from its ranks or answers
    """

    key: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    absent: tuple[Run, ...]
    stale: tuple[Run, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A figure: its name, its panels from left to right and top to bottom, what more stands below them."""

    name: str
    panels: tuple[Panel, ...]
    note: str = ""


def recall_chart(ours: Results) -> Chart:
    """T2I R@5 against training hours, a panel per retrieval set, a point per run."""
    costs = all_costs(ours)
    devices = "; ".join(sorted({cost.device for cost in costs}))
    unit = hours_header(costs).replace("Hour", "hours")
    label = f"training ({unit})\non {devices}" if costs else "training (hours)"
    return Chart("recall", tuple(_recall_panel(ours, entry, label) for entry in ours.layout.retrieval_sets))


def _recall_panel(ours: Results, entry: Entry, x_label: str) -> Panel:
    found = {run: _recall_point(ours, run, entry) for run in runs(ours)}
    series = tuple(Series(*run, (point,)) for run, point in found.items() if point is not None)
    lacking = without(ours, [run for run, point in found.items() if point is None], f"retrieval/{entry.name}.json")
    return Panel(entry.name, entry.label, x_label, "T2I R@5 (%)", series, *lacking)


def _recall_point(ours: Results, run: Run, entry: Entry) -> Point | None:
    """Hours and recall of a run; 0 hours of the base by construction, as it is not trained.

    Raises:
        SlqError: a training that took no time, which has no place on a logarithmic axis.
    """
    backbone, method, seed = run
    record = ours.run(backbone.name, method, seed)
    recall = ours.find(backbone.name, method, seed, f"retrieval/{entry.name}.json")
    if record is None or recall is None:
        return None
    hours = 0.0 if method == "base" else spent(record).training
    if method != "base" and hours <= 0:
        raise SlqError(f"{record.path}: key spans.train is 0; expected the seconds of a training")
    return Point(hours, recall.number("metrics", "t2i", "R@5"), f"{recall.source}; {record.source}")


def retention_chart(ours: Results) -> Chart:
    """Each tuned run's score minus the base's of its backbone, a panel per retention set."""
    panels = tuple(_retention_panel(ours, entry) for entry in ours.layout.retention_sets)
    baseless = any(method == "base" for panel in panels for _, method, _ in (*panel.absent, *panel.stale))
    notes = ["A backbone whose base was not run has no differences."] if baseless else []
    proved = dict.fromkeys(
        METHODS[method]
        for backbone, method, _ in runs(ours)
        for entry in ours.layout.retention_sets
        if any(one.by_construction for one in ours.over_seeds(backbone.name, method, f"retention/{entry.name}.json"))
    )
    notes += [f"The 0 of {', '.join(proved)} is known by construction."] if proved else []
    return Chart("retention", panels, note=" ".join(notes))


def _retention_panel(ours: Results, entry: Entry) -> Panel:
    name = f"retention/{entry.name}.json"
    scores = {run: ours.find(run[0].name, *run[1:], name) for run in runs(ours)}
    bases = {backbone: score for (backbone, method, _), score in scores.items() if method == "base"}
    series = []
    for (backbone, method, seed), score in scores.items():
        base = bases.get(backbone)
        if method != "base" and score and base:
            difference = score.number("metrics", "score") - base.number("metrics", "score")
            point = Point(backbone.name, difference, joined([score, base]))
            series.append(Series(backbone, method, seed, (point,)))
    unit = "hits" if entry.counts_hits else "points"
    lacking = without(ours, [run for run, score in scores.items() if score is None], name)
    return Panel(entry.name, entry.label, "", f"score \N{MINUS SIGN} base\n({unit})", tuple(series), *lacking)


def training_chart(ours: Results) -> Chart:
    """Of each backbone two panels: loss over steps, and both recalls at 5 on the val split after each epoch."""
    curves = {run: _curves(ours, run) for run in runs(ours) if run[1] != "base"}
    absent = tuple(run for run, curve in curves.items() if not curve)
    panels = []
    for backbone in ours.layout.backbones:
        lines = [line for (owner, _, _), curve in curves.items() if owner == backbone for line in curve]
        loss = tuple(line for line in lines if not line.part)
        val = tuple(line for line in lines if line.part)
        panels.append(Panel(f"{backbone.name} loss", backbone.label, "step", "loss", loss, absent))
        panels.append(Panel(f"{backbone.name} val", backbone.label, "epoch", "R@5 on val (%)", val, absent))
    return Chart("training", tuple(panels))


def _curves(ours: Results, run: Run) -> list[Series]:
    """A run's loss and its two recalls, from its events; no series without any step.

    A step or an epoch that several attempts made is shown as the last of them made it: the weights are its.
    """
    backbone, method, seed = run
    steps: dict[float, Point] = {}
    epochs: dict[str, dict[float, Point]] = {part: {} for part in WAYS.values()}
    for event in ours.lines(backbone.name, method, seed, "events/train.jsonl"):
        if event.text("event") == "step":
            step = event.number("step")
            steps[step] = Point(step, event.number("loss"), event.source)
        elif event.text("event") == "val":
            epoch = event.number("epoch") + 1
            for way, part in WAYS.items():
                epochs[part][epoch] = Point(epoch, event.number("recalls", way, "R@5"), event.source)
    curves = {"": steps, **epochs}
    return [Series(backbone, method, seed, tuple(points.values()), part) for part, points in curves.items() if points]


def runs(ours: Results) -> list[Run]:
    """The runs that the layout asks for, methods in the tables' order."""
    methods = [method for method in METHODS if method in ours.layout.methods]
    return [
        (backbone, m, seed) for backbone in ours.layout.backbones for m in methods for seed in ours.layout.seeds_of(m)
    ]


def without(ours: Results, runs_: Sequence[Run], name: str) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """Of runs that a panel does not show those without the file of this name, and those whose file is stale."""
    stale = []
    for backbone, method, seed in runs_:
        found = ours.opened(ours.path(backbone.name, method, seed, name))
        stale += [(backbone, method, seed)] if isinstance(found, Cell) and found.state == "stale" else []
    return tuple(run for run in runs_ if run not in stale), tuple(stale)


def absence(chart: Chart, layout: Layout) -> str:
    """Which runs a figure does not show, and on which sets if not on all; empty if it shows every run."""
    absent = _lacking("Not run", [(panel.title, panel.absent) for panel in chart.panels], layout)
    stale = _lacking("Stale, so not shown", [(panel.title, panel.stale) for panel in chart.panels], layout)
    return " ".join(filter(None, (absent, stale)))


def _lacking(what: str, panels: Sequence[tuple[str, Sequence[Run]]], layout: Layout) -> str:
    if len({tuple(runs_) for _, runs_ in panels}) == 1:
        lacking = panels[0][1]
        return f"{what}: {_named(lacking, layout)}." if lacking else ""
    return " ".join(f"{what} on {title}: {_named(lacking, layout)}." for title, lacking in panels if lacking)


def _named(absent: Sequence[Run], layout: Layout) -> str:
    """`Full FT, LoRA on A, B; SLQ (seed 2) on B`: backbones that lack the same runs in one breath."""
    lacking: dict[str, list[str]] = {}
    for backbone in dict.fromkeys(backbone for backbone, _, _ in absent):
        seeds = {method: tuple(s for b, m, s in absent if (b, m) == (backbone, method)) for method in METHODS}
        names = ", ".join(_seeds_lacking(method, some, layout) for method, some in seeds.items() if some)
        lacking.setdefault(names, []).append(backbone.label)
    return "; ".join(f"{names} on {', '.join(backbones)}" for names, backbones in lacking.items())


def _seeds_lacking(method: str, seeds: tuple[int, ...], layout: Layout) -> str:
    """A method, and which seeds of it if not all."""
    if seeds == layout.seeds_of(method):
        return METHODS[method]
    return f"{METHODS[method]} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
