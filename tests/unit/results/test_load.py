"""The loader of results: every expected number with its state, compared with a naive reading of the JSON files."""

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.results.cells import TableCell
from slq.results.evidence import evidence
from slq.results.layout import find_layout, parse_layout
from slq.results.load import COLUMNS, NUMBER_KEYS, load
from slq.results.paper import load_paper
from stored import CPU, MINI, REFERENCE, Runs, mini_results, reference_rows, write_answers, write_ranks

PACKAGE = Path(__file__).parents[3] / "workflow/slq"
READERS = [*(PACKAGE / "reporting").rglob("*.py"), *(PACKAGE / "claims").glob("*.py"), PACKAGE / "export/card.py"]
LAYOUT = parse_layout(
    MINI
    | {
        "seeds": [1, 2],
        "baselines": [{"name": "clip", "group": "", "label": "CLIP"}],
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A preset's folder with measured, inherited, stale and missing numbers, and a baseline."""
    results = mini_results(tmp_path)
    Runs(results, "mini").inherited("mini-a", "slq", "mini-r")
    Runs(results, "mini", 2).run("mini-a", "slq", 1025, CPU)
    write_ranks(results / "mini/mini-a/slq/seed2/retrieval/mini-f.json", [1, 2, 7, 12, 1] * 20, [1, 2, 9, 11] * 5)
    write_ranks(results / "mini/baselines/clip/retrieval/mini-f.json", [1] * 20, [2] * 4)
    stale = results / "mini/mini-b/slq/seed1/retrieval/mini-c.json"
    write_ranks(stale, [1] * 20, [2] * 4)
    content = read_json(stale)
    content["metrics"]["t2i"]["R@5"] -= 0.3
    write_json(stale, content)
    return results / "mini"


def naive_recalls(folder: Path) -> dict[tuple[Any, ...], tuple[str, Any]]:
    """State and value of every recall that the layout expects, read file by file."""
    found = {}
    runs = [(one.name, method, seed) for one in LAYOUT.backbones for method in LAYOUT.methods for seed in (0, 1, 2)]
    runs = [run for run in runs if (run[1] == "base") == (run[2] == 0)]
    for backbone, method, seed in [*runs, ("baselines", "clip", 0)]:
        run = "baselines/clip" if method == "clip" else f"{backbone}/{method}/seed{seed}"
        for dataset in ("mini-f", "mini-c"):
            path = folder / run / "retrieval" / f"{dataset}.json"
            content = json.loads(path.read_text()) if path.exists() else None
            for direction in ("i2t", "t2i"):
                for metric in ("R@1", "R@5", "R@10"):
                    state = "missing" if content is None else "measured"
                    if run == "mini-b/slq/seed1" and dataset == "mini-c":
                        state = "stale"
                    value = content["metrics"][direction][metric] if content else None
                    found[backbone, method, seed, dataset, direction, metric] = (state, value)
    return found


def test_every_expected_recall_is_a_row_with_the_value_of_its_file(folder: Path) -> None:
    numbers = load(folder, LAYOUT)
    assert list(numbers.columns) == COLUMNS and not numbers.duplicated(NUMBER_KEYS).any()
    recalls_ = numbers[numbers["metric"].isin(["R@1", "R@5", "R@10"]) & numbers["direction"].isin(["i2t", "t2i"])]
    found = {
        (row.backbone, row.method, row.seed, row.dataset, row.direction, row.metric): (row.state, row.value)
        for row in recalls_.itertuples()
    }
    assert found == naive_recalls(folder)
    assert {state for state, _ in found.values()} == {"measured", "stale", "missing"}
    assert set(numbers.loc[numbers["backbone"] == "baselines", "baseline"]) == {"clip"}


def test_a_row_says_why_it_has_no_number_or_whose_it_is(folder: Path) -> None:
    numbers = load(folder, LAYOUT)
    assert (numbers.loc[numbers["state"] == "measured", "reason"] == "").all()
    assert (numbers.loc[numbers["state"] != "measured", "reason"] != "").all()
    assert numbers.loc[numbers["state"].isin(["measured", "inherited"]), "value"].notna().all()
    score = numbers[
        (numbers["metric"] == "score") & (numbers["kind"] == "retention") & (numbers["backbone"] == "mini-a")
    ]
    states = {(row.method, row.seed): (row.state, row.value, row.reason) for row in score.itertuples()}
    base = "results/mini/mini-a/base/seed0/retention/mini-r.json"
    assert states["slq", 1] == ("inherited", 97.5, f"inherited from {base}")
    gone = "results/mini/mini-a/slq/seed2/retention/mini-r.json does not exist"
    assert states["slq", 2] == ("missing", None, gone)


def test_types_of_questions_costs_and_the_blind_base_are_rows_too(folder: Path) -> None:
    numbers = load(folder, LAYOUT)
    run = numbers[(numbers["backbone"] == "mini-a") & (numbers["method"] == "full_ft") & (numbers["seed"] == 1)]
    values = {
        (row.kind, row.question_type, row.metric): row.value for row in run.itertuples() if row.dataset != "mini-c"
    }
    assert values["run", "", "parameters"] == 950_123 and values["run", "", "hours"] == pytest.approx(90 * 2 / 3600)
    assert values["retention", "open", "accuracy"] == 100.0 and values["retention", "choice", "items"] == 160
    blind = numbers[(numbers["kind"] == "blind") & (numbers["metric"] == "accuracy") & (numbers["question_type"] == "")]
    assert list(blind["value"]) == [30.0, None] and set(blind["method"]) == {"base"}


def test_a_folder_is_loaded_by_what_it_has(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "a copy")
    layout = find_layout(copy, {}, {})
    assert [one.name for one in layout.backbones] == ["mini-a", "mini-b"] and layout.seeds == (1, 2)
    numbers = load(copy, layout)
    there = numbers[numbers["state"] != "missing"]
    assert len(there) and {path.is_file() for path in there["path"]} == {True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 3, "schema": 3}', "mini-f.json: not valid JSON .*'schema' occurs twice"),
        ('{"schema": 3, "variants": {}, "n": {"images": NaN}}', "mini-f.json: key n.images is nan; expected a number"),
    ],
)
def test_a_key_that_stands_twice_and_what_is_no_number_are_refused(folder: Path, text: str, message: str) -> None:
    path = folder / "mini-a/slq/seed1/retrieval/mini-f.json"
    path.write_text(text)
    with pytest.raises(SlqError, match=message):
        load(folder, LAYOUT)


def test_a_number_that_is_expected_twice_is_refused(folder: Path) -> None:
    layout = parse_layout(MINI | {"backbones": [*MINI["backbones"], MINI["backbones"][0]]})
    with pytest.raises(SlqError, match=r"run\.json: hidden_size is expected twice"):
        load(folder, layout)


def test_the_evidence_of_a_row_gives_its_number(folder: Path) -> None:
    """Recalls are the share of ranks within K, scores the share of right answers; a cell without a file says so."""
    asked: dict[str, Any] = {"question": "?", "prompt": "?", "options": [], "answers": ["red"]}
    asked |= {"tokens": 2, "ended": True}
    items = [
        asked | {"id": f"q{n}", "type": ("open", "choice")[n % 2], "answer": "red" if n < 3 else "blue"}
        for n in range(8)
    ]
    write_answers(folder / "mini-b/slq/seed2/retention/mini-r.json", "realworldqa", "vlmevalkit-exact-2", items)
    numbers = load(folder, LAYOUT)
    with_evidence = 0
    for row in numbers[numbers["metric"].isin(["R@1", "R@5", "R@10", "accuracy"])].itertuples():
        found = evidence(row)
        if isinstance(found, TableCell):
            assert found.state in ("missing", "stale") and found.reason
        elif row.kind == "retention" and not row.question_type:
            assert 100 * found["is_correct"].mean() == row.value == 37.5
            with_evidence += 1
        elif row.kind == "retrieval" and row.direction in ("i2t", "t2i"):
            ranks = found.loc[found["direction"] == row.direction, "rank"]
            assert 100 * np.mean(ranks <= int(row.metric[2:])) == pytest.approx(row.value)
            with_evidence += 1
    assert with_evidence == 1 + 2 * 6


def test_the_papers_numbers_have_the_same_columns_and_are_quoted() -> None:
    paper = load_paper(REFERENCE, REFERENCE.parents[1] / "results")
    assert set(COLUMNS) <= set(paper.columns)
    table3 = paper[paper["table"] == "table3"]
    rows = reference_rows("table3")
    assert list(table3["value"]) == [float(row["value"]) for row in rows]
    assert set(paper["state"]) == {"quoted", "missing"} and paper.loc[paper["state"] == "quoted", "value"].notna().all()
    mmmu = table3[(table3["row"] == "InternVL3-1B/slq") & (table3["column"] == "mmmu")].iloc[0]
    published = pd.DataFrame(reference_rows("base_scores")).set_index(["backbone", "benchmark"])
    assert mmmu["base_printed"] == published.loc[("InternVL3-1B", "mmmu"), "value"]
    assert mmmu["sample_sizes"] == (900, 847) and (mmmu["kind"], mmmu["metric"]) == ("retention", "score")


@pytest.mark.parametrize("path", READERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_reports_opens_no_results_by_itself(path: Path) -> None:
    """Reports read `slq.results`; page, closing lines and card read by name the files that a stage wrote for them."""
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not names & {"check_freshness", "read_ranks", "read_scored_answers", "read_jsonl"}
    assert ("read_json" in names) <= (path.stem in ("page", "closing", "card"))
    assert not attributes & {"iterdir", "walk"}
    assert ("glob" in attributes or "rglob" in attributes) <= (path.stem in ("bundles", "pdf", "card"))


@pytest.mark.parametrize("path", [*(PACKAGE / "results").glob("*.py"), *READERS], ids=lambda path: path.stem)
def test_every_merge_says_how_many_rows_may_match(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "merge":
            assert "validate" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
