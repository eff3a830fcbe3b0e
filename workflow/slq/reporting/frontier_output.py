"""Table H and the figure of the frontier."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from slq.common.files import write_text
from slq.config.runs import MIX, TRIAL
from slq.methods.registry import BASE
from slq.reporting.figures import write_points
from slq.reporting.html import html_environment
from slq.reporting.notes import describe_runs
from slq.reporting.style import add_note, figure_style, new_figure, save_figure
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.reporting.tables import latex_environment
from slq.results.cells import TableCell, format_one_decimal, with_sign
from slq.results.layout import ReportLayout

Found = Mapping[str, Any]  # an entry of `backbones` in frontier.json
NAME = "frontier"
TABLE_NOTE = (
    "Val: mean of R@1, R@5 and R@10 over both directions on the val split. Recall: mean R@5 over directions and test "
    "sets. Retention: mean accuracy over the retention datasets, on the half of the questions that picks nothing. "
    "Picked: of each method the run with the highest val among those whose loss of base's accuracy on the other half "
    "is at most {tolerance:g} in percentage points. The halves have as many questions of each type and are drawn by id."
)
DETACHED_NOTE = (
    "Retention is that of the weights that also retrieve. An adapter that is detached for generation answers as base, "
    "by definition."
)
signed = with_sign(format_one_decimal)


def describe_point(layout: ReportLayout, point: Mapping[str, Any]) -> str:
    """Return the label of a run: its method, and its rate or share of the update if they are not the method's own."""
    label, name = layout.labels[point["method"]], point["name"]
    if TRIAL in name:
        return f"{label}, rate {name.split(TRIAL)[1]}"
    return f"{label}, {name.split(MIX)[1]} of its update" if MIX in name else label


def frontier_table(layout: ReportLayout, found: Mapping[str, Found], tolerance: float, source: str) -> Table:
    """Build Table H: the numbers of every run on the frontier, and which of them are picked."""
    return Table(
        name=NAME,
        number="H",
        caption=f"Recall against retention. {describe_runs(layout, '')}",
        stubs=("Run",),
        columns=(
            Column("val", ("Val",)),
            Column("recall", ("Recall",)),
            Column("retention", ("Retention", "Accuracy")),
            Column("change", ("Retention", "Minus base")),
            Column("picked", ("Picked",)),
        ),
        groups=tuple(
            RowGroup(backbone.name, backbone.label, _rows(layout, found[backbone.name], source))
            for backbone in layout.backbones
        ),
        notes=(
            TABLE_NOTE.format(tolerance=tolerance),
            DETACHED_NOTE,
            *(
                sentence
                for backbone in layout.backbones
                for sentence in _verdicts(layout, backbone.label, found[backbone.name])
            ),
        ),
        widths=(5.5, 1.9),
    )


def _rows(layout: ReportLayout, found: Found, source: str) -> tuple[TableRow, ...]:
    """Build the rows of a backbone: base, then the runs."""
    base = found[BASE]["retention"]["report"]

    def number(value: float, formatter: Any = format_one_decimal) -> TableCell:
        return TableCell.measured(value, formatter, source, comparable=False)

    rows = []
    for point in (found[BASE], *found["points"]):
        report, is_base = point["retention"]["report"], point["name"] == BASE
        cells = (
            TableCell.missing("base is not validated") if is_base else number(point["val"]),
            number(point["recall"]),
            number(report),
            TableCell.missing("base minus itself") if is_base else number(report - base, signed),
            TableCell.measured_text("picked", source) if point.get("picked") else TableCell.missing("not picked"),
        )
        rows.append(TableRow(point["name"], describe_point(layout, point), cells))
    return tuple(rows)


def _verdicts(layout: ReportLayout, backbone: str, found: Found) -> list[str]:
    """Write a sentence per compared method: the differences of the picked runs, or that it has none."""
    proposed = layout.labels[layout.proposed_method]
    sentences = [
        f"{backbone}: no run of {layout.labels[method]} stays within the tolerance."
        for method, name in found["picked"].items()
        if name is None
    ]
    for other in dict.fromkeys(one["against"] for one in found["differences"]):
        of_other = [one for one in found["differences"] if one["against"] == other]
        labels = {dataset.name: dataset.label for dataset in layout.retrieval_datasets}
        parts = [
            f"{labels[one['dataset']]} {one['direction'].upper()} {signed(one['value'])} [{signed(one['low'])}, "
            f"{signed(one['high'])}], {one['verdict']}"
            for one in of_other
        ]
        sentences.append(
            f"{backbone}: R@5 of {proposed} minus that of the picked {layout.labels[other]}: {'; '.join(parts)}."
        )
    return sentences


def write_table(table: Table, results: Path, templates: Path, out: Path) -> None:
    """Write the table as .tex and .html."""
    latex, html = latex_environment(templates), html_environment(templates, results, out)
    text = latex.get_template("long.tex.j2").render(table=table, origin=f"from {results.name}/{NAME}.json")
    write_text(out / f"{table.name}.tex", text)
    write_text(out / f"{table.name}.html", html.get_template("table.html.j2").render(table=table))


def draw_panels(layout: ReportLayout, found: Mapping[str, Found], tolerance: float, source: str, folder: Path) -> None:
    """Draw one panel per backbone, with base as a star and picked runs filled, and write its points as CSV."""
    with figure_style():
        figure, rows = new_figure(1.0 + 1.6 * len(layout.backbones)), []
        for number, backbone in enumerate(layout.backbones, start=1):
            axes, base = figure.add_subplot(len(layout.backbones), 1, number), found[backbone.name][BASE]
            axes.axvspan(-tolerance, tolerance, color="#f3f3f3", zorder=0)
            for point in (base, *found[backbone.name]["points"]):
                x, y = point["retention"]["report"] - base["retention"]["report"], point["recall"]
                rows.append((NAME, backbone.name, point["name"], x, y, source))
                color = layout.colors[point["method"]]
                style = (
                    {"markersize": 9, "marker": "*"} if point["name"] == BASE else {"marker": _marker(point["name"])}
                )
                face = color if point.get("picked") or point["name"] == BASE else "white"
                axes.plot(x, y, linestyle="none", color=color, markerfacecolor=face, markeredgewidth=0.8, **style)
            axes.set_title(backbone.label, loc="left")
            axes.set(xlabel="mean accuracy \N{MINUS SIGN} base (points), reporting half", ylabel="mean R@5 (%)")
        add_frontier_legend(figure, layout)
        add_note(
            figure,
            f"Preset {layout.preset}, {layout.which_seeds}. Star: base. Circles: other learning rates; squares: the "
            "configured rate; triangles: interpolated with base. Filled: picked on val and on the other half of the "
            f"questions. Grey: base plus or minus {tolerance:g}.",
        )
        save_figure(figure, folder, NAME)
    write_points(folder / f"{NAME}.csv", rows)


def add_frontier_legend(figure: Any, layout: ReportLayout) -> None:
    """Add a legend above the panels: the colour of each method."""
    handles = [
        Line2D([], [], color=layout.colors[name], linewidth=3, label=layout.labels[name]) for name in layout.methods
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _marker(name: str) -> str:
    """Return the marker of a run."""
    return "o" if TRIAL in name else "^" if MIX in name else "s"
