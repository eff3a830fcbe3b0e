"""The figure by scale: recall on the sets that ask for knowledge, against the size of the backbone."""

import statistics
from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from slq.reporting.charts import WAYS, Chart, Panel, Point, Run, Series, absence, runs, without
from slq.reporting.layout import Entry, Layout
from slq.reporting.plots import EMPTY, listed_methods, mark, places, way, which_runs
from slq.reporting.records import Record, Results
from slq.reporting.style import COLOURS, legend, new_figure, note, say_empty

METRICS = ("R@1", "R@5")
UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "k"), (1, ""))


def scale_chart(ours: Results) -> Chart:
    """Of each set that asks for knowledge two panels, R@1 and R@5: both directions, a point per run."""
    sizes = {backbone: backbone_size(ours, backbone) for backbone in ours.layout.backbones}
    panels = [_panel(ours, entry, metric, sizes) for entry in ours.layout.knowledge_sets for metric in METRICS]
    return Chart("scale", tuple(panels))


def backbone_size(ours: Results, backbone: Entry) -> Record | None:
    """The `run.json` whose total is the backbone's own: the least of its runs', as an adapter only adds to it."""
    found = [ours.run(owner.name, method, seed) for owner, method, seed in runs(ours) if owner == backbone]
    records = [record for record in found if record is not None]
    return min(records, key=lambda record: record.number("parameters", "total"), default=None)


def _panel(ours: Results, entry: Entry, metric: str, sizes: dict[Entry, Record | None]) -> Panel:
    found = {run: _lines(ours, run, entry, metric, sizes[run[0]]) for run in runs(ours)}
    series = tuple(line for lines in found.values() for line in lines)
    lacking = without(ours, [run for run, lines in found.items() if not lines], f"retrieval/{entry.name}.json")
    key, title = f"{entry.name} {metric}", f"{entry.label}, {metric}"
    return Panel(key, title, "backbone's parameters", "recall (%)", series, *lacking)


def _lines(ours: Results, run: Run, entry: Entry, metric: str, size: Record | None) -> list[Series]:
    """A run's recall in both directions, at the size of its backbone; nothing of a run that is not there."""
    backbone, method, seed = run
    recall = ours.find(backbone.name, method, seed, f"retrieval/{entry.name}.json")
    if recall is None or size is None:
        return []
    at, source = size.number("parameters", "total"), f"{recall.source}; {size.source}"
    return [
        Series(backbone, method, seed, (Point(at, recall.number("metrics", key, metric), source),), part)
        for key, part in WAYS.items()
    ]


def draw_scale(chart: Chart, layout: Layout) -> Figure:
    """A row per set, R@1 left and R@5 right; a line joins a method's backbones, through means over its seeds."""
    rows = len(chart.panels) // len(METRICS)
    figure = new_figure(1.15 + 1.5 * rows)
    sizes = sorted({x for panel in chart.panels for x, _ in places(panel.series)})
    for number, panel in enumerate(chart.panels):
        axes = figure.add_subplot(rows, len(METRICS), number + 1)
        axes.set_title(panel.title)
        if panel.series:
            _draw_panel(axes, panel, layout, sizes)
            axes.set_xlabel(panel.x_label)
            axes.set_ylabel("" if number % len(METRICS) else panel.y_label)
        else:
            say_empty(axes, EMPTY)
    ways = [Line2D([], [], marker="o", color="black", label=part, **way(part, "black")) for part in WAYS.values()]
    legend(figure, layout, listed_methods(layout), *ways)
    note(figure, which_runs(layout, "a marker each"), absence(chart, layout))
    return figure


def _draw_panel(axes: Axes, panel: Panel, layout: Layout, sizes: list[float]) -> None:
    axes.set_xscale("log")
    axes.set(xlim=(sizes[0] / 1.5, sizes[-1] * 1.5), ylim=(0, 100))
    for method in listed_methods(layout):
        for part in WAYS.values():
            lines = [line for line in panel.series if (line.method, line.part) == (method, part)]
            means = mean_points(places(lines))
            look = way(part, COLOURS[method])
            if means:
                axes.plot(*zip(*means, strict=True), look["linestyle"], color=COLOURS[method], linewidth=0.8)
            for line in lines:
                for x, y in places([line]):
                    mark(axes, x, y, line.backbone, method, layout, layout.several, hollow=part != WAYS["t2i"])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: in_units(x)))
    axes.xaxis.set_minor_locator(NullLocator())


def mean_points(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """At each size, by size, the mean of what was found there."""
    found: dict[float, list[float]] = {}
    for x, y in points:
        found.setdefault(x, []).append(y)
    return [(x, statistics.mean(found[x])) for x in sorted(found)]


def in_units(count: float) -> str:
    """A number of parameters as it is spoken of: 500k, 2M, 8B."""
    unit, letter = next((unit, letter) for unit, letter in UNITS if count >= unit)
    return f"{count / unit:g}{letter}"
