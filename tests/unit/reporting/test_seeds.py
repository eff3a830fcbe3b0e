"""Several seeds: tables and figures compared with numpy, their appearance, and their notes on missing seeds."""

import csv
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from judged import answers
from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.evaluation.seed_differences import accuracy_seed_difference
from slq.evaluation.statistics import BOOTSTRAP_SEED
from slq.reporting.charts import describe_missing_runs, recall_chart, retention_chart, training_chart
from slq.reporting.figures import draw_figures
from slq.reporting.plots import draw_chart
from slq.reporting.plots import format_signed_difference as printed_difference
from slq.reporting.style import figure_style
from slq.reporting.tables import render
from slq.results.layout import parse_layout
from slq.results.load import Results
from stored import CPU, H200, MINI, PAPER, REFERENCE, TEMPLATES, Runs, cell, rows, tables, write_answers

SEEDS = [1, 2, 5]
THREE = MINI | {"seeds": SEEDS}
TRAINED = {"full_ft": 950_123, "slq": 1_025}


def store(root: Path, layout: dict[str, Any], seeds: list[int]) -> Path:
    """Results of a layout's backbones with random numbers, for the given seeds and one base."""
    draw = random.Random(0)
    for backbone in (entry["name"] for entry in layout["backbones"]):
        for method, seed in [("base", 0), *((method, seed) for method in TRAINED for seed in seeds)]:
            runs = Runs(root / "results", layout["preset"], seed)
            tuned = {"device": CPU, "spans": {"train": draw.uniform(300, 400), "eval": draw.uniform(10, 20)}}
            runs.run(backbone, method, TRAINED.get(method, 0), **(tuned if method in TRAINED else {}))
            for entry in layout["retrieval_datasets"]:
                found = {way: {f"R@{k}": draw.uniform(90, 99.9) for k in (1, 5, 10)} for way in ("i2t", "t2i")}
                runs.retrieval(backbone, method, entry["name"], found)
            for entry in layout["retention_datasets"]:
                runs.retention(backbone, method, entry["name"], draw.uniform(50, 80))
            if method in TRAINED:
                runs.events(backbone, method, [draw.uniform(1, 3) for _ in range(2)], [50.0, 60.0])
    return root / "results"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return store(tmp_path, THREE, SEEDS)


def forget(results: Path, *runs: str) -> None:
    """Delete the files of runs, as if the runs had not been made."""
    for run in runs:
        for path in (results / "mini" / run).rglob("*.json*"):
            path.unlink()


def printed(results: Path, layout: dict[str, Any], out: Path) -> list[dict[str, str]]:
    render(layout, results, REFERENCE, TEMPLATES, out)
    with open(out / "cells.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---- numbers ---------------------------------------------------------------------------------------------------------


def stored_number(root: Path, row: dict[str, str], source: str) -> float:
    """Number of one file that a cell of Table 1 or 3 shows, read without the package's own tables."""
    content = read_json(root / source)
    if row["column"] == "hours":
        return content["spans"]["train"] * content["device"]["count"] / 3600
    if row["column"] == "mini-r":
        return content["metrics"]["score"]
    _, way, recall = row["column"].split(" ")
    return content["metrics"][way][recall]


def test_means_and_deviations_are_numpys_over_all_files_that_are_named(results: Path, tmp_path: Path) -> None:
    found = [
        row for row in printed(results, THREE, tmp_path / "out") if row["table"] in ("table1", "table3") and row["sd"]
    ]
    # 12 columns of Table 1 for two backbones; 4 recalls, a score and hours of Table 3 for two backbones and methods.
    assert len(found) == 2 * 12 + 2 * 2 * 6
    collected = tables(THREE, results)
    for row in found:
        sources = row["source"].split("; ")
        backbone, method = row["row"].split("/")
        assert [re.findall(r"/seed(\d+)/", source) for source in sources] == [["1"], ["2"], ["5"]]
        assert all(source.startswith(f"results/mini/{backbone}/{method}/") for source in sources)
        values = np.array([stored_number(tmp_path, row, source) for source in sources])
        assert row["n"] == "3"
        assert float(row["value"]) == pytest.approx(values.mean(), rel=1e-12)
        assert float(row["sd"]) == pytest.approx(values.std(ddof=1), rel=1e-12)
        shown = cell(collected[row["table"]], row["row"], row["column"])
        decimals = 2 if row["column"] == "hours" else 1
        assert (shown.text, shown.spread) == (f"{values.mean():.{decimals}f}", f"{values.std(ddof=1):.{decimals}f}")


def test_the_base_is_one_run_without_a_deviation(results: Path) -> None:
    found = rows(tables(THREE, results)["table3"])["mini-a/base"].cells
    assert {(one.sd, one.spread) for one in found} == {(None, "")}
    measured = [one for one in found if one.state == "measured"]
    assert len(measured) == 5
    assert all("/base/seed0/" in one.source and one.n == 1 for one in measured)


def test_right_answers_are_means_too_but_for_what_is_the_sets(results: Path) -> None:
    table = tables(THREE, results)["retention"]
    paths = [results / f"mini/mini-a/slq/seed{seed}/retention/mini-r.json" for seed in SEEDS]
    values = np.array([read_json(path)["metrics"]["accuracy"] for path in paths])
    found = cell(table, "mini-a/mini-r", "slq")
    assert (found.value, found.sd, found.n) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)), 3)
    items, base = (cell(table, "mini-a/mini-r", column) for column in ("n", "base"))
    assert (items.text, items.spread, len(items.source.split("; "))) == ("200", "", 1 + 2 * 3)
    assert (base.spread, base.n) == ("", 1)


def test_one_seed_of_several_looks_as_if_it_were_alone(results: Path, tmp_path: Path) -> None:
    """The numbers are that seed's, without a deviation, whatever else is stored."""
    cells = printed(results, MINI | {"seeds": [2]}, tmp_path / "out")
    assert not any("/seed1/" in row["source"] or "/seed5/" in row["source"] for row in cells)
    assert {row["sd"] for row in cells} == {""}
    assert {row["n"] for row in cells} == {"", "1"}
    for path in sorted((tmp_path / "out").glob("t*.*")):
        text = path.read_text(encoding="utf-8")
        assert r"\pm" not in text and "±" not in text and "deviation" not in text
    assert "Preset mini, seed 2." in (tmp_path / "out" / "table3.tex").read_text(encoding="utf-8")


def test_marks_compare_the_means_as_they_are_printed(results: Path) -> None:
    for backbone, values in (("mini-a", (90.0, 95.06, 97.0)), ("mini-b", (94.0, 94.0, 94.1))):
        for seed, value in zip(SEEDS, values, strict=True):
            runs = Runs(results, "mini", seed)
            found = {way: {f"R@{k}": value for k in (1, 5, 10)} for way in ("i2t", "t2i")}
            runs.retrieval(backbone, "slq", "mini-f", found)
    one, other = (cell(tables(THREE, results)["table1"], f"mini-{name}/slq", "mini-f i2t R@1") for name in "ab")
    assert (one.text, other.text) == ("94.0", "94.0") and one.value != other.value
    assert (one.mark, other.mark) == ("best", "best")


@pytest.mark.parametrize(("key", "value"), [("hidden_size", 64), ("parameters", {"trainable": 7, "total": 8})])
def test_what_seeds_cannot_change_must_agree(results: Path, key: str, value: Any) -> None:
    Runs(results, "mini", 5).run("mini-a", "slq", TRAINED["slq"], CPU, **{key: value})
    with pytest.raises(SlqError, match=r"differs between .*/seed\d/run\.json and .*/slq/seed5/run\.json"):
        tables(THREE, results)


def test_parameters_name_every_run_that_counted_them(results: Path) -> None:
    found = cell(tables(THREE, results)["table3"], "mini-a/slq", "parameters")
    assert (found.value, found.text, found.spread, found.n) == (1_025, "1.0k", "", 3)
    assert found.source.split("; ") == [f"results/mini/mini-a/slq/seed{seed}/run.json" for seed in SEEDS]


# ---- hours -----------------------------------------------------------------------------------------------------------


def test_hours_are_of_one_run_and_in_all_of_every_seed(results: Path) -> None:
    table = tables(THREE, results)["gpu_hours"]
    assert [column.heads[-1] for column in table.columns[1:3]] == ["Training, one run", "Total, all seeds"]
    assert any("Training is the mean per run" in note for note in table.notes)
    spent = {
        method: [read_json(results / f"mini/mini-a/{method}/seed{seed}/run.json")["spans"] for seed in SEEDS]
        for method in TRAINED
    }
    training = {method: np.array([spans["train"] * 2 / 3600 for spans in found]) for method, found in spent.items()}
    one, total = (cell(table, "mini-a/slq", column) for column in ("ours", "ours_total"))
    assert (one.value, one.sd) == (pytest.approx(training["slq"].mean()), pytest.approx(training["slq"].std(ddof=1)))
    assert total.value == pytest.approx(sum(sum(spans.values()) * 2 / 3600 for spans in spent["slq"]))
    assert (total.sd, total.n, total.source) == (None, 3, one.source)
    ratio = cell(table, "mini-a/slq", "ours_ratio")
    assert ratio.value == pytest.approx(training["slq"].mean() / training["full_ft"].mean())
    assert len(ratio.source.split("; ")) == 6


def test_hours_of_two_devices_have_no_mean(results: Path) -> None:
    Runs(results, "mini", 5).run("mini-a", "slq", TRAINED["slq"], H200)
    found = tables(THREE, results)
    for table, columns in (("gpu_hours", ("ours", "ours_total", "ours_ratio")), ("table3", ("hours",))):
        for column in columns:
            one = cell(found[table], "mini-a/slq", column)
            assert one.state == "missing" and "not hours of one device" in one.source
    assert cell(found["gpu_hours"], "mini-a/slq", "device").text == "Xeon_E5 & co, NVIDIA H200"
    assert cell(found["gpu_hours"], "mini-a/slq", "count").text == "2, 8"


# ---- appearance ------------------------------------------------------------------------------------------------------


def test_a_deviation_stands_small_behind_its_mean(results: Path, tmp_path: Path) -> None:
    render(THREE, results, REFERENCE, TEMPLATES, tmp_path)
    table = tables(THREE, results)["table3"]
    base, *tuned = (cell(table, f"mini-a/{method}", "mini-r") for method in ("base", "full_ft", "slq"))
    best = next(one for one in tuned if one.mark == "best")
    tex, page = ((tmp_path / name).read_text(encoding="utf-8") for name in ("table3.tex", "table3.html"))
    assert rf"& \textbf{{{best.text}}}{{\scriptsize$\,\pm\,${best.spread}}}" in tex
    assert f'<span class="best">{best.text}</span><small> ± {best.spread}</small></a></td>' in page
    assert f"& {base.text} " in tex and f"<span>{base.text}</span></a></td>" in page
    rows_of_base = re.findall(r"^.*& Base &.*$", tex, re.MULTILINE)
    assert len(rows_of_base) == 2 and not any(r"\pm" in row for row in rows_of_base)
    assert r"Preset mini, seeds 1, 2, 5; mean $\pm$ standard deviation." in tex
    assert "Preset mini, seeds 1, 2, 5; mean ± standard deviation." in page
    assert tex.startswith("% from results/mini; preset mini, seeds 1, 2, 5\n")
    assert any("Base has no seed" in note for note in table.notes)


def test_the_widest_table_fits_the_page(latex: None, tmp_path: Path) -> None:
    """The paper preset with three seeds: 12 columns of means and deviations, four backbones with the longest names."""
    layout = PAPER | {"seeds": SEEDS}
    render(layout, store(tmp_path, layout, SEEDS), REFERENCE, TEMPLATES, tmp_path / "out")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "tables.tex"], cwd=tmp_path / "out", capture_output=True, check=True
    )
    assert b"Overfull" not in done.stdout


# ---- missing seeds ---------------------------------------------------------------------------------------------------


def test_a_mean_over_fewer_seeds_says_so(results: Path) -> None:
    forget(results, "mini-a/slq/seed2", "mini-b/slq/seed1", "mini-b/slq/seed5", "mini-a/full_ft/seed2/retention")
    found = tables(THREE, results)
    two, one = (cell(found["table1"], f"mini-{name}/slq", "mini-f i2t R@1") for name in "ab")
    assert (two.n, one.n) == (2, 1)
    assert two.sd is not None and "seed2" not in two.source
    assert (one.sd, one.spread) == (None, "") and one.source == "results/mini/mini-b/slq/seed2/retrieval/mini-f.json"
    note = "Not all runs exist: SLQ on A-mini over 2 of 3 seeds; SLQ on B-mini over 1 of 3 seeds."
    assert found["table1"].notes[-1] == found["gpu_hours"].notes[-1] == note
    assert found["retention"].notes[-1] == (
        "Not all runs exist: Full FT on A-mini over 2 of 3 seeds; SLQ on A-mini over 2 of 3 seeds; "
        "SLQ on B-mini over 1 of 3 seeds."
    )
    assert found["table3"].notes[-1] == (
        "Not all runs exist: Full FT on A-mini over 2 or 3 of 3 seeds; SLQ on A-mini over 2 of 3 seeds; "
        "SLQ on B-mini over 1 of 3 seeds."
    )


def test_no_seed_at_all_is_a_missing_cell_that_names_every_file(results: Path) -> None:
    assert not any("Not all runs" in note for table in tables(THREE, results).values() for note in table.notes)
    forget(results, *(f"mini-a/slq/seed{seed}" for seed in SEEDS))
    found = cell(tables(THREE, results)["table3"], "mini-a/slq", "mini-r")
    assert found.state == "missing"
    assert found.source.count("/retention/mini-r.json") == 3 and found.source.endswith("do not exist")


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_every_run_has_its_own_points(results: Path, tmp_path: Path) -> None:
    draw_figures(THREE, results, REFERENCE, tmp_path / "out")
    with open(tmp_path / "out" / "figures.csv", encoding="utf-8", newline="") as file:
        points = [point for point in csv.DictReader(file) if point["figure"] != "margins"]
    counts = {name: sum(point["figure"] == name for point in points) for name in ("recall", "retention", "training")}
    # Two backbones, two trained methods and three seeds. Recall: two datasets, and one base run. Retention: one
    # dataset. Training: two epochs of three lines.
    assert counts == {"recall": 2 * 2 * (2 * 3 + 1), "retention": 2 * 2 * 3, "training": 2 * 2 * 3 * 2 * 3}
    for point in points:
        run = point["series"].split(" ")[0]
        assert f"results/mini/{run}/" in point["source"], point


def write_quiz(results: Path, method: str, seed: int, right: int) -> None:
    """Write the answers of a run to a hundred questions, of which the first `right` are correct."""
    path = Runs(results, "mini", seed).folder("mini-a", method) / "retention" / "mini-r.json"
    write_answers(path, "realworldqa", "vlmevalkit-exact-2", answers(right))


@pytest.mark.parametrize("seeds", [3, 2])
def test_retention_is_drawn_as_a_mean_with_its_interval_from_three_seeds_on(results: Path, seeds: int) -> None:
    own = {"seeds": SEEDS[:seeds], "backbones": THREE["backbones"][:1], "methods": ["base", "full_ft"]}
    layout = parse_layout(THREE | own)
    scores = dict(zip(SEEDS[:seeds], (50, 40, 60), strict=False))
    write_quiz(results, "base", 0, 80)
    for seed, right in scores.items():
        write_quiz(results, "full_ft", seed, right)
    chart = retention_chart(Results(results, layout))
    with figure_style():
        axes = draw_chart(chart, layout).axes[0]
    values = np.array(list(scores.values())) - 80.0
    assert printed_difference(values.mean()) in [text.get_text() for text in axes.texts]
    bars = [bar.get_segments()[0][:, 1] for bar in axes.collections if len(bar.get_segments()[0]) == 2]
    bars = [(low, high) for low, high in bars if low < values.mean() < high]
    if seeds == 2:
        assert not bars
    else:
        ((low, high),) = bars
        pairs = [
            ({f"q{n}": n < right for n in range(100)}, {f"q{n}": n < 80 for n in range(100)}) for right in (50, 40, 60)
        ]
        found = accuracy_seed_difference(pairs, BOOTSTRAP_SEED)
        assert (low, high) == pytest.approx((found.low, found.high))


def test_recall_has_a_marker_and_training_a_line_for_every_run(results: Path) -> None:
    layout = parse_layout(THREE)
    ours = Results(results, layout)
    with figure_style():
        recall, training = draw_chart(recall_chart(ours), layout), draw_chart(training_chart(ours), layout)
    assert [len(axes.lines) for axes in recall.axes] == [2 * (2 * 3 + 1)] * 2
    assert [len(axes.lines) for axes in training.axes] == [2 * 3, 2 * 2 * 3] * 2
    assert "seeds 1, 2, 5: one marker per seed." in " ".join(recall.texts[-1].get_text().split())


def test_figures_name_the_seeds_that_are_missing(results: Path) -> None:
    forget(results, "mini-a/slq/seed2", "mini-b/slq/seed1", "mini-b/slq/seed5", "mini-b/full_ft")
    layout = parse_layout(THREE)
    for chart in (recall_chart, training_chart):
        sentence = describe_missing_runs(chart(Results(results, layout)), layout)
        assert sentence == "Not run: SLQ (seed 2) on A-mini; Full FT, SLQ (seeds 1, 5) on B-mini."
