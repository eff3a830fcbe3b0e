"""Data of the figure of margins: the proposed method's retrieval recalls minus those of every other method."""

from itertools import product
from typing import Any

from slq.methods.registry import BASE
from slq.reporting.charts import HIGH, LOW, Chart, Panel, Point, RunKey, points_to_dataframe
from slq.reporting.interval_tables import DIRECTION_LABELS
from slq.reporting.method_comparison import SIGNIFICANCE_LEVEL, compare_methods
from slq.reporting.recalls import DATASET_LABELS
from slq.results.cells import TableCell, count_decimals
from slq.results.layout import LayoutEntry, ReportLayout
from slq.results.load import Results, as_rows
from slq.results.paper import Paper

MARGIN_METRIC = "R@5"  # the recall of Table 3
PAPER, DECIDED, UNDECIDED = "paper", "decided", "undecided"  # parts of a row, besides LOW and HIGH


def margins_chart(results: Results, paper: Paper) -> Chart:
    """Collect the margins over the paper's other methods, with a row per backbone, retrieval dataset and direction.

    The part of a point is PAPER for the paper's margin, DECIDED or UNDECIDED for ours, and LOW or HIGH for the ends of
    its interval. Ours is undecided if it is not told apart from zero, or has fewer than MIN_SEEDS seeds.
    """
    layout, panels, lacking = results.layout, [], _lacking_runs(results)
    places = [*product(layout.backbones, layout.retrieval_datasets)]
    of_paper = {number.row.rpartition("/")[2] for number in paper.table("table3")}
    for other in [method for method in layout.other_methods if method in of_paper]:
        points: list[tuple[Any, ...]] = []
        for backbone, dataset in places:
            found = _paper_margins(paper, layout, backbone, other, dataset)
            found += _measured_margins(results, backbone, other, dataset)
            points += [(backbone.name, other, "", *point) for point in found]
        label = f"{layout.labels[layout.proposed_method]} \N{MINUS SIGN} {layout.labels[other]}"
        axis_label = f"{MARGIN_METRIC} (points)"
        panels.append(Panel(other, label, axis_label, "", points_to_dataframe(points), *lacking))
    labels = {
        row_key(backbone, dataset, direction): f"{backbone.label}, {dataset.label} {label}"
        for (backbone, dataset), (direction, label) in product(places, DIRECTION_LABELS.items())
    }
    entries = dict.fromkeys(one for place in places for one in place if one.paper_name and not one.is_from_paper)
    stand_ins = ", ".join(f"{one.label} for {DATASET_LABELS.get(one.paper_name, one.paper_name)}" for one in entries)
    note = f"The paper's margins are those that ours stand for: {stand_ins}." if stand_ins else ""
    return Chart("margins", tuple(panels), note, labels)


def row_key(backbone: LayoutEntry, dataset: LayoutEntry, direction: str) -> str:
    """Return the key of a row, which is the y of its points."""
    return f"{backbone.name} {dataset.name} {direction}"


def _measured_margins(results: Results, backbone: LayoutEntry, other: str, dataset: LayoutEntry) -> list[Point]:
    """Return our margins on a dataset and the ends of their intervals; none if a run is missing."""
    pairs = compare_methods(results, backbone, results.layout.proposed_method, other, dataset)
    points: list[Point] = []
    if isinstance(pairs, TableCell):
        return points
    for direction in DIRECTION_LABELS:
        difference, source, *_ = pairs[direction, MARGIN_METRIC]
        is_decided = difference.decides and difference.p < SIGNIFICANCE_LEVEL
        ends = {DECIDED if is_decided else UNDECIDED: difference.value, LOW: difference.low, HIGH: difference.high}
        points += [(part, x, row_key(backbone, dataset, direction), source) for part, x in ends.items()]
    return points


def _paper_margins(
    paper: Paper, layout: ReportLayout, backbone: LayoutEntry, other: str, dataset: LayoutEntry
) -> list[Point]:
    """Return the differences of two printed numbers of Table 3, of the backbone and dataset that ours stand for."""
    points: list[Point] = []
    for direction in DIRECTION_LABELS:
        column = f"{dataset.paper_name} {direction} {MARGIN_METRIC}"
        methods = (layout.proposed_method, other)
        first, second = (paper.find("table3", f"{backbone.paper_name}/{method}", column) for method in methods)
        if first and second and None not in (first.value, second.value):
            source = f"{first.source}; {second.source}"
            margin = round(first.value - second.value, count_decimals(first.printed))
            points.append((PAPER, margin, row_key(backbone, dataset, direction), source))
    return points


def _lacking_runs(results: Results) -> tuple[tuple[RunKey, ...], tuple[RunKey, ...]]:
    """List the runs of tuned methods that lack a recall: those where it is missing, and those where it is stale."""
    numbers = results.numbers
    is_margin = (numbers["kind"] == "retrieval") & (numbers["metric"] == MARGIN_METRIC) & (numbers["variant"] == "")
    is_margin &= numbers["direction"].isin(list(DIRECTION_LABELS)) & (numbers["method"] != BASE)
    is_margin &= numbers["dataset"].isin([one.name for one in results.layout.retrieval_datasets])

    def runs_with(state: str) -> tuple[RunKey, ...]:
        rows = as_rows(numbers[is_margin & (numbers["state"] == state)])
        return tuple(dict.fromkeys((row.backbone, row.method, row.seed) for row in rows))

    return runs_with("missing"), runs_with("stale")
