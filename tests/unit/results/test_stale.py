"""Numbers that do not follow from the ranks or answers beside them: every reader reports them, and shows none."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from comparing import cells, compared, draw_run
from slq.cli import main
from slq.common.errors import SlqError
from slq.common.files import hash_file, read_json, write_json
from slq.evaluation.freshness import check_freshness
from slq.evaluation.rank_table import RetrievalVariant
from slq.evaluation.retention import write_retention_results
from slq.evaluation.retrieval import write_retrieval_results as write_measured
from slq.export.card import read_scores
from slq.export.trained_run import TrainedRun
from slq.reporting.figures import draw_figures
from slq.reporting.tables import render
from slq.results.cells import TableCell
from stored import CPU, MINI, REFERENCE, TEMPLATES, Runs, cell, recalls, tables

RUN = "results/mini/mini-a/slq/seed1"
FILES = {"ranks": f"{RUN}/retrieval/mini-f.json", "answers": f"{RUN}/retention/mini-r.json"}
SHOWN = {"ranks": ("table1", "mini-a/slq", "mini-f t2i R@5"), "answers": ("table3", "mini-a/slq", "mini-r")}
BASE = "results/mini/mini-a/base/seed0/retention/mini-r.json"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Project with an SLQ run with ranks and answers, which tests copy."""
    root = tmp_path_factory.mktemp("drawn")
    draw_run(root, np.random.default_rng(1))
    Runs(root / "results", "mini").run("mini-a", "slq", device=CPU)
    return root


@pytest.fixture
def lab(drawn: Path, tmp_path: Path) -> Path:
    return shutil.copytree(drawn, tmp_path / "lab")


def change(path: Path, **content: Any) -> None:
    write_json(path, read_json(path) | content)


def change_rank(path: Path, old: int, new: int, wanted: int) -> None:
    """Change the first `wanted` captions of rank `old` to `new` in the table beside a metrics file."""
    ranks = path.with_suffix(".ranks.parquet")
    table = pd.read_parquet(ranks)
    found = table.index[(table["direction"] == "t2i") & (table["rank"] == old)][:wanted]
    assert len(found) == wanted
    for column in ("rank", "rank_pessimistic"):
        table.loc[found, column] = np.int32(new)
    table.to_parquet(ranks, index=False)


def change_answer(path: Path, old: str, new: str) -> None:
    answers = path.with_suffix(".answers.jsonl")
    text = answers.read_text()
    assert f'"answer": "{old}"' in text
    answers.write_text(text.replace(f'"answer": "{old}"', f'"answer": "{new}"', 1))


def add_to_metric(path: Path, points: float) -> None:
    content = read_json(path)
    parts = content["metrics"].get("t2i", content["metrics"])
    parts["R@5" if "R@5" in parts else "score"] += points
    write_json(path, content)


# Edits that a user may make to a file, with the message of each.
OTHER = "it was made from other {0} than {1}'s"
EDITS = {
    "a hundred ranks": ("ranks", lambda path: change_rank(path, 1, 9, 100), OTHER),
    "a rank that moves no recall": ("ranks", lambda path: change_rank(path, 3, 4, 1), OTHER),
    "an answer": ("answers", lambda path: change_answer(path, "A", "B"), OTHER),
    "an answer that moves no score": ("answers", lambda path: change_answer(path, "B", "C"), OTHER),
    "a recall by 0.3": ("ranks", lambda path: add_to_metric(path, 0.3), "metrics.t2i.R@5 is "),
    "a score by 0.3": ("answers", lambda path: add_to_metric(path, 0.3), "metrics.score is "),
}


# One edit of each kind of file, for readers that only learn that the file is stale.
ONE_OF_EACH = pytest.mark.parametrize("edited", ["a rank that moves no recall", "a score by 0.3"], indirect=True)


@pytest.fixture(params=EDITS)
def edited(request: pytest.FixtureRequest, lab: Path) -> tuple[Path, str, str]:
    """The run after an edit, the kind of the edited file, and the expected message."""
    kind, edit, said = EDITS[request.param]
    path = lab / FILES[kind]
    edit(path)
    ending = "ranks.parquet" if kind == "ranks" else "answers.jsonl"
    why = said.format(kind, f"{path.stem}.{ending}")
    return lab, kind, f"{FILES[kind]} is not what its ranks or answers give: {why}"


def test_a_metrics_file_names_the_bytes_that_it_was_made_from(lab: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(lab / FILES["ranks"].replace(".json", ".ranks.parquet"))
    write_measured(
        tmp_path, {"name": "c", "table_variant": "all"}, table, [RetrievalVariant("all")], {"dataset": "of the dataset"}
    )
    inputs = read_json(tmp_path / "c.json")["inputs"]
    assert inputs["ranks"] == hash_file(tmp_path / "c.ranks.parquet") and inputs["dataset"] == "of the dataset"
    answers = (lab / FILES["answers"].replace(".json", ".answers.jsonl")).read_text().splitlines()
    asked = dict.fromkeys(("paper_name", "benchmark"), "realworldqa") | {"name": "r", "scorer": "vlmevalkit-exact-2"}
    write_retention_results(tmp_path, asked, [json.loads(line) for line in answers], {"dataset": "of the dataset"})
    assert read_json(tmp_path / "r.json")["inputs"]["answers"] == hash_file(tmp_path / "r.answers.jsonl")


def test_an_edit_leaves_no_number_in_the_tables_and_is_named(edited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lab, kind, why = edited
    render(MINI, lab / "results", REFERENCE, TEMPLATES, lab / "out")
    assert f"slq: warning: {why}" in capsys.readouterr().err
    with open(lab / "out" / "cells.csv", encoding="utf-8", newline="") as file:
        rows = {(row["table"], row["row"], row["column"]): row for row in csv.DictReader(file)}
    row = rows[SHOWN[kind]]
    assert (row["value"], row["state"]) == ("", "stale") and row["reason"].startswith(why)
    named = [row for row in rows.values() if FILES[kind] in row["source"]]
    assert named and {row["state"] for row in named} <= {"stale"}, "no table takes a number from the file"
    for ending in ("html", "tex"):
        page = (lab / "out" / f"{SHOWN[kind][0]}.{ending}").read_text()
        assert "stale" in page and ("†" in page or r"\dag{}" in page)


@ONE_OF_EACH
def test_an_edit_leaves_no_point_in_the_figures(edited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lab, kind, why = edited
    draw_figures(MINI, lab / "results", REFERENCE, lab / "out")
    assert f"slq: warning: {why}" in capsys.readouterr().err
    assert FILES[kind] not in (lab / "out" / "figures.csv").read_text()
    figure = "recall" if kind == "ranks" else "retention"
    assert "Stale, so not shown" in (lab / "out" / f"{figure}.svg").read_text()


@ONE_OF_EACH
def test_an_edit_is_a_verdict_of_a_comparison(edited: Any, drawn: Path, tmp_path: Path, capsys: Any) -> None:
    lab, kind, why = edited
    found = compared(tmp_path / "out.json", drawn / "results/mini", lab / "results/mini")
    benchmark = "mini-f" if kind == "ranks" else "mini-r"
    of_file = [one for one in found["cells"] if one["benchmark"] == benchmark]
    assert {one["verdict"] for one in of_file} == {"stale"} and found["counts"]["agrees"] == 15 - len(of_file)
    assert all(f"{lab}/{why}" in one["reason"] for one in of_file)
    assert f"slq: warning: {lab}/{why}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "edited", ["a rank that moves no recall", "an answer that moves no score", "a score by 0.3"], indirect=True
)
def test_an_edit_is_found_by_score(edited: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """tests/unit/evaluation/test_recounts.py covers ranks and recalls that differ."""
    lab, kind, _ = edited
    assert main(["score", str(lab / "results/mini")]) == 1
    said = capsys.readouterr()
    assert f"{lab / FILES[kind]}: does not match its {kind}: " in said.out
    assert main(["score", str(lab / "results/mini"), "--write"]) == 0
    assert main(["score", str(lab / "results/mini")]) == 0
    assert cell(tables(MINI, lab / "results")[SHOWN[kind][0]], *SHOWN[kind][1:]).state == "measured"


@ONE_OF_EACH
def test_an_edit_is_told_by_a_bundle_and_left_out_of_a_card(edited: Any, tmp_path: Path, capsys: Any) -> None:
    lab, kind, why = edited
    assert main(["bundle", str(lab / "results/mini"), str(tmp_path / "mini.tar.gz")]) == 0
    assert f"slq: warning: {why}" in capsys.readouterr().err
    found = read_scores(TrainedRun({}, {}, lab / RUN, lab, lab), {})
    assert len(found["stale"]) == 1 and found["stale"][0].startswith(why)
    shown = [row["dataset"] for row in (*found["retrieval"], *found["retention"])]
    assert sorted(shown) == sorted(["mini-c"] * 2 + (["mini-r"] if kind == "ranks" else ["mini-f"] * 2))


def test_a_proof_of_earlier_answers_of_base_is_stale(lab: Path) -> None:
    """Base answers again: its own number is right, but SLQ was proved equal to the earlier answers."""
    results, run = lab / "results", lab / RUN
    base = lab / BASE
    base.parent.mkdir(parents=True)
    for path in sorted((run / "retention").iterdir()):
        path.rename(base.with_name(path.name))
    Runs(results, "mini").inherited("mini-a", "slq", "mini-r")
    found = cell(tables(MINI, results)["table3"], "mini-a/slq", "mini-r")
    assert found.state == "inherited" and found.reason == f"inherited from {BASE}"
    change_answer(base, "A", "B")
    assert main(["score", str(base.parents[1]), "--write"]) == 0
    table = tables(MINI, results)["table3"]
    assert cell(table, "mini-a/base", "mini-r").state == "measured"
    found = cell(table, "mini-a/slq", "mini-r")
    assert found.state == "stale" and found.reason.startswith(
        f"{FILES['answers']} was checked against other answers than "
    )


def test_a_file_without_the_hash_is_stale_until_it_is_written_anew(lab: Path, capsys: Any) -> None:
    inputs = read_json(lab / FILES["ranks"])["inputs"]
    change(lab / FILES["ranks"], inputs={key: value for key, value in inputs.items() if key != "ranks"})
    assert "other ranks than" in check_freshness(lab / FILES["ranks"], read_json(lab / FILES["ranks"])).stale_reason
    assert main(["score", str(lab / "results")]) == 1
    assert "mini-f.json: does not match its ranks: inputs.ranks" in capsys.readouterr().out
    assert main(["score", str(lab / "results"), "--write"]) == 0
    assert read_json(lab / FILES["ranks"])["inputs"] == inputs


def test_two_numbers_of_one_adapter_are_the_same_number_or_differ(tmp_path: Path) -> None:
    """0.3 points are within the tolerance, but two evaluations of one adapter have no tolerance."""
    for side, value in (("one", 70.0), ("other", 70.3)):
        runs = Runs(tmp_path / side / "results", "mini")
        runs.run("mini-a", "slq")
        runs.retrieval("mini-a", "slq", "mini-f", recalls(value))
        change(tmp_path / side / FILES["ranks"], inputs={"adapter": "one", "dataset": "f", "ranks": side})
    found = compared(tmp_path / "out.json", *(tmp_path / side / "results/mini" for side in ("one", "other")))
    assert len(cells(found, "differs")) == 6 and found["counts"]["agrees"] == 1
    assert found["cells"][0]["reason"].startswith("the same adapter, backbone and dataset give another number")


def test_a_stale_cell_has_no_number_and_takes_part_in_no_ranking() -> None:
    found = TableCell.stale("a.json does not follow")
    assert (found.value, found.text, found.state, found.reason) == (None, "", "stale", "a.json does not follow")


def shown(out: Path, name: tuple[str, str, str]) -> dict[str, str]:
    rows = csv.DictReader((out / "cells.csv").read_text().splitlines())
    return next(row for row in rows if (row["table"], row["row"], row["column"]) == name)


def test_a_file_of_another_run_with_its_ranks_is_no_number_of_this_one(lab: Path, tmp_path: Path, capsys: Any) -> None:
    """Copied as a whole, the file follows from its ranks, but the run's other files name another adapter."""
    own = [path for kind in ("retrieval", "retention") for path in (lab / RUN / kind).glob("*.json")]
    for path in own:
        change(path, inputs=read_json(path)["inputs"] | {"adapter": "of this run"})
    render(MINI, lab / "results", REFERENCE, TEMPLATES, tmp_path / "out")
    assert shown(tmp_path / "out", SHOWN["ranks"])["state"] == "measured"
    change(lab / FILES["ranks"], inputs=read_json(lab / FILES["ranks"])["inputs"] | {"adapter": "of another"})
    render(MINI, lab / "results", REFERENCE, TEMPLATES, tmp_path / "out")
    cell = shown(tmp_path / "out", SHOWN["ranks"])
    assert cell["state"] == "stale" and not cell["value"] and FILES["ranks"] in cell["reason"]
    assert "is not of this run: it is of another adapter (inputs.adapter) than" in capsys.readouterr().err


def test_what_stands_for_two_variants_or_for_no_hashes_is_said(lab: Path) -> None:
    path = lab / FILES["ranks"]
    content = read_json(path)
    both = content | {"variants": {content["variant"]: {k: content[k] for k in ("variant_settings", "metrics", "n")}}}
    write_json(path, both)
    add_to_metric(path, 0.3)
    assert "stands under variants too" in check_freshness(path, read_json(path)).stale_reason
    change(path, inputs=["a"])
    with pytest.raises(SlqError, match=r"mini-f\.json: key inputs is \['a'\]; expected hashes by name"):
        check_freshness(path, read_json(path))


def test_a_proof_by_a_proof_has_no_number(lab: Path) -> None:
    path = lab / FILES["answers"]
    itself = path.relative_to(lab / "results/mini").as_posix()
    write_json(path, {"schema": 4, "inherits_from": itself, "inputs": {}})
    assert f"those of {itself}, which has none (inherits_from)" in check_freshness(path, read_json(path)).stale_reason


def test_a_bundle_of_what_cannot_be_read_is_not_written(lab: Path, tmp_path: Path, capsys: Any) -> None:
    (lab / FILES["ranks"]).write_text('{"schema": 3, "vari')
    assert main(["bundle", str(lab / "results/mini"), str(tmp_path / "torn.tar.gz")]) == 1
    assert "mini-f.json: not valid JSON" in capsys.readouterr().err and not (tmp_path / "torn.tar.gz").exists()


@pytest.mark.parametrize("metrics", [None, {"t2i": {"R@5": "9"}}, [1]])
def test_score_says_which_file_holds_no_recalls(lab: Path, metrics: Any, capsys: Any) -> None:
    change(lab / FILES["ranks"], metrics=metrics)
    assert main(["score", str(lab / "results/mini")]) == 1
    told = capsys.readouterr().err
    assert "mini-f.json: " in told and "make the file again" in told


def test_a_run_is_counted_again_from_within_its_folder(lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """This includes an inherited score: the preset's folder is above the one that was named."""
    (lab / BASE).parent.mkdir(parents=True)
    for path in (lab / RUN / "retention").iterdir():
        path.rename((lab / BASE).with_name(path.name))
    Runs(lab / "results", "mini").inherited("mini-a", "slq", "mini-r")
    monkeypatch.chdir(lab / RUN)
    assert main(["score", "."]) == 0
    assert "retention/mini-r.json  = inherited from /" in capsys.readouterr().out
