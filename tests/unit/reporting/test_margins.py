"""The figure of margins: ours are those of Table D, the paper's are differences of its printed numbers."""

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slq.reporting.figures import draw_figures
from slq.reporting.margins import margins_chart
from slq.reporting.plots import draw_chart
from slq.reporting.style import FAINT_COLOUR, figure_style
from slq.results.layout import parse_layout
from slq.results.load import Results
from slq.results.paper import Paper
from stored import MINI, PAPER, REFERENCE, Runs, cell, entries, reference_rows, tables, write_ranks

IMAGES = 40
SEEDS = [1, 2, 3]
LAYOUT: dict[str, Any] = MINI | {
    "seeds": SEEDS,
    "backbones": entries(("a", "A", "InternVL3-1B")),
    "methods": ["base", "full_ft", "lora", "slq"],
    "retrieval_datasets": entries(("c", "C", "coco")),
    "retention_datasets": [],
}
MISSED = {"full_ft": 2, "lora": IMAGES, "slq": IMAGES + 1}  # every how manieth image a method does not find


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Runs of three seeds: SLQ finds every image, LoRA all but one, full FT half of them."""
    for method, seed in itertools.product(MISSED, SEEDS):
        best = [20 if number % MISSED[method] == 0 and method != "slq" else 1 for number in range(IMAGES)]
        path = Runs(tmp_path / "results", "mini", seed).folder("a", method) / "retrieval" / "c.json"
        write_ranks(path, list(np.repeat(best, 5)), best)
    return tmp_path / "results"


def chart_of(results: Path, layout: dict[str, Any]) -> Any:
    paper = Paper(REFERENCE, results, tables=("table3",))
    return margins_chart(Results(results, parse_layout(layout)), paper)


@pytest.mark.parametrize("seeds", [SEEDS, SEEDS[:2], SEEDS[:1]])
def test_our_margins_are_those_of_table_d(results: Path, tmp_path: Path, seeds: list[int]) -> None:
    layout = LAYOUT | {"seeds": seeds}
    draw_figures(layout, results, REFERENCE, tmp_path / "out")
    with open(tmp_path / "out/figures.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["figure"] == "margins"]
    table = tables(layout, results)["comparisons"]
    for other, direction in itertools.product(("lora", "full_ft"), ("t2i", "i2t")):
        own = {
            row["series"].removeprefix(f"a/{other} "): row
            for row in rows
            if (row["panel"], row["y"]) == (other, f"a c {direction}")
        }
        difference, verdict = (
            cell(table, f"a/c {direction} R@5", f"{other} {key}") for key in ("difference", "verdict")
        )
        decided = verdict.text in ("SLQ higher", "SLQ lower")
        assert decided == (other == "full_ft" and len(seeds) == 3)
        margin = own["decided" if decided else "undecided"]
        assert float(margin["x"]) == difference.value and margin["source"] == difference.source
        assert (float(own["low"]["x"]), float(own["high"]["x"])) == (difference.low, difference.high)
        assert len(own) == 4  # and the paper's


def test_the_papers_margins_are_the_differences_of_its_printed_numbers(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    chart = chart_of(tmp_path / "results", PAPER)
    printed = {(row["backbone"], row["method"], row["column"]): row["printed"] for row in reference_rows("table3")}
    points = [point for panel in chart.panels for point in panel.points.itertuples()]
    assert len(points) == 32 and {point.part for point in points} == {"paper"}
    for point in points:
        _, dataset, direction = point.y.split(" ")
        first, second = (printed[point.backbone, one, f"{dataset}_{direction}_R@5"] for one in ("slq", point.method))
        assert point.x == pytest.approx(float(first) - float(second))
        assert len(str(point.x).partition(".")[2]) == 1
    assert chart.note == ""


def drawn(results: Path, layout: dict[str, Any]) -> Any:
    with figure_style():
        return draw_chart(chart_of(results, layout), parse_layout(layout))


def test_a_margin_is_grey_unless_it_is_told_apart_by_three_seeds(results: Path) -> None:
    slq = parse_layout(LAYOUT).colors["slq"]
    for seeds, colours in ((SEEDS, {FAINT_COLOUR, slq}), (SEEDS[:2], {FAINT_COLOUR})):
        figure = drawn(results, LAYOUT | {"seeds": seeds})
        markers = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "o"]
        assert len(markers) == 4 and {line.get_color() for line in markers} == colours


def test_rows_stand_in_the_order_of_the_layout_and_stand_ins_are_named(results: Path) -> None:
    figure = drawn(results, LAYOUT)
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["A, C T2I", "A, C I2T"]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first row is the highest
    assert [axes.get_title("left") for axes in (left, right)] == ["SLQ \u2212 LoRA", "SLQ \u2212 Full FT"]
    note = " ".join(figure.texts[-1].get_text().split())
    assert "The paper's margins are those that ours stand for: A for InternVL3-1B, C for COCO." in note


def test_a_method_that_the_paper_lacks_has_no_panel(results: Path) -> None:
    row = {"name": "mine", "label": "Mine", "color": "#000000", "changes_backbone": True}
    layout = LAYOUT | {"methods": [*LAYOUT["methods"], "mine"], "rows": [*LAYOUT["rows"], row]}
    assert "mine" in parse_layout(layout).other_methods
    assert [panel.key for panel in chart_of(results, layout).panels] == ["lora", "full_ft"]


def test_missing_runs_are_named(results: Path) -> None:
    for path in Runs(results, "mini", 2).folder("a", "lora").rglob("c.*"):
        path.unlink()
    note = " ".join(drawn(results, LAYOUT).texts[-1].get_text().split())
    assert "Not run: LoRA (seed 2) on A." in note and "Full FT" not in note
