"""What the figures show: points of runs in panels, each with the file it came from, and the runs that are not there."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from slq.common.errors import SlqError
from slq.reporting.costs import all_costs, hours_header, spent
from slq.reporting.interval_tables import WAYS
from slq.results.cells import Cell
from slq.results.layout import METHODS, Entry, Layout
from slq.results.records import Record, Results, joined, read_lines

Run = tuple[Entry, str, int]  # backbone, method, seed
Point = tuple[str, float | str, float, str]  # which of several lines of a run, x (a word without a scale), y, source
METRICS = ("R@1", "R@5")  # of the figure by scale


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its key in `figures.csv`, its title, what it shows, and the runs that it would show.

    points: a row each, with columns backbone (its name), method, seed, part, x, y and source
    stale: runs that are there, with a file whose numbers do not follow from its ranks or answers
    """

    key: str
    title: str
    x_label: str
    y_label: str
    points: pd.DataFrame
    absent: tuple[Run, ...]
    stale: tuple[Run, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A figure: its name, its panels from left to right and top to bottom, what more stands below them."""

    name: str
    panels: tuple[Panel, ...]
    note: str = ""


def recall_chart(ours: Results) -> Chart:
    """Collect T2I R@5 against training hours, a panel per retrieval set, a point per run.

    Raises:
        SlqError: a training took no time, which has no place on a logarithmic axis.
    """
    costs = all_costs(ours)
    devices = "; ".join(sorted({cost.device for cost in costs}))
    unit = hours_header(costs).replace("Hour", "hours")
    label = f"training ({unit})\non {devices}" if costs else "training (hours)"

    def panel(entry: Entry) -> Panel:
        def points(run: Run, recall: Record) -> list[Point] | None:
            record = ours.run(run[0].name, *run[1:])
            if record is None:
                return None
            hours = 0.0 if run[1] == "base" else spent(record).training
            if run[1] != "base" and hours <= 0:
                raise SlqError(f"{record.path}: key spans.train is 0; expected the seconds of a training")
            return [("", hours, recall.number("metrics", "t2i", "R@5"), f"{recall.source}; {record.source}")]

        return _panel(ours, (entry.name, entry.label, label, "T2I R@5 (%)"), f"retrieval/{entry.name}.json", points)

    return Chart("recall", tuple(map(panel, ours.layout.retrieval_sets)))


def retention_chart(ours: Results) -> Chart:
    """Collect each tuned run's score minus the base's of its backbone, a panel per retention set."""

    def panel(entry: Entry) -> Panel:
        name = f"retention/{entry.name}.json"

        def points(run: Run, score: Record) -> list[Point]:
            backbone, method, _ = run
            bases = ours.over_seeds(backbone.name, "base", name)
            if method == "base" or not bases:
                return []
            difference = score.number("metrics", "score") - bases[0].number("metrics", "score")
            return [("", backbone.name, difference, joined([score, *bases]))]

        unit = "hits" if entry.counts_hits else "points"
        return _panel(ours, (entry.name, entry.label, "", f"score \N{MINUS SIGN} base\n({unit})"), name, points)

    panels = tuple(map(panel, ours.layout.retention_sets))
    baseless = any(method == "base" for one in panels for _, method, _ in (*one.absent, *one.stale))
    notes = ["A backbone whose base was not run has no differences."] if baseless else []
    proved = dict.fromkeys(
        METHODS[method]
        for backbone, method, _ in runs(ours)
        for entry in ours.layout.retention_sets
        if any(one.by_construction for one in ours.over_seeds(backbone.name, method, f"retention/{entry.name}.json"))
    )
    notes += [f"The 0 of {', '.join(proved)} is known by construction."] if proved else []
    return Chart("retention", panels, note=" ".join(notes))


def scale_chart(ours: Results) -> Chart:
    """Collect recall against the backbone's size: of each set that asks for knowledge R@1 and R@5, both directions."""
    sizes = {backbone: _size(ours, backbone) for backbone in ours.layout.backbones}

    def panel(entry: Entry, metric: str) -> Panel:
        def points(run: Run, recall: Record) -> list[Point] | None:
            size = sizes[run[0]]
            if size is None:
                return None
            at, source = size.number("parameters", "total"), f"{recall.source}; {size.source}"
            return [(part, at, recall.number("metrics", way, metric), source) for way, part in WAYS.items()]

        words = (f"{entry.name} {metric}", f"{entry.label}, {metric}", "backbone's parameters", "recall (%)")
        return _panel(ours, words, f"retrieval/{entry.name}.json", points)

    return Chart("scale", tuple(panel(entry, metric) for entry in ours.layout.knowledge_sets for metric in METRICS))


def _size(ours: Results, backbone: Entry) -> Record | None:
    """The `run.json` whose total is the backbone's own: the least of its runs', as an adapter only adds to it."""
    records = [record for method in ours.layout.methods for record in ours.runs(backbone.name, method)]
    return min(records, key=lambda record: record.number("parameters", "total"), default=None)


def training_chart(ours: Results) -> Chart:
    """Collect of each backbone two panels: loss over steps, and both recalls at 5 on the val split after each epoch."""
    curves = {run: _curves(ours, run) for run in runs(ours) if run[1] != "base"}
    absent = tuple(run for run, curve in curves.items() if not curve)
    panels = []
    for backbone in ours.layout.backbones:
        own = _frame((run, curve) for run, curve in curves.items() if run[0] == backbone)
        loss, label = own["part"] == "", backbone.label
        panels.append(Panel(f"{backbone.name} loss", label, "step", "loss", own[loss], absent))
        panels.append(Panel(f"{backbone.name} val", label, "epoch", "R@5 on val (%)", own[~loss], absent))
    return Chart("training", tuple(panels))


def _curves(ours: Results, run: Run) -> list[Point]:
    """A run's loss and its two recalls, from its events; no point without any step.

    A step or an epoch that several attempts made is shown as the last of them made it: the weights are its.
    """
    curves: dict[str, dict[float, Point]] = {part: {} for part in ("", *WAYS.values())}
    path = ours.path(run[0].name, *run[1:], "events/train.jsonl")
    for event in read_lines(path, ours.root) if path.exists() else ():
        if event.text("event") == "step":
            step = event.number("step")
            curves[""][step] = ("", step, event.number("loss"), event.source)
        elif event.text("event") == "val":
            epoch = event.number("epoch") + 1
            for way, part in WAYS.items():
                curves[part][epoch] = (part, epoch, event.number("recalls", way, "R@5"), event.source)
    return [point for curve in curves.values() for point in curve.values()]


def runs(ours: Results) -> list[Run]:
    """List the runs that the layout asks for, methods in the tables' order."""
    methods = [method for method in METHODS if method in ours.layout.methods]
    return [
        (backbone, m, seed) for backbone in ours.layout.backbones for m in methods for seed in ours.layout.seeds_of(m)
    ]


def _panel(
    ours: Results,
    words: tuple[str, str, str, str],
    name: str,
    points_of: Callable[[Run, Record], list[Point] | None],
) -> Panel:
    """A panel of what runs have in a metrics file.

    Args:
        words: key, title and labels of the axes
        name: the file in a run's folder
        points_of: the points of a run that has the file, or None if something else is lacking
    """
    found: dict[Run, list[Point]] = {}
    absent, stale = [], []
    for run in runs(ours):
        record = ours.opened(ours.path(run[0].name, *run[1:], name))
        points = None if isinstance(record, Cell) else points_of(run, record)
        if points is not None:
            found[run] = points
        elif isinstance(record, Cell) and record.state == "stale":
            stale.append(run)
        else:
            absent.append(run)
    return Panel(*words, _frame(found.items()), tuple(absent), tuple(stale))


def _frame(found: Iterable[tuple[Run, Sequence[Point]]]) -> pd.DataFrame:
    """Points of runs as rows; numbers are kept as the files have them, whole ones too."""
    rows: list[tuple[Any, ...]] = [
        (backbone.name, method, seed, *point) for (backbone, method, seed), points in found for point in points
    ]
    return pd.DataFrame(rows, columns=["backbone", "method", "seed", "part", "x", "y", "source"], dtype=object)


def absence(chart: Chart, layout: Layout) -> str:
    """Say which runs a figure does not show, and on which sets if not on all; empty if it shows every run."""
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
