"""Charts drawn: recall against hours, retention against the base, training curves."""

import math
import statistics
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from slq.reporting.charts import WAYS, Chart, Panel, Series, absence
from slq.reporting.layout import METHODS, Entry, Layout
from slq.reporting.style import COLOURS, FAINT, legend, marker, new_figure, note, say_empty

EMPTY = "no run yet"


def which_runs(layout: Layout, several: str) -> str:
    """The preset and its seeds; of several, what of a figure is one of them."""
    which = f"Preset {layout.preset}, {layout.which_seeds}"
    return f"{which}: {several}." if layout.several else f"{which}."


def listed_methods(layout: Layout, *without: str) -> list[str]:
    """The layout's methods in the tables' order."""
    return [method for method in METHODS if method in layout.methods and method not in without]


# ---- recall against hours --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hours:
    """A logarithmic axis of hours: its ends, its ticks, and the place left of them that stands for 0 hours."""

    left: float
    right: float
    control: float
    edge: float
    ticks: tuple[float, ...]


def hours_scale(values: Iterable[float]) -> Hours:
    """The axis for these hours: at least a factor of two on either side, so that one tick or more lies inside.

    Ticks are 1, 2 and 5 of each power of ten, of many powers only 1. The control takes the left fifth.
    """
    positive = [value for value in values if value > 0]
    low, high = math.log10(min(positive, default=1)) - 0.35, math.log10(max(positive, default=1)) + 0.35
    width = (high - low) * 0.25
    powers = range(math.floor(low), math.ceil(high) + 1)
    digits = (1, 2, 5) if high - low < 1.5 else (1,)
    ticks = [digit * 10.0**power for power in powers for digit in digits]
    inside = tuple(tick for tick in ticks if low <= math.log10(tick) <= high) if positive else ()
    return Hours(10 ** (low - width), 10**high, 10 ** (low - width / 2), 10**low, inside)


def draw_recall(chart: Chart, layout: Layout) -> Figure:
    """Two panels in a row, on one scale of hours and one of recall; the base left of the scale, as the control.

    Every run is a marker, so that of several seeds each is seen, and no deviation leaves the logarithmic scale.
    """
    columns = min(2, len(chart.panels))
    rows = math.ceil(len(chart.panels) / columns)
    figure = new_figure(1.15 + 1.4 * rows)
    scale = hours_scale(x for panel in chart.panels for x, _ in places(panel.series))
    for number, panel in enumerate(chart.panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.set_title(panel.title)
        if panel.series:
            _draw_recalls(axes, panel, layout, scale)
            axes.set_xlabel("\n".join(textwrap.fill(line, 30) for line in panel.x_label.splitlines()))
            axes.set_ylabel(panel.y_label if number % columns == 1 % columns else "")
        else:
            say_empty(axes, EMPTY)
    legend(figure, layout, listed_methods(layout))
    note(figure, which_runs(layout, "a marker each"), absence(chart, layout))
    return figure


def _draw_recalls(axes: Axes, panel: Panel, layout: Layout, scale: Hours) -> None:
    axes.set_xscale("log")
    axes.set(xlim=(scale.left, scale.right), ylim=(0, 100))
    axes.axvspan(scale.left, scale.edge, color="#f3f3f3", zorder=0)
    axes.text(scale.control, 97, "control", rotation=90, ha="center", va="top", color=FAINT, fontsize=6)
    for line in panel.series:
        for x, y in places([line]):
            place = x if x > 0 else scale.control
            mark(axes, place, y, line.backbone, line.method, layout, crowded=layout.several)
    axes.xaxis.set_major_locator(FixedLocator([scale.control, *scale.ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "0" if x < scale.edge else f"{x:g}"))


def mark(
    axes: Axes,
    x: float,
    y: float,
    backbone: Entry,
    method: str,
    layout: Layout,
    crowded: bool = False,
    hollow: bool = False,
) -> None:
    """A point of a method, with a thin white rim where it covers another; smaller where many stand together."""
    rim: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 3, "clip_on": False}
    if hollow:
        rim |= {"markeredgecolor": COLOURS[method], "markeredgewidth": 0.8, "markerfacecolor": "white"}
    size: dict[str, Any] = {"markersize": 3.5} if crowded else {}
    axes.plot(x, y, marker(layout, backbone), color=COLOURS[method], **rim, **size)


def places(series: Iterable[Series]) -> list[tuple[float, float]]:
    """Points as numbers."""
    return [(float(point.x), point.y) for line in series for point in line.points]


# ---- retention against the base --------------------------------------------------------------------------------------


def draw_retention(chart: Chart, layout: Layout) -> Figure:
    """A row per retention set; each tuned method hangs from, or stands on, the line that is its own base."""
    rows = max(1, len(chart.panels))
    figure = new_figure(0.85 + 1.0 * rows)
    for number, panel in enumerate(chart.panels, start=1):
        axes = figure.add_subplot(rows, 1, number)
        axes.set_title(panel.title, loc="left")
        if panel.series:
            axes.set_ylabel(panel.y_label)
            _draw_differences(axes, panel, layout)
        else:
            say_empty(axes, EMPTY)
    if not chart.panels:
        say_empty(figure.add_subplot(), "the preset has no retention set")
    legend(figure, layout, listed_methods(layout, "base"))
    note(
        figure,
        which_runs(layout, "mean ± standard deviation"),
        "The line at 0 is each backbone's own base.",
        absence(chart, layout),
        chart.note,
    )
    return figure


def _draw_differences(axes: Axes, panel: Panel, layout: Layout) -> None:
    """Places by backbone and, within it, by method; missing runs leave their place empty."""
    methods = listed_methods(layout, "base")
    step = 0.8 / max(1, len(methods))
    differences = _over_seeds(panel)
    low = min(-1.0, *(mean - sd for mean, sd in differences.values()))
    high = max(1.0, *(mean + sd for mean, sd in differences.values()))
    room = 0.4 * (high - low)  # for the number at a point's far end
    axes.set(ylim=(low - room, high + room), xlim=(-0.5, len(layout.backbones) - 0.5))
    axes.axhline(0, color=COLOURS["base"], linewidth=0.8)
    for (backbone, method), (mean, sd) in differences.items():
        first = layout.backbones.index(backbone) - 0.4 + step / 2
        x = first + step * methods.index(method)
        axes.vlines(x, 0, mean, color=COLOURS[method], linewidth=1.2)
        mark(axes, x, mean, backbone, method, layout)
        if sd:
            axes.errorbar(x, mean, sd, color="black", elinewidth=0.6, capsize=2, capthick=0.6, zorder=4)
        away = 1 if mean >= 0 else -1
        axes.annotate(
            signed(mean),
            (x, mean + away * sd),
            (0, 5 * away),
            textcoords="offset points",
            ha="center",
            va="bottom" if away > 0 else "top",
            fontsize=6,
        )
    axes.set_xticks(range(len(layout.backbones)), [entry.label for entry in layout.backbones])
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _over_seeds(panel: Panel) -> dict[tuple[Entry, str], tuple[float, float]]:
    """Mean and sample standard deviation of each method's points, the latter 0 of a single run."""
    values: dict[tuple[Entry, str], list[float]] = {}
    for line in panel.series:
        values.setdefault((line.backbone, line.method), []).extend(point.y for point in line.points)
    return {
        key: (statistics.mean(found), statistics.stdev(found) if len(found) > 1 else 0.0)
        for key, found in values.items()
    }


def signed(difference: float) -> str:
    """+1.5, a minus sign and 80, and 0 without a sign, also for what rounds to it."""
    text = f"{difference:+.1f}".removesuffix(".0")
    return "0" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


# ---- training curves -------------------------------------------------------------------------------------------------


def draw_training(chart: Chart, layout: Layout) -> Figure:
    """A row per backbone: loss on the left, recalls on val on the right, on the same scales in every row."""
    rows = len(layout.backbones)
    figure = new_figure(1.05 + 1.15 * rows)
    alike: dict[int, Axes] = {}
    epochs = max((x for panel in chart.panels[1::2] for x, _ in places(panel.series)), default=1)
    for number, panel in enumerate(chart.panels):
        axes = figure.add_subplot(rows, 2, number + 1)
        if number % 2 == 0:
            axes.set_title(panel.title, loc="left")
        if not panel.series:
            say_empty(axes, EMPTY)
            continue
        first = alike.setdefault(number % 2, axes)
        if first is not axes:
            axes.sharex(first)
            axes.sharey(first)
        axes.set(ylabel=panel.y_label, xlabel=panel.x_label if number >= 2 * rows - 2 else "")
        for line in panel.series:
            _draw_curve(axes, line, layout)
        if number % 2:
            axes.set_xlim(0.8, epochs + 0.2)
            axes.set_ylim(top=min(axes.get_ylim()[1], 101))  # no recall is above 100; a marker there is seen whole
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    ways = [Line2D([], [], marker="o", color="black", label=part, **way(part, "black")) for part in WAYS.values()]
    legend(figure, layout, listed_methods(layout, "base"), *ways)
    note(figure, which_runs(layout, "a line each"), absence(chart, layout))
    return figure


def _draw_curve(axes: Axes, line: Series, layout: Layout) -> None:
    """A loss as a thin line, as it came; a recall with a marker at each epoch, filled for T2I; finer for many seeds."""
    x, y = zip(*places([line]), strict=True)
    colour = COLOURS[line.method]
    if not line.part:
        axes.plot(x, y, color=colour, linewidth=0.5 if layout.several else 0.7)
        return
    fine = {"linewidth": 0.5, "markersize": 2, "markeredgewidth": 0.5} if layout.several else {}
    axes.plot(x, y, color=colour, marker=marker(layout, line.backbone), **way(line.part, colour) | fine)


def way(part: str, colour: str) -> dict[str, Any]:
    """T2I: solid and filled; I2T: dashed and hollow."""
    solid = part == WAYS["t2i"]
    return {"linestyle": "-" if solid else "--", "markerfacecolor": colour if solid else "white", "markersize": 3.5}
