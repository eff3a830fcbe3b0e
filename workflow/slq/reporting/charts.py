"""Data of the figures: points of runs in panels, each with its source file, and the missing and stale runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from slq.common.errors import SlqError
from slq.methods.registry import BASE
from slq.reporting.costs import all_costs, compute_run_cost, hours_header
from slq.reporting.interval_tables import DIRECTION_LABELS
from slq.results.cells import TableCell
from slq.results.layout import LayoutEntry, ReportLayout
from slq.results.records import Record, Results, joined_sources, read_jsonl_records

RunKey = tuple[LayoutEntry, str, int]  # backbone, method, seed
Point = tuple[str, float | str, float, str]  # name of a line of the run, x (a word if x has no scale), y, source
SCALE_METRICS = ("R@1", "R@5")  # metrics of the scale figure


@dataclass(frozen=True)
class Panel:
    """One pair of axes and its points.

    Attributes:
        key: its key in `figures.csv`
        points: a row per point, with columns backbone (its name), method, seed, part, x, y and source
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
    """A figure: its name, its panels from left to right and top to bottom, and a further note below them."""

    name: str
    panels: tuple[Panel, ...]
    note: str = ""


def recall_chart(results: Results) -> Chart:
    """Collect T2I R@5 against training hours, a panel per retrieval dataset, a point per run.

    Raises:
        SlqError: a training took no time, which has no place on a logarithmic axis.
    """
    costs = all_costs(results)
    devices = "; ".join(sorted({cost.device_name for cost in costs}))
    unit = hours_header(costs).replace("Hour", "hours")
    label = f"training ({unit})\non {devices}" if costs else "training (hours)"

    def panel(dataset: LayoutEntry) -> Panel:
        def run_points(run: RunKey, metrics_record: Record) -> list[Point] | None:
            record = results.run_record(run[0].name, *run[1:])
            if record is None:
                return None
            hours = 0.0 if run[1] == BASE else compute_run_cost(record).training_hours
            if run[1] != BASE and hours <= 0:
                raise SlqError(f"{record.path}: key spans.train is 0; expected the seconds of a training")
            return [
                ("", hours, metrics_record.number("metrics", "t2i", "R@5"), f"{metrics_record.source}; {record.source}")
            ]

        return _build_panel(
            results, (dataset.name, dataset.label, label, "T2I R@5 (%)"), f"retrieval/{dataset.name}.json", run_points
        )

    return Chart("recall", tuple(map(panel, results.layout.retrieval_datasets)))


def retention_chart(results: Results) -> Chart:
    """Collect the score of each tuned run minus that of its backbone's base, a panel per retention dataset."""

    def panel(dataset: LayoutEntry) -> Panel:
        name = f"retention/{dataset.name}.json"

        def run_points(run: RunKey, metrics_record: Record) -> list[Point]:
            backbone, method, _ = run
            base_records = results.find_all_seeds(backbone.name, BASE, name)
            if method == BASE or not base_records:
                return []
            difference = metrics_record.number("metrics", "score") - base_records[0].number("metrics", "score")
            return [("", backbone.name, difference, joined_sources([metrics_record, *base_records]))]

        unit = "hits" if dataset.is_scored_in_hits else "points"
        return _build_panel(
            results, (dataset.name, dataset.label, "", f"score \N{MINUS SIGN} base\n({unit})"), name, run_points
        )

    panels = tuple(map(panel, results.layout.retention_datasets))
    has_missing_base = any(method == BASE for one in panels for _, method, _ in (*one.missing_runs, *one.stale_runs))
    notes = ["A backbone whose base was not run has no differences."] if has_missing_base else []
    inherited = dict.fromkeys(
        results.layout.labels[method]
        for backbone, method, _ in list_runs(results)
        for dataset in results.layout.retention_datasets
        if any(one.inherited for one in results.find_all_seeds(backbone.name, method, f"retention/{dataset.name}.json"))
    )
    notes += [f"The 0 of {', '.join(inherited)} is inherited from base."] if inherited else []
    return Chart("retention", panels, note=" ".join(notes))


def scale_chart(results: Results) -> Chart:
    """Collect R@1 and R@5 of both directions against the backbone's size, for datasets whose queries need knowledge."""
    size_records = {backbone: _backbone_size_record(results, backbone) for backbone in results.layout.backbones}

    def panel(dataset: LayoutEntry, metric: str) -> Panel:
        def run_points(run: RunKey, metrics_record: Record) -> list[Point] | None:
            size_record = size_records[run[0]]
            if size_record is None:
                return None
            num_parameters, source = (
                size_record.number("parameters", "total"),
                f"{metrics_record.source}; {size_record.source}",
            )
            return [
                (part, num_parameters, metrics_record.number("metrics", direction, metric), source)
                for direction, part in DIRECTION_LABELS.items()
            ]

        labels = (f"{dataset.name} {metric}", f"{dataset.label}, {metric}", "backbone's parameters", "recall (%)")
        return _build_panel(results, labels, f"retrieval/{dataset.name}.json", run_points)

    return Chart(
        "scale",
        tuple(panel(dataset, metric) for dataset in results.layout.knowledge_datasets for metric in SCALE_METRICS),
    )


def _backbone_size_record(results: Results, backbone: LayoutEntry) -> Record | None:
    """Find the `run.json` whose total is the size of the backbone: the smallest, as an adapter only adds parameters."""
    records = [record for method in results.layout.methods for record in results.run_records(backbone.name, method)]
    return min(records, key=lambda record: record.number("parameters", "total"), default=None)


def training_chart(results: Results) -> Chart:
    """Collect two panels per backbone: loss over steps, and R@5 of both directions on the val split over epochs."""
    curves = {run: _training_curves(results, run) for run in list_runs(results) if run[1] != BASE}
    missing_runs = tuple(run for run, curve in curves.items() if not curve)
    panels = []
    for backbone in results.layout.backbones:
        backbone_points = _points_to_dataframe((run, curve) for run, curve in curves.items() if run[0] == backbone)
        loss, label = backbone_points["part"] == "", backbone.label
        panels.append(Panel(f"{backbone.name} loss", label, "step", "loss", backbone_points[loss], missing_runs))
        panels.append(
            Panel(f"{backbone.name} val", label, "epoch", "R@5 on val (%)", backbone_points[~loss], missing_runs)
        )
    return Chart("training", tuple(panels))


def _training_curves(results: Results, run: RunKey) -> list[Point]:
    """Read the loss and the two recalls of a run from its events; without any step there are no points.

    If several attempts made a step or an epoch, the last one counts, as the final weights come from it.
    """
    curves: dict[str, dict[float, Point]] = {part: {} for part in ("", *DIRECTION_LABELS.values())}
    path = results.path(run[0].name, *run[1:], "events/train.jsonl")
    for event in read_jsonl_records(path, results.root) if path.exists() else ():
        if event.text("event") == "step":
            step = event.number("step")
            curves[""][step] = ("", step, event.number("loss"), event.source)
        elif event.text("event") == "val":
            epoch = event.number("epoch") + 1
            for direction, part in DIRECTION_LABELS.items():
                curves[part][epoch] = (part, epoch, event.number("recalls", direction, "R@5"), event.source)
    return [point for curve in curves.values() for point in curve.values()]


def list_runs(results: Results) -> list[RunKey]:
    """List the runs that the layout asks for, methods in the tables' order."""
    methods = [method for method in results.layout.labels if method in results.layout.methods]
    return [
        (backbone, m, seed)
        for backbone in results.layout.backbones
        for m in methods
        for seed in results.layout.seeds_of(m)
    ]


def _build_panel(
    results: Results,
    labels: tuple[str, str, str, str],
    file_name: str,
    extract_points: Callable[[RunKey, Record], list[Point] | None],
) -> Panel:
    """Build a panel from what the runs have in a metrics file.

    Args:
        labels: key, title, x label and y label
        file_name: the file in a run's folder
        extract_points: returns the points of a run that has the file, or None if something else is lacking
    """
    points_by_run: dict[RunKey, list[Point]] = {}
    missing_runs, stale_runs = [], []
    for run in list_runs(results):
        record = results.load_record(results.path(run[0].name, *run[1:], file_name))
        points = None if isinstance(record, TableCell) else extract_points(run, record)
        if points is not None:
            points_by_run[run] = points
        elif isinstance(record, TableCell) and record.state == "stale":
            stale_runs.append(run)
        else:
            missing_runs.append(run)
    return Panel(*labels, _points_to_dataframe(points_by_run.items()), tuple(missing_runs), tuple(stale_runs))


def _points_to_dataframe(points_by_run: Iterable[tuple[RunKey, Sequence[Point]]]) -> pd.DataFrame:
    """Convert the points of runs to rows; numbers keep their type from the files, integers too."""
    rows: list[tuple[Any, ...]] = [
        (backbone.name, method, seed, *point) for (backbone, method, seed), points in points_by_run for point in points
    ]
    return pd.DataFrame(rows, columns=["backbone", "method", "seed", "part", "x", "y", "source"], dtype=object)


def describe_missing_runs(chart: Chart, layout: ReportLayout) -> str:
    """Describe which runs a figure does not show, and on which datasets if not on all; empty if it shows every run."""
    missing = _describe_run_list("Not run", [(panel.title, panel.missing_runs) for panel in chart.panels], layout)
    stale = _describe_run_list(
        "Stale, so not shown", [(panel.title, panel.stale_runs) for panel in chart.panels], layout
    )
    return " ".join(filter(None, (missing, stale)))


def _describe_run_list(reason: str, panels: Sequence[tuple[str, Sequence[RunKey]]], layout: ReportLayout) -> str:
    if len({tuple(runs_) for _, runs_ in panels}) == 1:
        shared_runs = panels[0][1]
        return f"{reason}: {_format_runs(shared_runs, layout)}." if shared_runs else ""
    return " ".join(f"{reason} on {title}: {_format_runs(lacking, layout)}." for title, lacking in panels if lacking)


def _format_runs(missing_runs: Sequence[RunKey], layout: ReportLayout) -> str:
    """Format runs as `Full FT, LoRA on A, B; SLQ (seed 2) on B`, joining backbones that lack the same runs."""
    backbones_by_names: dict[str, list[str]] = {}
    for backbone in dict.fromkeys(backbone for backbone, _, _ in missing_runs):
        seeds_by_method = {
            method: tuple(s for b, m, s in missing_runs if (b, m) == (backbone, method)) for method in layout.labels
        }
        names = ", ".join(
            _format_method_seeds(method, some, layout) for method, some in seeds_by_method.items() if some
        )
        backbones_by_names.setdefault(names, []).append(backbone.label)
    return "; ".join(f"{names} on {', '.join(backbones)}" for names, backbones in backbones_by_names.items())


def _format_method_seeds(method: str, seeds: tuple[int, ...], layout: ReportLayout) -> str:
    """Name a method, and its seeds if they are not all of the layout's."""
    if seeds == layout.seeds_of(method):
        return layout.labels[method]
    return f"{layout.labels[method]} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
