"""Figures that are drawn from stored results only, and the CSV with every point in them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from slq.common.files import write_text
from slq.reporting.charts import recall_chart, retention_chart, scale_chart, training_chart
from slq.reporting.margins import margins_chart
from slq.reporting.plots import draw_chart
from slq.reporting.style import figure_style, save_figure
from slq.results.layout import parse_layout
from slq.results.load import Results, as_rows, print_warnings
from slq.results.paper import Paper

POINT_COLUMNS = ["figure", "panel", "series", "x", "y", "source"]


def draw_figures(layout: Mapping[str, Any], results: Path, reference: Path, output_folder: Path) -> None:
    """Write the figures as .svg and .png, and `figures.csv`.

    The figures are `margins`, `recall`, `retention`, `training` and, if the layout has datasets whose queries need
    knowledge, `scale`.

    Args:
        layout: the input of `parse_layout`
        results: the results folder, which has one folder per preset
        reference: the folder of the paper's values
        output_folder: the folder for the files
    """
    found = Results(results, replace(parse_layout(layout), baselines=()))  # no figure shows these
    paper = Paper(reference, results, tables=("table3",))
    charts = [margins_chart(found, paper), recall_chart(found), retention_chart(found), training_chart(found)]
    charts += [scale_chart(found)] if found.layout.knowledge_datasets else []
    with figure_style():
        for chart in charts:
            save_figure(draw_chart(chart, found.layout), output_folder, chart.name)
    places = [(chart, panel, point) for chart in charts for panel in chart.panels for point in as_rows(panel.points)]
    rows = [(chart.name, panel.key, _series_name(one), one.x, one.y, one.source) for chart, panel, one in places]
    write_points(output_folder / "figures.csv", rows)
    print_warnings(found.files)


def _series_name(point: Any) -> str:
    """Return the name of the line that a point belongs to: its run, or a method over all seeds, and its part."""
    seed = f"/seed{point.seed}" if point.seed != "" else ""
    return f"{point.backbone}/{point.method}{seed} {point.part}".strip()


def write_points(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write the points of figures as CSV, each with its unrounded value and its source."""
    points = pd.DataFrame(list(rows), columns=POINT_COLUMNS, dtype=object)  # keeps integers as integers
    write_text(path, points.to_csv(index=False, lineterminator="\n"))
