"""The tables from results that the tests write: states, marks, headers, errors."""

from pathlib import Path
from typing import Any

import pytest

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.reporting.tables import render
from stored import (
    MINI,
    PAPER,
    REFERENCE,
    TEMPLATES,
    Runs,
    cell,
    entries,
    heads,
    mini_results,
    recalls,
    reference_rows,
    rows,
    stored_like_the_paper,
    tables,
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return mini_results(tmp_path)


def test_the_papers_table1_has_the_papers_marks_but_for_six_cells(tmp_path: Path) -> None:
    stored_like_the_paper(tmp_path / "results")
    table = tables(PAPER, tmp_path / "results")["table1"]
    names = {f"SLQ ({entry['label']})": f"{entry['name']}/slq" for entry in PAPER["backbones"]}
    ours, printed = {}, {}
    for row in reference_rows("table1"):
        column = f"{row['dataset']} {row['direction']} {row['metric']}"
        found = cell(table, names.get(row["model"], row["model"]), column)
        assert found.value == (float(row["value"]) if row["value"] else None)
        ours[(row["model"], column)] = found.mark
        printed[(row["model"], column)] = {"bold": "best", "underline": "second", "": ""}[row["mark"]]
    assert sum(mark == "best" for mark in printed.values()) == 14
    assert {key for key, mark in ours.items() if mark == "best"} == {k for k, mark in printed.items() if mark == "best"}
    assert {key: (printed[key], mark) for key, mark in ours.items() if mark != printed[key]} == {
        ("SLQ (InternVL3-1B)", "flickr30k i2t R@10"): ("", "second"),
        ("SLQ (Qwen3VL-4B)", "coco i2t R@1"): ("second", ""),
        ("VLM2VEC-7B", "coco i2t R@1"): ("", "second"),
        ("BLIP ViT-L", "coco i2t R@5"): ("second", ""),
        ("VLM2VEC-7B", "coco i2t R@5"): ("", "second"),
        ("E5-V-7B", "coco t2i R@10"): ("", "second"),
    }


def test_quoted_cells_look_quoted_and_do_not_rank_beside_mini_sets(results: Path) -> None:
    table = tables(MINI, results)["table1"]
    quoted = cell(table, "VLM2VEC-7B", "mini-f i2t R@1")
    assert (quoted.state, quoted.text, quoted.mark, quoted.comparable) == ("quoted", "94.6", "", False)
    assert cell(table, "mini-b/slq", "mini-f i2t R@1").mark == "best"
    assert cell(table, "mini-a/slq", "mini-f i2t R@1").mark == "second"
    assert any("so they are not ranked" in note for note in table.notes)


def test_full_fine_tunings_count_is_said_to_be_without_the_lm_head(results: Path) -> None:
    """The paper's count, to which ours is compared, includes the head: 0.6B and 7.6B against 494M and 7.07B."""
    said = [note for note in tables(MINI, results)["table3"].notes if "LM head" in note]
    assert said == [
        "Param. of Full FT excludes an LM head that is not tied to the embedding, because no retrieval vector depends "
        "on it; the paper's numbers include it."
    ]
    untuned = tables(MINI | {"methods": ["base", "slq"]}, results)["table3"]
    assert not any("LM head" in note for note in untuned.notes)


def test_a_dash_of_the_paper_is_missing_and_the_baselines_keep_their_order(results: Path) -> None:
    table = tables(MINI, results)["table1"]
    assert cell(table, "TiGeR", "mini-f i2t R@1").state == "missing"
    assert [group.label for group in table.groups] == ["Dual-Encoder", "MLLM-based", "Ours"]
    assert list(rows(table))[:7] == list(dict.fromkeys(row["model"] for row in reference_rows("table1")))[:7]


def test_headers_name_the_sets_that_were_measured(results: Path, tmp_path: Path) -> None:
    assert heads(tables(MINI, results)["table1"])[0] == ["mini-F (200 test images)", "mini-C (200 test images)"]
    assert heads(tables(PAPER, results)["table1"])[0] == ["Flickr30K (1K test set)", "COCO (5K test set)"]
    stored_like_the_paper(tmp_path / "like")
    measured = heads(tables(PAPER, tmp_path / "like")["table1"])
    assert measured[0] == ["Flickr30K (1K test images)", "COCO (5K test images)"]
    assert measured[1:] == [["Image → Text", "Text → Image"] * 2, ["R@1", "R@5", "R@10"] * 4]


def test_a_column_without_a_set_keeps_the_papers_header(results: Path) -> None:
    layout = MINI | {"retrieval_datasets": MINI["retrieval_datasets"][:1]}
    found = tables(layout, results)
    assert heads(found["table1"])[0] == ["mini-F (200 test images)", "COCO (5K test set)"]
    assert cell(found["table1"], "mini-a/slq", "coco i2t R@1").state == "missing"
    assert heads(found["table3"])[0] == [
        "Param.", "CPU Hour", "mini-F", "COCO", "MMMU", "mini-R", "OCRBench",
    ]  # fmt: skip
    assert cell(found["table3"], "mini-a/slq", "mmmu").state == "missing"


def test_a_set_that_stands_for_no_column_gets_its_own(results: Path) -> None:
    Runs(results, "mini").retrieval("mini-a", "slq", "extra", recalls(12.0), images=50)
    layout = MINI | {"retrieval_datasets": [*MINI["retrieval_datasets"], *entries(("extra", "Extra", "none"))]}
    table = tables(layout, results)["table1"]
    assert heads(table)[0][-1] == "Extra (50 test images)"
    assert cell(table, "mini-a/slq", "extra i2t R@1").text == "12.0"
    assert cell(table, "CLIP ViT-B", "extra i2t R@1").state == "missing"


def test_table3_always_has_four_rows_and_marks_the_tuned_ones(results: Path) -> None:
    table = tables(MINI, results)["table3"]
    assert [[row.label for row in group.rows] for group in table.groups] == [["Base", "Full FT", "LoRA", "SLQ"]] * 2
    found = {method: rows(table)[f"mini-a/{method}"] for method in ("base", "full_ft", "lora", "slq")}
    assert {one.mark for one in found["base"].cells} == {""}
    assert {one.state for one in found["lora"].cells} == {"missing"}
    expected = {"parameters": "best", "hours": "best", "mini-f t2i R@5": "second", "mini-r": "best", "mmmu": ""}
    assert {key: cell(table, "mini-a/slq", key).mark for key in expected} == expected
    assert cell(table, "mini-a/full_ft", "mini-f t2i R@5").mark == "best"
    assert {one.mark for one in rows(table)["mini-b/slq"].cells} == {""}, "one tuned method has nothing to beat"
    assert [group.shared[0].text for group in table.groups] == ["128", "128"]


def test_base_costs_nothing_as_inherited_only_where_it_was_run(results: Path) -> None:
    table = tables(MINI, results)["table3"]
    for column in ("parameters", "hours"):
        zero = cell(table, "mini-a/base", column)
        assert (zero.state, zero.text) == ("inherited", "0")
        assert cell(table, "mini-b/base", column).state == "missing"
    Runs(results, "mini").run("mini-a", "base", trained=5)
    with pytest.raises(SlqError, match=r"base/seed0/run\.json: key parameters\.trainable is 5"):
        tables(MINI, results)


def test_a_method_that_the_layout_leaves_out_is_missing_though_its_files_exist(results: Path) -> None:
    table = tables(MINI | {"methods": ["slq"]}, results)["table3"]
    assert {one.state for one in rows(table)["mini-a/full_ft"].cells} == {"missing"}


def test_numbers_print_like_the_papers(results: Path) -> None:
    table = tables(MINI, results)["table3"]
    assert cell(table, "mini-a/full_ft", "parameters").text == "950k"
    assert cell(table, "mini-a/slq", "parameters").text == "1.0k"
    assert cell(table, "mini-a/slq", "hours").text == "0.050"
    runs = Runs(results, "paper")
    runs.retention("InternVL3-1B", "slq", "ocrbench", 790)
    runs.retention("InternVL3-1B", "slq", "mmmu", 43.44)
    paper = tables(PAPER, results)["table3"]
    assert cell(paper, "InternVL3-1B/slq", "ocrbench").text == "790"
    assert cell(paper, "InternVL3-1B/slq", "mmmu").text == "43.4"


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        ("run.json", ("schema",), 3, r"run\.json: key schema is 3"),
        ("run.json", ("seed",), 7, r"run\.json: key seed is 7; expected 1 in this folder"),
        ("run.json", ("hidden_size",), None, r"run\.json: key hidden_size is missing"),
        ("run.json", ("parameters", "trainable"), "many", r"run\.json: key parameters\.trainable is 'many'"),
        ("run.json", ("spans", "train"), None, r"run\.json: .*spans\.train"),
        ("run.json", ("device", "count"), 0, r"run\.json: .*device\.count is 0"),
        ("run.json", ("device", "kind"), "tpu", r"run\.json: key device\.kind is 'tpu'"),
        ("retrieval/mini-f.json", ("metrics", "t2i", "R@5"), None, r"mini-f\.json: key metrics\.t2i\.R@5 is missing"),
        ("retrieval/mini-f.json", ("metrics", "i2t"), None, r"mini-f\.json: key metrics\.i2t is missing"),
        ("retrieval/mini-f.json", ("n", "images"), 100, r"n\.images differs between .*mini-f\.json and .*mini-f\.json"),
        ("retention/mini-r.json", ("metrics", "score"), True, r"mini-r\.json: key metrics\.score is True"),
        ("retention/mini-r.json", ("schema",), None, r"mini-r\.json: key schema is missing"),
    ],
)
def test_a_broken_result_is_an_error_that_names_file_and_key(
    results: Path, tmp_path: Path, file: str, keys: tuple[str, ...], value: Any, message: str
) -> None:
    path = results / "mini" / "mini-a" / "slq" / "seed1" / file
    content = read_json(path)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner.pop(keys[-1])
    if value is not None:
        inner[keys[-1]] = value
    write_json(path, content)
    with pytest.raises(SlqError, match=message):
        render(MINI, results, REFERENCE, TEMPLATES, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing half-written"


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 4, "metrics": {"score": NaN}}'])
def test_a_truncated_or_foreign_file_is_an_error(results: Path, text: str) -> None:
    path = results / "mini" / "mini-a" / "slq" / "seed1" / "retention" / "mini-r.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SlqError, match=r"slq/seed1/retention/mini-r\.json"):
        tables(MINI, results)


@pytest.mark.parametrize(
    "change", [{"methods": ["slq", "adapter"]}, {"seeds": ["first"]}, {"seeds": 1}, {"backbones": [{"name": "a"}]}]
)
def test_a_wrong_layout_is_an_error(results: Path, change: dict[str, Any]) -> None:
    with pytest.raises(SlqError, match="layout of the tables"):
        tables(MINI | change, results)


def test_a_quoted_source_is_the_line_of_the_reference(results: Path) -> None:
    found = cell(tables(MINI, results)["table1"], "E5-V-7B", "mini-f t2i R@10")
    path, line = found.source.rsplit(":", 1)
    named = Path(path).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert named.startswith("MLLM-based,E5-V-7B,flickr30k,t2i,R@10,97.6,bold")
