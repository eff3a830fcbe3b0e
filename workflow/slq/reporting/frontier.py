"""The frontier: recall against retention of runs at every searched rate, and of runs interpolated with base.

A run is picked by its recall on val and by its answers to half of the questions; its retention is reported on the other
half, so that no number is reported that it was picked by.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import pandas as pd

from slq.common.errors import SlqError
from slq.common.files import write_json
from slq.config.runs import frontier_points
from slq.methods.registry import BASE
from slq.reporting.frontier_output import draw_panels, frontier_table, write_table
from slq.reporting.interval_tables import DIRECTION_LABELS
from slq.reporting.method_comparison import compare_methods, describe_difference
from slq.reporting.rates import LR_SWEEP_SCHEMA, mean_recall
from slq.results.cells import TableCell
from slq.results.layout import LayoutEntry, MethodRow, ReportLayout, parse_layout
from slq.results.load import Results
from slq.results.record import read_record

SCHEMA = 1
METRIC = "R@5"
Half = Literal["selection", "report"]
HALVES: tuple[Half, Half] = ("selection", "report")


@dataclass(frozen=True)
class FrontierPoint:
    """A run on the frontier; numbers are percentages.

    Attributes:
        name: name of the run's method, trial or interpolated run
        method: the method or variant that it belongs to
        val: mean recall on val; None for base
        recalls: R@5 on the test splits, by `<dataset> <direction>`
        retention: mean over retention datasets of the accuracy on each half of the questions
    """

    name: str
    method: str
    val: float | None
    recalls: dict[str, float]
    retention: dict[Half, float]

    @property
    def recall(self) -> float:
        """Mean of the recalls."""
        return mean(self.recalls.values())


def draw_frontier(settings: Mapping[str, Any], results: Path, templates: Path, tables: Path, out_file: Path) -> None:
    """Write frontier.json, the table, and the figure with its points.

    Args:
        settings: from `slq.config.job_settings.frontier_settings`
        results: the results folder, which has one folder per preset
        templates, tables: folders of the Jinja templates, and of the preset's tables
    """
    layout = parse_layout(settings)
    layout = replace(layout, seeds=layout.seeds[:1], knowledge_datasets=(), baselines=())
    found = {entry.name: frontier_of(settings, results, layout, entry) for entry in layout.backbones}
    write_json(
        out_file,
        {
            "schema": SCHEMA,
            "preset": layout.preset,
            "seed": layout.seeds[0],
            "tolerance": settings["tolerance"],
            "halves": "of each type, questions go to either half in turn, in the order of SHA-256 of `<dataset>/<id>`",
            "backbones": found,
        },
    )
    source = f"{layout.preset}/{out_file.name}"
    write_table(
        frontier_table(layout, found, settings["tolerance"], f"{results.name}/{source}"), results, templates, tables
    )
    draw_panels(layout, found, settings["tolerance"], f"{results.name}/{source}", tables / "figures")


def frontier_of(
    settings: Mapping[str, Any], results: Path, layout: ReportLayout, backbone: LayoutEntry
) -> dict[str, Any]:
    """Read the runs of one backbone, pick one per method, and compare the proposed method's with each other's."""
    names = {BASE: BASE}
    for method in settings["points"]:
        folder = results / layout.preset / backbone.name / method["name"] / f"seed{layout.seeds[0]}"
        trials = read_record(folder / "lr_sweep.json", results.parent, LR_SWEEP_SCHEMA).value("trials")
        of_method = frontier_points(method["name"], method["learning_rate"], trials, method["fractions"])
        names |= dict.fromkeys(of_method, method["name"])
    rows = tuple(MethodRow(name, name, "", changes_backbone=True) for name in names)
    loaded = Results(results, replace(layout, backbones=(backbone,), methods=tuple(names), rows=rows))
    base, *points = [read_point(loaded, backbone, name, method) for name, method in names.items()]
    picked = {
        method["name"]: pick(points, method["name"], base, settings["tolerance"]) for method in settings["points"]
    }
    proposed, differences = picked.get(layout.proposed_method), []
    for other in picked.values():
        if proposed and other and other is not proposed:
            differences += compare_points(loaded, layout, backbone, proposed, other)
    chosen = {point.name for point in picked.values() if point}
    return {
        BASE: asdict(base) | {"recall": base.recall},
        "points": [asdict(one) | {"recall": one.recall, "picked": one.name in chosen} for one in points],
        "picked": {method: point and point.name for method, point in picked.items()},
        "differences": differences,
    }


def read_point(results: Results, backbone: LayoutEntry, name: str, method: str) -> FrontierPoint:
    """Read the numbers of a run.

    Raises:
        SlqError: a file is missing or stale, or a type has a single question
    """
    layout = results.layout
    recalls, halves = {}, []
    for dataset in layout.retrieval_datasets:
        for direction in DIRECTION_LABELS:
            cell = results.cell(backbone.name, name, "retrieval", dataset.name, METRIC, direction)
            recalls[f"{dataset.name} {direction}"] = float(require_number(name, backbone, cell).value or 0)
    for dataset in layout.retention_datasets:
        answers = require_number(name, backbone, results.evidence(backbone.name, name, "retention", dataset.name))
        halves += [split_accuracy(dataset.name, table) for table in answers.values()]  # of the only seed
    runs = [run.record for run in results.records("run") if run.method == name]
    val = runs[0].value("val")
    return FrontierPoint(
        name,
        method,
        val and mean_recall(val["recalls"][val["selected_epoch"]]),
        recalls,
        {half: mean(of_dataset[half] for of_dataset in halves) for half in HALVES},
    )


def require_number(name: str, backbone: LayoutEntry, found: Any) -> Any:
    """Return a cell or evidence; raise SlqError if it is a cell without a number."""
    if isinstance(found, TableCell) and found.value is None:
        raise SlqError(f"the frontier lacks {name} on {backbone.label}: {found.reason}")
    return found


def draw_halves(dataset: str, answers: pd.DataFrame) -> "pd.Series[Any]":
    """Return the half of each question: of each type, the questions in the order of their hash go to either in turn.

    Args:
        answers: columns id and type, of all questions of the dataset

    Raises:
        SlqError: a half has no question of a type, so that the halves do not ask the same
    """
    hashes = answers["id"].map(lambda name: hashlib.sha256(f"{dataset}/{name}".encode()).hexdigest())
    for question_type, count in answers["type"].value_counts().items():
        if count < len(HALVES):
            raise SlqError(
                f"{answers.attrs['source']}: type '{question_type}' of {dataset} has {count} question, which cannot be "
                "in both halves that the frontier picks and reports by; give the question another type, or leave it out"
            )
    return hashes.groupby(answers["type"]).rank().mod(len(HALVES)).map(lambda place: HALVES[int(place)])


def split_accuracy(dataset: str, answers: pd.DataFrame) -> dict[Half, float]:
    """Compute the accuracy in percent on each half of a dataset's questions (columns id, type and is_correct)."""
    halves = draw_halves(dataset, answers)
    return {half: 100 * float(answers["is_correct"][halves == half].mean()) for half in HALVES}


def pick(points: Sequence[FrontierPoint], method: str, base: FrontierPoint, tolerance: float) -> FrontierPoint | None:
    """Pick the run of a method with the highest recall on val, among those that lose no more than the tolerance.

    The loss is that of base's mean accuracy on the selection half. The first of equal runs is picked; None if there is
    no such run.
    """
    lowest = base.retention["selection"] - tolerance
    candidates = [one for one in points if one.method == method and one.retention["selection"] >= lowest]
    return max(candidates, key=lambda one: one.val or 0.0, default=None)


def compare_points(
    results: Results, layout: ReportLayout, backbone: LayoutEntry, proposed: FrontierPoint, other: FrontierPoint
) -> list[dict[str, Any]]:
    """Compare the recalls of two picked runs on the same images; one seed decides nothing."""
    compared = []
    for dataset in layout.retrieval_datasets:
        pairs = compare_methods(results, backbone, proposed.name, other.name, dataset)
        if isinstance(pairs, TableCell):
            raise SlqError(f"the frontier cannot compare {proposed.name} with {other.name}: {pairs.reason}")
        for direction in DIRECTION_LABELS:
            one = pairs[direction, METRIC].difference
            verdict = describe_difference(one, layout.labels[proposed.method])
            numbers = {key: getattr(one, key) for key in ("value", "low", "high", "p")}
            place = {"against": other.method, "dataset": dataset.name, "direction": direction, "metric": METRIC}
            compared.append(place | numbers | {"verdict": verdict})
    return compared
