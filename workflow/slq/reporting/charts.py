"""Data of the figures: panels of points, each with its source file, and the missing and stale runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import pandas as pd

from slq.common.errors import SlqError
from slq.evaluation.seed_differences import MIN_SEEDS
from slq.methods.registry import BASE
from slq.reporting.costs import hours_header, trained_hours
from slq.reporting.interval_tables import DIRECTION_LABELS, SCORE
from slq.reporting.method_comparison import compare_methods
from slq.results.cells import TableCell, join_sources, with_numbers
from slq.results.curves import training_curves
from slq.results.layout import LayoutEntry, ReportLayout
from slq.results.load import Results

RunKey = tuple[str, str, int]  # backbone, method, seed
Point = tuple[str, float | str, float | str, str]  # part of the run, x, y (a name if it is categorical), source
STALE = "Stale, so not shown"
LOW, HIGH = "low", "high"  # parts of a difference over seeds: the ends of its 95 % interval
SCALE_METRICS = ("R@1", "R@5")  # metrics of the scale figure
POINT_COLUMNS = ("backbone", "method", "seed", "part", "x", "y", "source")


@dataclass(frozen=True)
class Panel:
    """One pair of axes and its points.

    Attributes:
        key: its key in `figures.csv`
        points: one row per point, with the columns POINT_COLUMNS; numbers have the same type as in the files
        missing_runs: runs of the layout without results for the panel
        stale_runs: runs with a metrics file whose numbers do not match its ranks or answers
    """

    key: str
    title: str
    x_label: str
    y_label: str
    points: pd.DataFrame
    missing_runs: tuple[RunKey, ...]
    stale_runs: tuple[RunKey, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A figure: its name, its panels from left to right and top to bottom, and an additional note below them.

    Attributes:
        row_labels: labels of the rows, from the top, by the y of their points; empty if y is a number
    """

    name: str
    panels: tuple[Panel, ...]
    note: str = ""
    row_labels: Mapping[str, str] = field(default_factory=dict)


def recall_chart(results: Results) -> Chart:
    """Collect T2I R@5 against training hours: one panel per retrieval dataset, one point per run.

    Raises:
        SlqError: a training took 0 hours, which a logarithmic axis cannot show.
    """
    hours = trained_hours(results)
    devices = "; ".join(sorted({name for _, name in (row.device for row in hours)}))
    unit = hours_header(hours).replace("Hour", "hours")
    label = f"training ({unit})\non {devices}" if hours else "training (hours)"

    def run_points(recall: Any) -> list[Point] | None:
        cost = results.row_of_run(recall, "run", "", "hours")
        if not with_numbers([cost]):
            return None
        if cost.method != BASE and cost.value <= 0:
            raise SlqError(f"{cost.record.path}: key spans.train is 0; expected the seconds of a training")
        return [("", float(cost.value), recall.value, f"{recall.source}; {cost.record.source}")]

    panels = []
    for one in results.layout.retrieval_datasets:
        labels = (one.name, one.label, label, "T2I R@5 (%)")
        panels.append(_build_panel(results, labels, ("retrieval", one.name, "R@5", "t2i"), run_points))
    return Chart("recall", tuple(panels))


def retention_chart(results: Results) -> Chart:
    """Collect the score of each tuned run minus that of its backbone's base, with one panel per retention dataset."""

    def run_points(score: Any) -> list[Point]:
        base = with_numbers(results.rows(score.backbone, BASE, "retention", score.dataset, "score"))
        if score.method == BASE or not base:
            return []
        return [("", score.backbone, score.value - base[0].value, join_sources([score, *base]))]

    panels = []
    for dataset in results.layout.retention_datasets:
        unit = "hits" if dataset.is_scored_in_hits else "points"
        labels = (dataset.name, dataset.label, "", f"score \N{MINUS SIGN} base\n({unit})")
        panel = _build_panel(results, labels, ("retention", dataset.name, "score"), run_points)
        ends = points_to_dataframe(_interval_ends(results, dataset))
        panels.append(replace(panel, points=pd.concat([panel.points, ends], ignore_index=True)))
    has_missing_base = any(method == BASE for one in panels for _, method, _ in (*one.missing_runs, *one.stale_runs))
    notes = ["A backbone without a run of base has no differences."] if has_missing_base else []
    numbers = results.numbers
    inherited = numbers[(numbers["state"] == "inherited") & (numbers["kind"] == "retention")]["method"].unique()
    names = [label for method, label in results.layout.labels.items() if method in inherited]
    notes += [f"The difference 0 of {', '.join(names)} is inherited from base, not measured."] if names else []
    return Chart("retention", tuple(panels), note=" ".join(notes))


def _interval_ends(results: Results, dataset: LayoutEntry) -> list[tuple[Any, ...]]:
    """Return the ends of the intervals of the differences from base that are over enough seeds to decide."""
    layout, points = results.layout, list[tuple[Any, ...]]()
    if len(layout.seeds) < MIN_SEEDS:
        return points
    for backbone, method in product(layout.backbones, layout.trained_methods):
        pairs = compare_methods(results, backbone, method, BASE, dataset)
        if not isinstance(pairs, TableCell) and pairs[SCORE].difference.decides:
            difference, source, scale, _ = pairs[SCORE]
            ends = {LOW: difference.low, HIGH: difference.high}
            points += [(backbone.name, method, "", end, backbone.name, scale * y, source) for end, y in ends.items()]
    return points


def scale_chart(results: Results) -> Chart:
    """Collect R@1 and R@5 of both directions against the backbone's size, for datasets whose queries need knowledge."""

    def panel(dataset: LayoutEntry, metric: str) -> Panel:
        def run_points(recall: Any) -> list[Point] | None:
            size = _backbone_size(results, recall.backbone)
            if size is None:
                return None
            rows = {
                part: results.row_of_run(recall, "retrieval", dataset.name, metric, direction)
                for direction, part in DIRECTION_LABELS.items()
            }
            return [(part, size.value, row.value, f"{row.source}; {size.source}") for part, row in rows.items()]

        labels = (f"{dataset.name} {metric}", f"{dataset.label}, {metric}", "backbone's parameters", "recall (%)")
        return _build_panel(results, labels, ("retrieval", dataset.name, metric, "t2i"), run_points)

    return Chart(
        "scale",
        tuple(panel(dataset, metric) for dataset in results.layout.knowledge_datasets for metric in SCALE_METRICS),
    )


def _backbone_size(results: Results, backbone: str) -> Any:
    """Find the size of a backbone: the smallest parameter total of its runs, as an adapter only adds parameters."""
    places = [(backbone, method, "run", "", "total_parameters") for method in results.layout.methods]
    rows = [row for place in places for row in with_numbers(results.rows(*place))]
    return min(rows, key=lambda row: row.value, default=None)


def training_chart(results: Results) -> Chart:
    """Collect two panels per backbone: loss over steps, and R@5 of both directions on the val split over epochs."""
    points: list[tuple[Any, ...]] = []
    missing_runs = []
    for run in (run for run in results.layout.runs if run[1] != BASE):
        curves = training_curves(results.folder, *run)
        points += [(*run, DIRECTION_LABELS.get(direction, ""), *point) for direction, *point in curves]
        missing_runs += [] if curves else [run]
    table, panels = points_to_dataframe(points), []
    for backbone in results.layout.backbones:
        own = table[table["backbone"] == backbone.name]
        for key, x, y, rows in (
            ("loss", "step", "loss", own[own["part"] == ""]),
            ("val", "epoch", "R@5 on val (%)", own[own["part"] != ""]),
        ):
            panels.append(Panel(f"{backbone.name} {key}", backbone.label, x, y, rows, tuple(missing_runs)))
    return Chart("training", tuple(panels))


def _build_panel(
    results: Results,
    labels: tuple[str, str, str, str],
    number: tuple[str, ...],
    extract_points: Callable[[Any], list[Point] | None],
) -> Panel:
    """Build a panel from the values of one number in all runs.

    Args:
        labels: key, title, x label and y label
        number: kind, dataset, metric and direction of the number
        extract_points: returns the points of a run that has the number, or None if another required number is missing
    """
    points: list[tuple[Any, ...]] = []
    missing_runs, stale_runs = [], []
    for run in results.layout.runs:
        (row,) = (one for one in results.rows(run[0], run[1], *number) if one.seed == run[2])
        found = extract_points(row) if with_numbers([row]) else None
        if found is not None:
            points += [(*run, *point) for point in found]
        elif row.state == "stale":
            stale_runs.append(run)
        else:
            missing_runs.append(run)
    return Panel(*labels, points_to_dataframe(points), tuple(missing_runs), tuple(stale_runs))


def points_to_dataframe(points: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Build the table of a panel's points from tuples of POINT_COLUMNS."""
    return pd.DataFrame(points, columns=list(POINT_COLUMNS), dtype=object)  # keeps integers as integers


def describe_missing_runs(chart: Chart, layout: ReportLayout) -> str:
    """Describe which runs a figure does not show, by dataset if they differ; empty if it shows every run."""
    missing = [(panel.title, panel.missing_runs) for panel in chart.panels]
    stale = [(panel.title, panel.stale_runs) for panel in chart.panels]
    sentences = (_describe_run_list("Not run", missing, layout), _describe_run_list(STALE, stale, layout))
    return " ".join(filter(None, sentences))


def _describe_run_list(reason: str, panels: Sequence[tuple[str, Sequence[RunKey]]], layout: ReportLayout) -> str:
    if len({tuple(runs) for _, runs in panels}) == 1:
        panels = [("", panels[0][1])]
    return " ".join(
        f"{reason}{' on ' * bool(title)}{title}: {_format_runs(runs, layout)}." for title, runs in panels if runs
    )


def _format_runs(missing_runs: Sequence[RunKey], layout: ReportLayout) -> str:
    """Format runs as `Full FT, LoRA on A, B; SLQ (seed 2) on B`; backbones that lack the same runs are joined."""
    backbones_by_names: dict[str, list[str]] = {}
    for backbone in layout.backbones:
        names = []
        for method, label in layout.labels.items():
            seeds = tuple(seed for one, name, seed in missing_runs if (one, name) == (backbone.name, method))
            which = "" if seeds == layout.seeds_of(method) else f" (seed{'s' * (len(seeds) > 1)} "
            names += [label + (which and f"{which}{', '.join(map(str, seeds))})")] if seeds else []
        if names:
            backbones_by_names.setdefault(", ".join(names), []).append(backbone.label)
    return "; ".join(f"{names} on {', '.join(backbones)}" for names, backbones in backbones_by_names.items())
