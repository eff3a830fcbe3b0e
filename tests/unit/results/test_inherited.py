"""An inherited score: its cell's state, number, sources and mark, in tables and figures."""

import csv
from pathlib import Path

import pytest

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.reporting.charts import retention_chart
from slq.reporting.figures import draw_figures
from slq.reporting.tables import render
from slq.results.layout import parse_layout
from slq.results.load import Results
from stored import MINI, REFERENCE, TEMPLATES, Runs, cell, mini_results, tables

BASE, PROOF = (f"results/mini/mini-a/{run}/retention/mini-r.json" for run in ("base/seed0", "slq/seed1"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results in which A has measured base and full FT, and inherited SLQ."""
    folder = mini_results(tmp_path)
    Runs(folder, "mini").inherited("mini-a", "slq", "mini-r")
    return folder


def test_the_number_is_bases_and_both_files_are_named(results: Path) -> None:
    found = cell(tables(MINI, results)["table3"], "mini-a/slq", "mini-r")
    assert (found.value, found.state, found.n, found.sd) == (97.5, "inherited", 1, None)
    assert found.source == f"{BASE}; {PROOF}"
    of_type = cell(tables(MINI, results)["retention"], "mini-a/mini-r/open", "slq")
    assert (of_type.value, of_type.state, of_type.source) == (100.0, "inherited", f"{BASE}; {PROOF}")


def test_it_takes_part_in_the_marks(results: Path) -> None:
    table = tables(MINI, results)["table3"]
    marks = {method: cell(table, f"mini-a/{method}", "mini-r").mark for method in ("base", "full_ft", "slq")}
    assert marks == {"base": "", "full_ft": "second", "slq": "best"}
    Runs(results, "mini").retention("mini-a", "full_ft", "mini-r", 98.0)
    table = tables(MINI, results)["table3"]
    assert [cell(table, f"mini-a/{method}", "mini-r").mark for method in ("full_ft", "slq")] == ["best", "second"]


def test_it_looks_like_what_it_is(results: Path, tmp_path: Path) -> None:
    render(MINI, results, REFERENCE, TEMPLATES, tmp_path / "out")
    assert r"\textbf{97.5\rlap{\textsuperscript{=}}}" in (tmp_path / "out/table3.tex").read_text()
    page = (tmp_path / "out/table3.html").read_text()
    assert '<span class="best">97.5</span><sup title="inherited">=</sup>' in page


def test_several_seeds_are_one_number_without_a_deviation(results: Path) -> None:
    for seed in (2, 5):
        Runs(results, "mini", seed).inherited("mini-a", "slq", "mini-r")
    found = cell(tables(MINI | {"seeds": [1, 2, 5]}, results)["table3"], "mini-a/slq", "mini-r")
    assert (found.value, found.state, found.n, found.sd, found.spread) == (97.5, "inherited", 3, None, "")
    assert found.source.split("; ") == [BASE, *(PROOF.replace("seed1", f"seed{seed}") for seed in (1, 2, 5))]


def test_the_figure_shows_no_difference_and_says_why(results: Path, tmp_path: Path) -> None:
    chart = retention_chart(Results(results, parse_layout(MINI)))
    assert "The difference 0 of SLQ is inherited from base, not measured." in chart.note
    draw_figures(MINI, results, REFERENCE, tmp_path / "out")
    with open(tmp_path / "out/figures.csv", newline="") as file:
        points = [row for row in csv.DictReader(file) if row["figure"] == "retention"]
    (slq,) = [row for row in points if row["series"] == "mini-a/slq/seed1"]
    assert (float(slq["y"]), slq["source"]) == (0.0, f"{BASE}; {PROOF}")


def test_base_need_not_be_a_row_of_the_table(results: Path) -> None:
    found = cell(tables(MINI | {"methods": ["full_ft", "slq"]}, results)["table3"], "mini-a/slq", "mini-r")
    assert (found.value, found.state) == (97.5, "inherited")


def test_a_proof_whose_base_is_not_there_has_no_number_and_names_it(results: Path) -> None:
    (results.parent / BASE).unlink()
    found = cell(tables(MINI, results)["table3"], "mini-a/slq", "mini-r")
    assert (found.state, found.reason) == ("missing", f"{BASE} does not exist: {PROOF} says it is the same")


def test_a_proof_for_an_earlier_base_is_an_error(results: Path) -> None:
    for run, name in ((BASE, "new"), (PROOF, "old")):
        content = read_json(results.parent / run)
        write_json(results.parent / run, content | {"inputs": {"dataset": name}})
    with pytest.raises(
        SlqError, match=r"checked against another .*base/seed0.*\(inputs\.dataset differs\); check it again"
    ):
        tables(MINI, results)
