"""The figures: points are the stored results, missing results leave none, and the right image is framed."""

import csv
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from PIL import Image

from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.evaluation.retrieval import build_retrieval_examples, evenly_spaced_indices, top_k_images
from slq.reporting.charts import describe_missing_runs, recall_chart, retention_chart, training_chart
from slq.reporting.figures import draw_figures
from slq.reporting.plots import draw_chart, format_signed_difference, set_hours_scale
from slq.reporting.queries import draw_queries, draw_query_grid
from slq.reporting.style import CORRECT_COLOUR, figure_style
from slq.results.layout import parse_layout
from slq.results.load import Results
from slq.results.record import read_jsonl_records
from stored import MINI, PAPER, REFERENCE, Runs, mini_results

DRAWN = [f"{name}.{kind}" for name in ("margins", "recall", "retention", "training") for kind in ("png", "svg")]
SHOWN = {"preset": "mini", "method": "slq", "backbone_label": "A-mini", "dataset": "mini-c", "dataset_label": "mini-C"}
SHOWN |= {"seed": 3, "method_label": "SLQ"}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results in which A has base, full FT and SLQ, and B has SLQ only; A's trainings have events."""
    folder = mini_results(tmp_path)
    Runs(folder, "mini").events("mini-a", "slq", [3.0, 1.5, 1.25], [50.0, 60.0, 61.5])
    return folder


def points(folder: Path, name: str = "figures.csv") -> list[dict[str, str]]:
    with open(folder / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def charts(results: Path, layout: dict[str, Any] = MINI) -> Any:
    ours = Results(results, parse_layout(layout))
    return recall_chart(ours), retention_chart(ours), training_chart(ours)


def words(figure: Any) -> str:
    """All text of a figure, small print and legend included, on one line."""
    texts = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(" ".join(text.get_text().split()) for text in texts)


# ---- the points ------------------------------------------------------------------------------------------------------


def test_every_point_is_a_stored_result(results: Path, tmp_path: Path) -> None:
    draw_figures(MINI, results, REFERENCE, tmp_path / "out")
    rows = points(tmp_path / "out")
    for row in rows:
        paths = [re.sub(r":\d+$", "", part) for part in row["source"].split("; ")]
        assert all((REFERENCE.parents[1] / path).is_file() or (tmp_path / path).is_file() for path in paths), row
        if row["figure"] == "margins":
            assert row["series"].endswith(" paper")  # no run of these has ranks (test_margins.py)
        elif row["figure"] == "recall":
            recall, run = (read_json(tmp_path / path) for path in paths)
            assert float(row["y"]) == recall["metrics"]["t2i"]["R@5"]
            hours = run["spans"]["train"] * run["device"]["count"] / 3600 if run["device"] else 0
            assert float(row["x"]) == pytest.approx(hours)
        elif row["figure"] == "retention":
            score, base = (read_json(tmp_path / path)["metrics"]["score"] for path in paths)
            assert float(row["y"]) == score - base and row["x"] == "mini-a"
        else:
            path, _, line = row["source"].rpartition(":")
            event = json.loads((tmp_path / path).read_text().splitlines()[int(line) - 1])
            value = event["loss"] if event["event"] == "step" else event["recalls"][row["series"][-3:].lower()]["R@5"]
            assert float(row["y"]) == value


def test_a_missing_run_leaves_no_point(results: Path, tmp_path: Path) -> None:
    draw_figures(MINI, results, REFERENCE, tmp_path / "out")
    rows = [row for row in points(tmp_path / "out") if row["figure"] != "margins"]
    shown = {(row["figure"], row["panel"], row["series"]) for row in rows}
    tuned = [("mini-f", f"{run}/seed1") for run in ("mini-a/full_ft", "mini-a/slq", "mini-b/slq")]
    tuned += [("mini-c", series) for _, series in tuned]
    curves = [(panel, f"mini-a/slq/seed1{part}") for panel, part in (("loss", ""), ("val", " T2I"), ("val", " I2T"))]
    assert shown == {
        *(("recall", panel, series) for panel, series in [("mini-f", "mini-a/base/seed0"), *tuned]),
        *(("retention", "mini-r", f"mini-a/{method}/seed1") for method in ("full_ft", "slq")),
        *(("training", f"mini-a {panel}", series) for panel, series in curves),
    }
    assert len(rows) == 7 + 2 + 3 * 3


def test_the_figures_say_what_is_missing(results: Path) -> None:
    layout = parse_layout(MINI)
    recall, retention, training = found = charts(results)
    sentences = [describe_missing_runs(chart, layout) for chart in found]
    assert sentences == [
        "Not run on mini-F: Base, Full FT on B-mini. Not run on mini-C: Base on A-mini; Base, Full FT on B-mini.",
        "Not run: Base, Full FT on B-mini.",
        "Not run: Full FT on A-mini; Full FT, SLQ on B-mini.",
    ]
    with figure_style():
        assert sentences[0] in words(draw_chart(recall, layout))
        assert sentences[1] in words(draw_chart(retention, layout))
        assert "without a run of base" in words(draw_chart(retention, layout))
        assert sentences[2] in words(draw_chart(training, layout))


def test_figures_without_any_run_say_so(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    draw_figures(PAPER, tmp_path / "results", REFERENCE, tmp_path / "out")
    assert {row["figure"] for row in points(tmp_path / "out")} == {"margins"}  # the paper's
    layout = parse_layout(PAPER)
    with figure_style():
        for chart in charts(tmp_path / "results", PAPER):
            figure = draw_chart(chart, layout)
            assert words(figure).count("no run yet") == len(chart.panels)
            assert "on InternVL3-1B, Qwen3VL-2B, Qwen3VL-4B, InternVL3-8B." in words(figure)


def test_a_preset_without_retention_sets_has_a_figure_that_says_so(results: Path) -> None:
    layout = MINI | {"retention_datasets": []}
    _, retention, _ = charts(results, layout)
    with figure_style():
        assert "the preset has no retention dataset" in words(draw_chart(retention, parse_layout(layout)))


def test_a_repeated_step_is_shown_as_its_last_attempt_made_it(results: Path) -> None:
    path = Runs(results, "mini").folder("mini-a", "slq") / "events" / "train.jsonl"
    again = {"event": "step", "epoch": 1, "step": 2, "loss": 0.5}
    path.write_text(path.read_text() + json.dumps(again) + "\n")
    loss = charts(results)[2].panels[0].points
    assert [*zip(loss["x"], loss["y"], strict=True)] == [(1, 3.0), (2, 0.5), (3, 1.25)]


def test_a_broken_events_file_is_named_with_its_line(results: Path) -> None:
    path = Runs(results, "mini").folder("mini-a", "slq") / "events" / "train.jsonl"
    path.write_text('{"event": "step", "step": 1}\n')
    with pytest.raises(SlqError, match=r"train\.jsonl:1: key loss is missing"):
        charts(results)


# ---- appearance ------------------------------------------------------------------------------------------------------


def test_the_same_results_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_figures(MINI, results, REFERENCE, tmp_path / name)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted([*DRAWN, "figures.csv"])
    for name in DRAWN:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


HOSTILE = ["burger for $5.50 and fries for $2.00", "$100% off$ & <b>#1</b>", r"\$5 is x^2_1 -- {\x}", "[EOS] a\x07 * b"]


def test_the_text_of_others_is_drawn_as_it_is(results: Path, tmp_path: Path) -> None:
    """Labels and captions with dollars, markup and a control character give no mathematics, and SVGs are valid XML."""
    kinds = ("backbones", "retrieval_datasets", "retention_datasets", "rows")
    labelled = {kind: [one | {"label": HOSTILE[n]} for n, one in enumerate(MINI[kind])] for kind in kinds}
    draw_figures(MINI | labelled, results, REFERENCE, tmp_path / "out")
    queries = [query | {"text": HOSTILE[n % 4]} for n, query in enumerate(lists())]
    top = results / "top.jsonl"
    top.write_text("".join(json.dumps(query) + "\n" for query in queries))
    draw_queries(SHOWN | {"method_label": HOSTILE[0]}, top, results, picture, tmp_path / "out")
    dollar = get_font(findfont("DejaVu Sans")).get_char_index(ord("$"))
    for name in (*(name for name in DRAWN if name.endswith(".svg")), "queries.svg"):
        svg = (tmp_path / "out" / name).read_text()
        ElementTree.fromstring(svg)
        drawn = " ".join(" ".join(re.findall("<!-- (.*?) -->", svg, re.DOTALL)).split())
        assert HOSTILE[0] in drawn and f'id="DejaVuSans-{dollar:x}"' in svg, name


def test_every_backbone_has_a_marker_however_many(results: Path) -> None:
    names = [*(f"b{number}" for number in range(9)), "mini-a", "mini-b"]
    many = MINI | {"backbones": [{"name": name, "label": name, "paper_name": ""} for name in names]}
    with figure_style():
        figures = [draw_chart(chart, parse_layout(many)) for chart in charts(results, many)]
    markers = {line.get_marker() for line in figures[0].legends[0].get_lines()} - {"None"}
    assert len(markers) == len(names)


def test_the_base_stands_left_of_the_scale_of_hours(results: Path) -> None:
    recall, _, _ = charts(results)
    with figure_style():
        axes = draw_chart(recall, parse_layout(MINI)).axes[0]
    drawn = sorted((float(y), float(x)) for line in axes.lines for x, y in line.get_xydata())
    assert drawn == [(y, pytest.approx(x)) for y, x in zip((61, 66, 71, 91), (0.05, 0.05, 0.05, 0), strict=True)]
    assert axes.get_xlim()[0] < 0 < 0.01 < min(x for _, x in drawn if x) and axes.get_xscale() == "symlog"
    assert "CPU hours" in axes.get_xlabel() and "Xeon_E5 & co" in axes.get_xlabel()


@pytest.mark.parametrize("hours", [[0.02], [0.02, 0.0201], [4, 7, 40], [0.001, 3000], [1, 10], []])
def test_a_scale_of_hours_has_ticks_that_can_be_read(hours: list[float]) -> None:
    axes = Figure().add_subplot()
    set_hours_scale(axes, [0.0, *hours])
    left, right = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if left <= tick <= right]
    assert 0 in ticks and 3 <= len(ticks) <= 9
    assert all(ticks[1] <= value <= right for value in hours), "no run stands where the base does"


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (-0.04, "0"), (1.5, "+1.5"), (-80.0, "\N{MINUS SIGN}80")])
def test_a_difference_is_printed_with_its_sign(value: float, text: str) -> None:
    assert format_signed_difference(value) == text


# ---- queries and the images that they find ---------------------------------------------------------------------------


def unit_vectors(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_best_images_are_those_of_a_naive_sort() -> None:
    queries, images = unit_vectors(7, 1), unit_vectors(50, 2)
    images[[13, 31, 40]] = images[13]  # ties are sorted in dataset order
    queries[0] = images[13]
    order, scores = top_k_images(queries, images)
    similarities = queries @ images.T
    for query in range(7):
        naive = sorted(range(50), key=lambda image: (-similarities[query, image], image))[:5]
        assert order[query].tolist() == naive
        assert scores[query].tolist() == similarities[query, naive].tolist()
    assert order[0, :3].tolist() == [13, 31, 40]


@pytest.mark.parametrize(
    ("count", "numbers"), [(1000, [0, 166, 333, 500, 666, 833]), (6, [0, 1, 2, 3, 4, 5]), (2, [0, 1])]
)
def test_six_captions_are_spread_over_all(count: int, numbers: list[int]) -> None:
    assert evenly_spaced_indices(count).tolist() == numbers


def lists(captions_per_image: int = 3) -> list[dict[str, Any]]:
    """Images found by six captions among ten images, of which two are alike."""
    items = [
        {"id": f"i{n}", "image": f"{n}.png", "captions": [f"caption {n}.{c}" for c in range(captions_per_image)]}
        for n in range(10)
    ]
    text_image = np.repeat(np.arange(10), captions_per_image)
    names = [f"{item['id']}#{n}" for item in items for n in range(captions_per_image)]
    ranks = np.arange(1, len(names) + 1)
    return build_retrieval_examples(items, names, unit_vectors(10, 3), unit_vectors(len(names), 4), text_image, ranks)


def test_a_list_names_its_query_its_image_and_its_rank() -> None:
    found = lists()
    assert [query["query"] for query in found] == ["i0#0", "i1#2", "i3#1", "i5#0", "i6#2", "i8#1"]
    assert [query["text"] for query in found[:2]] == ["caption 0.0", "caption 1.2"]
    assert [query["image"] for query in found] == ["i0", "i1", "i3", "i5", "i6", "i8"]
    assert [query["rank"] for query in found] == [1, 6, 11, 16, 21, 26]
    for query in found:
        similarities = [image["similarity"] for image in query["top"]]
        assert similarities == sorted(similarities, reverse=True) and len(similarities) == 5


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "results" / "mini-c.top.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(query) + "\n" for query in lists()))
    return path


def picture(image: str) -> Image.Image:
    """A plain picture whose red value identifies the image."""
    return Image.new("RGB", (300, 200), (20 * int(image[1:]), 0, 0))


def test_the_grid_frames_the_right_image_and_no_other(top: Path, tmp_path: Path) -> None:
    queries = read_jsonl_records(top, tmp_path / "results")
    with figure_style():
        figure = draw_query_grid(SHOWN, queries, picture)
    seen = set()
    for query, part in zip(queries, figure.subfigs, strict=True):
        assert len(part.axes) == 5
        found = [image["image"] for image in query.content["top"]]
        reds = [axes.images[0].get_array()[0, 0, 0] for axes in part.axes]
        assert reds == [20 * int(image[1:]) for image in found]
        framed = [axes.spines["left"].get_linewidth() > 2 for axes in part.axes]
        ticked = ["\N{CHECK MARK}" in axes.get_xlabel() for axes in part.axes]
        coloured = [axes.xaxis.label.get_color() == CORRECT_COLOUR for axes in part.axes]
        assert framed == ticked == coloured == [image == query.content["image"] for image in found]
        seen.add(any(framed))
        assert (f"[correct image: rank {query.content['rank']}]" in words(part)) == (
            query.content["image"] not in found
        )
    assert seen == {True, False}


def test_the_grid_has_its_numbers_beside_it_and_the_same_bytes_twice(top: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_queries(SHOWN, top, tmp_path / "results", picture, tmp_path / name)
    for name in ("queries.svg", "queries.png", "queries.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    expected = [found["similarity"] for query in lists() for found in query["top"]]
    rows = points(tmp_path / "one", "queries.csv")
    assert [float(row["y"]) for row in rows] == expected
    assert rows[5] | {"y": ""} == {
        "figure": "queries",
        "panel": "mini-c",
        "series": "i1#2",
        "x": "1",
        "y": "",
        "source": "results/mini-c.top.jsonl:2",
    }
