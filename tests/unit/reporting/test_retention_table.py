"""The table of right answers by dataset and type: what each cell is, and its source."""

from pathlib import Path

import pytest

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from stored import MINI, PAPER, Runs, asked, cell, heads, mini_results, rows, tables


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return mini_results(tmp_path)


def edit(path: Path, key: str, value: object) -> None:
    write_json(path, read_json(path) | {key: value})


def test_a_set_stands_as_a_whole_and_by_type(results: Path) -> None:
    table = tables(MINI, results)["retention"]
    assert heads(table) == [["Items", "Chance", "Base, blind", "Base", "Full FT", "LoRA", "SLQ"]]
    assert [row.label for row in table.groups[0].rows] == ["mini-R", "mini-R: choice", "mini-R: open"]
    shown = {key: [one.text for one in row.cells] for key, row in rows(table).items() if key.startswith("mini-a")}
    assert shown == {
        "mini-a/mini-r": ["200", "24.0", "30.0", "97.5", "11.5", "", "97.5"],
        "mini-a/mini-r/choice": ["160", "25.0", "0.0", "0.0", "0.0", "", "0.0"],
        "mini-a/mini-r/open": ["40", "20.0", "100.0", "100.0", "100.0", "", "100.0"],
    }


def test_cells_name_their_files_and_have_no_marks(results: Path) -> None:
    table = tables(MINI, results)["retention"]
    assert cell(table, "mini-a/mini-r", "blind").source == "results/mini/mini-a/base/seed0/blind/mini-r.json"
    assert cell(table, "mini-a/mini-r/open", "slq").source == "results/mini/mini-a/slq/seed1/retention/mini-r.json"
    assert {one.mark for row in rows(table).values() for one in row.cells} == {""}


def test_what_was_not_run_is_missing(results: Path) -> None:
    table = tables(MINI, results)["retention"]
    assert {cell(table, f"mini-b/{part}", "blind").state for part in ("mini-r", "mini-r/open")} == {"missing"}
    assert cell(table, "mini-b/mini-r", "n").text == "200", "known from the one run that there is"
    paper = tables(PAPER, results)["retention"]
    assert [row.label for row in paper.groups[0].rows] == ["MMMU", "RealWorldQA", "OCRBench"]
    assert {one.state for row in rows(paper).values() for one in row.cells} == {"missing"}
    assert not any(note.startswith("Scorers") for note in paper.notes)


def test_chance_is_known_where_base_was_asked_blind_alone(results: Path) -> None:
    Runs(results, "mini").retention("mini-b", "base", "mini-x", 30.0, kind="blind")
    layout = MINI | {"retention_datasets": asked(("mini-x", "mini-X", "mmmu"))}
    table = tables(layout, results)["retention"]
    assert cell(table, "mini-b/mini-x", "chance").source == "results/mini/mini-b/base/seed0/blind/mini-x.json"
    assert cell(table, "mini-a/mini-x", "chance").state == "missing"


def test_a_preset_without_retention_sets_has_an_empty_table(results: Path) -> None:
    assert not rows(tables(MINI | {"retention_datasets": []}, results)["retention"])


def test_notes_name_the_scorer_and_what_chance_and_blind_are(results: Path) -> None:
    notes = tables(MINI, results)["retention"].notes
    assert notes[0] == "Scorers: mini-R by vlmevalkit-exact-2."
    assert notes[1].startswith("Chance: the mean over items") and "without their images" in notes[2]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scorer", "first-letter-1", r"scorer differs between .*mini-r\.json and .*slq/seed1/retention/mini-r\.json"),
        ("chance", 50.0, r"chance differs between .*mini-r\.json and .*slq/seed1/retention/mini-r\.json"),
        ("schema", 3, r"schema 3, not 4: written by a version before 0\.2\.0.*; make the file again"),
        ("types", {}, r"slq/seed1/retention/mini-r\.json: key types\.choice is missing"),
    ],
)
def test_results_that_do_not_belong_together_are_an_error(results: Path, key: str, value: object, message: str) -> None:
    edit(results / "mini" / "mini-a" / "slq" / "seed1" / "retention" / "mini-r.json", key, value)
    with pytest.raises(SlqError, match=message):
        tables(MINI, results)
