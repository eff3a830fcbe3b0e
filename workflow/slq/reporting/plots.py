"""Charts drawn with matplotlib: margins, recall against hours or size, retention relative to base, and training."""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from slq.evaluation.seed_differences import MIN_SEEDS
from slq.methods.registry import BASE
from slq.reporting.charts import HIGH, LOW, Chart, Panel, describe_missing_runs
from slq.reporting.interval_tables import DIRECTION_LABELS
from slq.reporting.margins import DECIDED, PAPER, UNDECIDED
from slq.reporting.style import (
    FAINT_COLOUR,
    add_legend,
    add_note,
    backbone_marker,
    draw_empty,
    new_figure,
)
from slq.results.cells import format_one_decimal, format_parameter_count, with_sign
from slq.results.layout import ReportLayout

EMPTY_TEXT = "no run yet"
ROW_HEIGHT = 0.12  # inches of a labelled row
PAPER_STYLE: dict[str, Any] = {"marker": "D", "markersize": 3.2, "linestyle": "none", "color": "black"}
PAPER_STYLE |= {"markerfacecolor": "none", "markeredgewidth": 0.7, "zorder": 4}


class FigureStyle(NamedTuple):
    """Style of a figure.

    Attributes:
        draw_panel: draws the points of one panel of a chart
        columns: number of panels per row
        height: height of a row in inches
        per_seed_text: how the figure shows several seeds
        excluded_methods: methods that the figure does not show
        show_directions: whether the legend explains the line styles of T2I and I2T
        extra_note: text of the note between the preset and the list of missing runs
        without_panels: text of a figure that has no panels
        handles: handles of a legend in place of that of methods and backbones
    """

    draw_panel: Callable[[Axes, Panel, ReportLayout, Chart], None]
    columns: int
    height: float
    per_seed_text: str
    excluded_methods: Sequence[str] = ()
    show_directions: bool = False
    extra_note: str = ""
    without_panels: str = EMPTY_TEXT
    handles: Callable[[ReportLayout], list[Line2D]] | None = None


def draw_chart(chart: Chart, layout: ReportLayout) -> Figure:
    """Draw the panels of a chart in its style, with a legend above and a note below.

    Panels with the same axis label share the scale of that axis.
    """
    style = STYLES[chart.name]
    columns = min(style.columns, max(1, len(chart.panels)))
    rows = max(1, math.ceil(len(chart.panels) / columns))
    figure = new_figure(1.0 + style.height * rows + ROW_HEIGHT * len(chart.row_labels))
    shared_axes: dict[tuple[str, str], Axes] = {}
    for number, panel in enumerate(chart.panels):
        x, y = ("x", panel.x_label), ("y", panel.y_label)
        if panel.points.empty:
            axes = figure.add_subplot(rows, columns, number + 1)
            draw_empty(axes, EMPTY_TEXT)
        else:
            axes = figure.add_subplot(rows, columns, number + 1, sharex=shared_axes.get(x), sharey=shared_axes.get(y))
            style.draw_panel(axes, panel, layout, chart)
            axes.set_xlabel("\n".join(textwrap.fill(line, 30) for line in panel.x_label.splitlines()))
            repeated = number % columns > 0 and panel.y_label == chart.panels[number - 1].y_label
            axes.set_ylabel("" if repeated else panel.y_label)
            shared_axes |= {x: axes, y: axes}
        axes.set_title(panel.title, loc="left")
    if not chart.panels:
        draw_empty(figure.add_subplot(), style.without_panels)
    _add_legend(figure, layout, style)
    seeds = f"{layout.which_seeds}: {style.per_seed_text}" if layout.has_several_seeds else layout.which_seeds
    preset = f"Preset {layout.preset}, {seeds}."
    add_note(figure, preset, style.extra_note, describe_missing_runs(chart, layout), chart.note)
    return figure


def _add_legend(figure: Figure, layout: ReportLayout, style: FigureStyle) -> None:
    """Add the legend of a figure's style above the panels."""
    if style.handles:
        figure.legend(handles=style.handles(layout), loc="outside upper center", ncols=3)
        engine = figure.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine):
            engine.set(w_pad=0.08)  # inches; the labels of rows are wider when they are drawn than in the layout
        return
    methods = [method for method in layout.labels if method in layout.methods and method not in style.excluded_methods]
    direction_handles = [
        Line2D([], [], marker="o", color="black", label=part, **_direction_style(part, "black"))
        for part in DIRECTION_LABELS.values()
    ]
    add_legend(figure, layout, methods, *(direction_handles if style.show_directions else ()))


def _draw_margins_panel(axes: Axes, panel: Panel, layout: ReportLayout, chart: Chart) -> None:
    """Draw one row per margin: ours with its interval, grey if it is undecided, and the paper's."""
    rows = {key: number for number, key in enumerate(chart.row_labels)}
    axes.axvline(0, color="black", linewidth=0.6, zorder=1)
    for key, points in panel.points.groupby("y"):
        margins, y = dict(zip(points["part"], points["x"], strict=True)), rows[str(key)]
        if LOW in margins:
            colour = layout.colors[layout.proposed_method] if DECIDED in margins else FAINT_COLOUR
            axes.hlines(y, margins[LOW], margins[HIGH], color=colour, linewidth=1.2)
            axes.plot(
                margins[DECIDED if DECIDED in margins else UNDECIDED], y, marker="o", color=colour, markersize=3.5
            )
        if PAPER in margins:
            axes.plot(margins[PAPER], y, **PAPER_STYLE)
    per_backbone = len(rows) // len(layout.backbones)
    for number in range(per_backbone, len(rows), per_backbone):
        axes.axhline(number - 0.5, color="#e4e4e4", linewidth=0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), list(chart.row_labels.values()), fontsize=5.8)
    axes.tick_params(axis="y", length=0, labelleft=panel is chart.panels[0])
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _margin_handles(layout: ReportLayout) -> list[Line2D]:
    """Return the handles of the legend of margins."""
    style: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linewidth": 1.2}
    return [
        Line2D([], [], color=layout.colors[layout.proposed_method], label="ours", **style),
        Line2D([], [], color=FAINT_COLOUR, label="ours, undecided", **style),
        Line2D([], [], label="the paper's", **PAPER_STYLE),
    ]


def _draw_recall_panel(axes: Axes, panel: Panel, layout: ReportLayout, chart: Chart) -> None:
    """Draw recall against training hours; all panels share both scales.

    Base, the control, is drawn at 0 hours. Every run has its own marker, because an error bar would be distorted on the
    logarithmic scale.
    """
    set_hours_scale(axes, [x for one in chart.panels for x in one.points["x"]])
    axes.set_ylim(0, 100)
    for point in panel.points.itertuples():
        _draw_point(axes, point, layout, crowded=layout.has_several_seeds)


def set_hours_scale(axes: Axes, hours: Iterable[float]) -> None:
    """Set a logarithmic scale between the powers of ten that enclose all hours, with room for 0 on the left."""
    positive = [value for value in hours if value > 0]
    low = math.floor(math.log10(min(positive, default=1)))
    high = max(low + 1, math.ceil(math.log10(max(positive, default=1))))
    axes.set_xscale("symlog", linthresh=10.0**low, linscale=0.5)
    axes.set_xlim(-(10.0**low) / 3, 10.0**high * 1.3)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.axvspan(-(10.0**low) / 3, 10.0**low / 3, color="#f3f3f3", zorder=0)
    axes.text(0, 97, "control", rotation=90, ha="center", va="top", color=FAINT_COLOUR, fontsize=6)


def _draw_point(axes: Axes, point: Any, layout: ReportLayout, crowded: bool = False, hollow: bool = False) -> None:
    """Draw a point of a method, smaller if crowded; a thin white rim keeps overlapping points visible."""
    colour = layout.colors[point.method]
    style: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 3, "clip_on": False}
    if hollow:
        style |= {"markeredgecolor": colour, "markeredgewidth": 0.8, "markerfacecolor": "white"}
    size: dict[str, Any] = {"markersize": 3.5} if crowded else {}
    style |= {"marker": backbone_marker(layout, point.backbone), "linestyle": "none"}
    axes.plot(point.x, point.y, color=colour, **style, **size)


def _draw_retention_panel(axes: Axes, panel: Panel, layout: ReportLayout, _: Chart) -> None:
    """Draw the difference between each tuned method and the base of its backbone, ordered by backbone and method.

    The position of a missing run stays empty.
    """
    methods = [method for method in layout.trained_methods if method in layout.methods]
    backbones = [entry.name for entry in layout.backbones]
    step = 0.8 / len(methods)
    axes.axhline(0, color=layout.colors[BASE], linewidth=0.8)
    axes.update_datalim([(0, -1), (0, 1)])  # a difference below one point should look small
    points = panel.points.astype({"y": float})
    means = points[points["part"] == ""].groupby(["backbone", "method"])["y"].mean()
    ends = points[points["part"] != ""].set_index(["backbone", "method", "part"])["y"].to_dict()
    for backbone, method, mean in means.reset_index().itertuples(index=False):
        x = backbones.index(backbone) - 0.4 + step * (methods.index(method) + 0.5)
        axes.vlines(x, 0, mean, color=layout.colors[method], linewidth=1.2)
        marker = backbone_marker(layout, backbone)
        axes.plot(x, mean, marker=marker, linestyle="none", color=layout.colors[method], clip_on=False)
        low, high = (ends.get((backbone, method, end), mean) for end in (LOW, HIGH))
        if low < high:
            bar = [[mean - low], [high - mean]]
            axes.errorbar(x, mean, bar, color="black", elinewidth=0.6, capsize=2, capthick=0.6, zorder=4)
        direction = 1 if mean >= 0 else -1
        axes.annotate(
            format_signed_difference(mean),
            (x, high if direction > 0 else low),
            (0, 5 * direction),
            textcoords="offset points",
            ha="center",
            va="bottom" if direction > 0 else "top",
            fontsize=6,
        )
    axes.margins(y=0.4)  # room for the number beside a point
    axes.set_xlim(-0.5, len(backbones) - 0.5)
    axes.set_xticks(range(len(backbones)), [entry.label for entry in layout.backbones])
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def format_signed_difference(difference: float) -> str:
    """Format a difference with its sign and one decimal, or none if it rounds to a whole number of points."""
    return with_sign(format_one_decimal)(difference).removesuffix(".0")


def _draw_scale_panel(axes: Axes, panel: Panel, layout: ReportLayout, _: Chart) -> None:
    """Draw recall against the number of parameters: one point per run, and a line through the means of each method."""
    axes.set_xscale("log")
    axes.set_ylim(0, 100)
    axes.margins(x=0.1)
    for key, series in panel.points.astype({"x": float, "y": float}).groupby(["method", "part"]):
        method, part = map(str, key)
        means = series.groupby("x")["y"].mean()
        style = _direction_style(part, layout.colors[method])
        axes.plot(means.index, means, style["linestyle"], color=layout.colors[method], linewidth=0.8)
        for point in series.itertuples():
            _draw_point(axes, point, layout, layout.has_several_seeds, hollow=part != DIRECTION_LABELS["t2i"])
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: format_parameter_count(x)))
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_training_panel(axes: Axes, panel: Panel, layout: ReportLayout, _: Chart) -> None:
    """Draw losses as thin, unsmoothed lines, and recalls with one marker per epoch.

    Markers are filled for T2I and hollow for I2T. With several seeds, lines and markers are thinner.
    """
    for key, series in panel.points.groupby(["backbone", "method", "seed", "part"]):
        backbone, method, _seed, part = map(str, key)
        style: dict[str, Any] = {"linewidth": 0.5 if layout.has_several_seeds else 0.7}
        if part:
            thin_style = {"linewidth": 0.5, "markersize": 2, "markeredgewidth": 0.5} if layout.has_several_seeds else {}
            style = {
                "marker": backbone_marker(layout, backbone),
                **_direction_style(part, layout.colors[method]),
                **thin_style,
            }
        axes.plot(series["x"].astype(float), series["y"].astype(float), color=layout.colors[method], **style)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    if axes.get_ylim()[1] > 101 and "%" in panel.y_label:
        axes.set_ylim(top=101)  # no recall is above 100; the margin keeps a marker at 100 whole


def _direction_style(part: str, colour: str) -> dict[str, Any]:
    """Return the line style of a direction: a solid line and filled markers for T2I, dashed and hollow for I2T."""
    solid = part == DIRECTION_LABELS["t2i"]
    return {"linestyle": "-" if solid else "--", "markerfacecolor": colour if solid else "white", "markersize": 3.5}


STYLES = {
    # One row of panels, one panel per other method; the panels share their rows.
    "margins": FigureStyle(
        _draw_margins_panel,
        columns=4,
        height=0.2,
        per_seed_text="mean of the differences at equal seed, with its 95 % interval over seeds and images",
        extra_note=f"Grey: not told apart from zero, or fewer than {MIN_SEEDS} seeds, which decide nothing and whose "
        "intervals are over images only. The paper's are differences of two printed numbers of Table 3.",
        handles=_margin_handles,
    ),
    "recall": FigureStyle(_draw_recall_panel, columns=2, height=1.45, per_seed_text="one marker per seed"),
    "retention": FigureStyle(
        _draw_retention_panel,
        columns=1,
        height=1.0,
        per_seed_text=f"mean; from {MIN_SEEDS} seeds on with its 95 % interval over seeds and questions",
        excluded_methods=(BASE,),
        extra_note="The line at 0 is the base of each backbone.",
        without_panels="the preset has no retention dataset",
    ),
    # One row per dataset, with R@1 on the left and R@5 on the right.
    "scale": FigureStyle(
        _draw_scale_panel, columns=2, height=1.5, per_seed_text="one marker per seed", show_directions=True
    ),
    # One row per backbone, with the loss on the left and the recall on the validation split on the right.
    "training": FigureStyle(
        _draw_training_panel,
        columns=2,
        height=1.25,
        per_seed_text="one line per seed",
        excluded_methods=(BASE,),
        show_directions=True,
    ),
}
