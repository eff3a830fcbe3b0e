"""Table 1 with every row: the order of rows, measured, quoted and missing cells, and the footnotes."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparing import cells, compared
from slq.baselines.registry import find_kind
from slq.cli import main
from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.reporting.pdf import compile_pdf
from slq.reporting.table_model import Table
from slq.reporting.tables import render
from stored import CPU, MINI, PAPER, REFERENCE, TEMPLATES, Runs, cell, entries, recalls, rows, tables, write_ranks

IMAGES = 20
TRAIN = 64 * "a"


def system(name: str, kind: str, label: str, **more: Any) -> dict[str, Any]:
    """A row as `slq.config.job_settings.layout` lists it."""
    return {"name": name, "group": find_kind(kind).table_group, "label": label, **more}


LAYOUT: dict[str, Any] = MINI | {
    "backbones": entries(("a", "A", "InternVL3-1B")),
    "methods": ["base", "lora", "slq"],
    "retrieval_datasets": entries(("mini-f", "mini-F", "flickr30k"), ("mini-c", "mini-C", "coco")),
    "retention_datasets": [],
    "baselines": [
        system("clip", "comparator", "CLIP-mini", paper_row="CLIP ViT-B", encoder="clip", trained_on="pairs of ours"),
        system("vlm", "comparator", "VLM-mini", paper_row="VLM2VEC-7B", backbone="a", trained_on="nothing more"),
        system("odd", "comparator", "Odd", paper_row="Nobody", encoder="odd"),
        system("a.zero", "zero_shot", "A, one zero query", backbone="a", readout="zero"),
        system(
            "a.slq.by.base", "rerank", "SLQ, re-ranked by Base (A)", backbone="a", first_stage="slq", reranker="base"
        ),
        system(
            "a.clip.by.lora",
            "rerank",
            "CLIP-mini, re-ranked by LoRA (A)",
            backbone="a",
            first_stage="clip",
            reranker="lora",
            trained_on="pairs of ours",
        ),
    ],
}
# Rank at which a row finds everything; VLM-mini has no results.
RANKS = {"clip": 6, "odd": 20, "a.zero": 3, "a.slq.by.base": 1, "a.clip.by.lora": 2}


def write_row(results: Path, name: str, rank: int) -> None:
    """Write a row that finds everything of half of the images at this rank, and of the others at 12."""
    folder = results / "mini" / "baselines" / name
    for set_ in ("mini-f", "mini-c"):
        best = [rank if image % 2 else 12 for image in range(IMAGES)]
        write_ranks(folder / "retrieval" / f"{set_}.json", list(np.repeat(best, 5)), best)
    about = {"schema": 2, "preset": "mini", "baseline": name, "settings": {"batch_size": 8}, "device": None}
    write_json(folder / "baseline.json", about | {"provenance": {"git": None, "python": "3.11.7", "versions": {}}})


def write_audit(results: Path, leaked: list[str]) -> None:
    splits: dict[str, Any] = {"mini-c/train": {"sha256": TRAIN}}
    splits |= {"mini-f/test": {"leaked": []}, "mini-c/test": {"leaked": leaked}}
    write_json(results / "mini" / "audit.json", {"schema": 4, "splits": splits})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Project's results with runs of base, LoRA and SLQ, and every row but VLM-mini."""
    root = tmp_path_factory.mktemp("kept")
    shutil.copytree(REFERENCE, root / "paper_tables" / "reference")
    runs = Runs(root / "results", "mini")
    for method, rank, trained in (("base", 20, 0), ("lora", 4, 99), ("slq", 2, 9)):
        runs.run("a", method, trained, CPU if trained else None, inputs={"train": TRAIN})
        for name in ("mini-f", "mini-c"):
            path = runs.folder("a", method) / "retrieval" / f"{name}.json"
            write_ranks(path, [rank] * (5 * IMAGES), [rank] * IMAGES)
    for name, rank in RANKS.items():
        write_row(root / "results", name, rank)
    write_audit(root / "results", [])
    return root / "results"


@pytest.fixture
def results(kept: Path, tmp_path: Path) -> Path:
    """Copy that a test may change, with the reference beside it."""
    shutil.copytree(kept.parent, tmp_path / "lab")
    return tmp_path / "lab" / "results"


@pytest.fixture(scope="module")
def table(kept: Path) -> Table:
    return tables(LAYOUT, kept)["table1_extended"]


# ---- rows and cells --------------------------------------------------------------------------------------------------


def test_every_row_of_the_paper_stands_with_ours_below_it(table: Table) -> None:
    assert [(group.label, [row.label for row in group.rows]) for group in table.groups] == [
        ("Dual-Encoder", ["CLIP ViT-B", "CLIP-mini, here", "CLIP ViT-L", "BLIP ViT-L", "FLAME"]),
        ("MLLM-based", ["E5-V-7B", "TiGeR", "VLM2VEC-7B", "VLM-mini, here"]),
        ("Other comparators", ["Odd"]),
        ("Zero-shot", ["A, last token", "A, one zero query"]),
        ("Trained", ["Full FT (A)", "LoRA (A)", "SLQ (A)"]),
        ("Re-ranked", ["RetLLM", "SLQ, re-ranked by Base (A)", "CLIP-mini, re-ranked by LoRA (A)"]),
    ]


def test_without_rows_no_group_is_empty(kept: Path) -> None:
    found = tables(LAYOUT | {"baselines": []}, kept)["table1_extended"]
    assert [group.label for group in found.groups] == [
        "Dual-Encoder",
        "MLLM-based",
        "Zero-shot",
        "Trained",
        "Re-ranked",
    ]
    assert [row.label for row in found.groups[-1].rows] == ["RetLLM"]


def test_a_measured_cell_has_its_value_and_the_interval_of_its_file(kept: Path, table: Table) -> None:
    stored = read_json(kept / "mini/baselines/clip/retrieval/mini-f.json")
    for way in ("i2t", "t2i"):
        found = cell(table, "baselines/clip", f"mini-f {way} R@10")
        assert (found.state, found.value, found.text, found.n) == ("measured", 50.0, "50.0", 1)
        assert [found.low, found.high] == stored["ci95"][way]["R@10"] and found.low < 50 < found.high
        assert found.interval == "{:.1f}, {:.1f}".format(*stored["ci95"][way]["R@10"])
        assert found.source == "results/mini/baselines/clip/retrieval/mini-f.json"
    assert cell(table, "a/slq", "mini-f i2t R@1").source == "results/mini/a/slq/seed1/retrieval/mini-f.json"


def test_quoted_cells_are_the_papers_and_retllms(table: Table) -> None:
    for row, column, text in (
        ("CLIP ViT-B", "mini-f i2t R@1", "77.8"),
        ("VLM2VEC-7B", "mini-c t2i R@10", "83.3"),
        ("RetLLM", "mini-f t2i R@1", "82.0"),
        ("RetLLM", "mini-c i2t R@1", "70.4"),
    ):
        found = cell(table, row, column)
        assert (found.state, found.text, found.mark, found.comparable) == ("quoted", text, "", False)
    missing = {one.text or one.state for one in rows(table)["RetLLM"].cells}
    assert missing == {"missing", "94.5", "82.0", "70.4", "54.1"}, "RetLLM prints R@1 alone"


def test_what_was_not_run_is_missing_and_its_footnote_says_what(table: Table) -> None:
    assert {one.state for one in rows(table)["baselines/vlm"].cells} == {"missing"}
    files = "; ".join(
        f"results/mini/baselines/vlm/retrieval/{name}.json does not exist" for name in ("mini-f", "mini-c")
    )
    assert table.footnotes["baselines/vlm"].startswith(f"Not run: {files}. ")
    assert table.footnotes["a/full_ft"].startswith("Not run: full_ft is not among the methods of preset mini. ")


def test_marks_are_given_over_all_groups_among_measured_cells(table: Table) -> None:
    column = {row.key: cell(table, row.key, "mini-f t2i R@1") for group in table.groups for row in group.rows}
    assert {key for key, one in column.items() if one.mark == "best"} == {"baselines/a.slq.by.base"}
    assert column["CLIP ViT-B"].mark == "" and any("so they are not ranked" in note for note in table.notes)


def test_on_the_papers_own_sets_quoted_numbers_rank_beside_ours(tmp_path: Path) -> None:
    own = [system("CLIP-ViT-B-32", "comparator", "CLIP ViT-B/32", paper_row="CLIP ViT-B", trained_on="the web")]
    Runs(tmp_path, "paper").retrieval("InternVL3-1B", "slq", "coco", recalls(97.0), images=5000)
    found = tables(PAPER | {"baselines": own}, tmp_path)["table1_extended"]
    assert cell(found, "InternVL3-1B/slq", "coco i2t R@1").mark == "best"
    assert cell(found, "RetLLM", "coco i2t R@1").mark == "second"
    assert cell(found, "RetLLM", "flickr30k t2i R@1").mark == "best"


# ---- footnotes -------------------------------------------------------------------------------------------------------


def test_each_row_has_a_footnote_of_its_own(table: Table) -> None:
    keys = [row.key for group in table.groups for row in group.rows]
    assert list(table.footnotes) == keys and list(table.numbers.values()) == list(range(1, len(keys) + 1))
    for key, note in table.footnotes.items():
        assert note.startswith(("Measured: ", "Quoted from ", "Not run")), key
        assert "Test images seen: " in note, key
        assert "Trained on: " in note or "Nothing is trained. " in note, key


def test_footnotes_say_what_is_known_of_training_and_test_images(table: Table) -> None:
    notes, seen = table.footnotes, "Test images seen: none (results/mini/audit.json)."
    assert notes["a/slq"] == f"Measured: results/mini/a/slq/seed1. Trained on: mini-c/train. {seen}"
    untrained = "Nothing is trained. Test images seen: not stated for the backbone."
    assert notes["a/base"] == f"Measured: results/mini/a/base/seed0. {untrained}"
    assert notes["baselines/a.zero"] == f"Measured: results/mini/baselines/a.zero. {untrained}"
    clip = "Trained on: pairs of ours. Test images seen: not stated beyond that."
    assert notes["baselines/clip"] == f"Measured: results/mini/baselines/clip. {clip}"
    assert "Trained on: not stated. " in notes["baselines/odd"]
    measured = "Measured: results/mini/baselines/a.slq.by.base. Candidates: results/mini/a/slq/seed1."
    assert notes["baselines/a.slq.by.base"] == f"{measured} Trained on: mini-c/train. {seen}"
    both = f"Candidates: results/mini/baselines/clip. {clip} Trained on: mini-c/train. {seen}"
    assert notes["baselines/a.clip.by.lora"].endswith(both), "the one who re-ranks has learned too"


def test_a_list_of_a_comparator_that_has_no_row_is_named(kept: Path) -> None:
    own = [system("a.far.by.base", "rerank", "Far, re-ranked", backbone="a", first_stage="far", reranker="base")]
    note = tables(LAYOUT | {"baselines": own}, kept)["table1_extended"].footnotes["baselines/a.far.by.base"]
    assert "Candidates: far. Trained on: not stated. " in note
    own[0]["trained_on"] = "the web"
    note = tables(LAYOUT | {"baselines": own}, kept)["table1_extended"].footnotes["baselines/a.far.by.base"]
    assert "Candidates: far. Trained on: the web. " in note


def test_a_baseline_of_a_new_group_has_rows_of_its_own(kept: Path) -> None:
    own = [{"name": "odd", "group": "Orders", "label": "By name", "trained_on": "nothing at all"}]
    found = tables(LAYOUT | {"baselines": own}, kept)["table1_extended"]
    assert [group.label for group in found.groups][-1] == "Orders"
    assert [row.label for row in found.groups[-1].rows] == ["By name"]
    assert "Trained on: nothing at all. " in found.footnotes["baselines/odd"]


def test_systems_that_are_quoted_alone_say_why(table: Table) -> None:
    notes = table.footnotes
    assert "Not measured: no public weights that transformers loads" in notes["FLAME"]
    assert "Not measured: " in notes["TiGeR"] and "index" in notes["TiGeR"]
    assert "retllm.csv" in notes["RetLLM"] and "third parties' notes" in notes["RetLLM"]
    assert "not in its bfloat16, which ordered 38 of 80 mini queries otherwise" in notes["RetLLM"]
    assert notes["BLIP ViT-L"].endswith("Trained on: not stated. Test images seen: not stated.")


def test_test_images_that_training_saw_are_counted(results: Path) -> None:
    write_audit(results, ["0", "1"])
    note = tables(LAYOUT, results)["table1_extended"].footnotes["a/lora"]
    assert note.endswith("Trained on: mini-c/train. Test images seen: 2 of mini-C (results/mini/audit.json).")


@pytest.mark.parametrize("change", ["no audit", "another dataset"])
def test_without_an_audit_of_its_set_nothing_is_said_to_be_unseen(results: Path, change: str) -> None:
    if change == "no audit":
        (results / "mini/audit.json").unlink()
    else:
        run = results / "mini/a/slq/seed1/run.json"
        write_json(run, read_json(run) | {"inputs": {"train": 64 * "b"}})
    note = tables(LAYOUT, results)["table1_extended"].footnotes["a/slq"]
    assert "none" not in note and note.endswith("Test images seen: not known.")
    assert ("mini/audit.json does not exist" in note) == (change == "no audit")


def test_several_seeds_are_averaged_and_all_are_named(results: Path) -> None:
    shutil.copytree(results / "mini/a/slq/seed1", results / "mini/a/slq/seed2")
    run = results / "mini/a/slq/seed2/run.json"
    write_json(run, read_json(run) | {"seed": 2})
    found = tables(LAYOUT | {"seeds": [1, 2]}, results)["table1_extended"]
    files = [f"results/mini/a/slq/seed{seed}/retrieval/mini-f.json" for seed in (1, 2)]
    assert cell(found, "a/slq", "mini-f i2t R@5").source == "; ".join(files)
    assert found.footnotes["a/slq"].startswith("Measured: results/mini/a/slq/seed1, results/mini/a/slq/seed2.")
    assert found.caption.endswith("seeds 1, 2; mean, with its 95 % interval.")


# ---- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "baseline.json",
            {"baseline": "other"},
            r"baselines/clip/baseline\.json: key baseline is 'other'; expected 'clip' in this folder",
        ),
        ("baseline.json", {"schema": 7}, r"baselines/clip/baseline\.json: key schema is 7; expected 2"),
        ("retrieval/mini-f.json", {"ci95": {}}, r"baselines/clip/retrieval/mini-f\.json: key ci95\.i2t is missing"),
        ("retrieval/mini-f.json", {"n": {"images": 3}}, r"n\.images differs between .*mini-f\.json"),
    ],
)
def test_a_broken_row_is_an_error_that_names_file_and_key(
    results: Path, file: str, change: dict[str, Any], message: str
) -> None:
    path = results / "mini/baselines/clip" / file
    write_json(path, read_json(path) | change)
    path.with_name("mini-f.ranks.parquet").unlink(missing_ok=True)  # otherwise it would be stale
    with pytest.raises(SlqError, match=message):
        tables(LAYOUT, results)


def test_a_row_of_another_form_is_an_error(kept: Path) -> None:
    with pytest.raises(SlqError, match="layout of the tables"):
        tables(LAYOUT | {"baselines": [{"name": "clip", "colour": "red"}]}, kept)


# ---- appearance ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rendered(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = kept.parent / "paper_tables" / "mini"
    render(LAYOUT, kept, kept.parent / "paper_tables" / "reference", TEMPLATES, out)
    return out


def test_latex_puts_intervals_below_and_numbers_the_footnotes(rendered: Path) -> None:
    text = (rendered / "table1_extended.tex").read_text(encoding="utf-8")
    lines = text.splitlines()
    (at,) = (place for place, line in enumerate(lines) if line.startswith("CLIP-mini, here\\textsuperscript{2}"))
    assert lines[at].count("50.0") >= 2 and "[" not in lines[at].partition("\\\\*")[0]
    assert lines[at + 1].count("{\\tiny[") == 12
    assert r"RetLLM\textsuperscript" in text and r"\textcolor[gray]{0.45}{\textit{82.0}}" in text
    assert r"VLM-mini, here\textsuperscript{9} & --" in text
    assert r"\par\textsuperscript{2}\,Measured: results/mini/baselines/clip. " in text


def test_html_links_numbers_to_files_and_labels_to_footnotes(rendered: Path) -> None:
    page = (rendered / "table1_extended.html").read_text(encoding="utf-8")
    assert '<a href="../../results/mini/baselines/clip/retrieval/mini-f.json"><span' in page
    assert 'CLIP-mini, here<sup><a href="#table1_extended-2">2</a></sup>' in page
    assert '<li id="table1_extended-2">Measured: results/mini/baselines/clip.' in page
    assert '<a href="../reference/retllm.csv"><span>82.0</span>' in page


def test_latex_compiles_with_rows_and_without_results(latex: None, rendered: Path, tmp_path: Path) -> None:
    compile_pdf(rendered / "tables.tex", tmp_path / "rows.pdf")
    own = [system(f"r{n}", "comparator", f"System {n}", paper_row="FLAME", trained_on="50% & more") for n in range(40)]
    render(PAPER | {"baselines": own}, tmp_path / "results", REFERENCE, TEMPLATES, tmp_path / "out")
    compile_pdf(tmp_path / "out" / "tables.tex", tmp_path / "many.pdf")
    assert (tmp_path / "rows.pdf").read_bytes().startswith(b"%PDF")


def test_every_cell_is_in_cells_csv(rendered: Path) -> None:
    with open(rendered / "cells.csv", encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["table"] == "table1_extended"]
    assert len(found) == len({(row["row"], row["column"]) for row in found}) == 18 * 12
    assert {row["state"] for row in found} == {"measured", "quoted", "missing"}


# ---- comparison of results -------------------------------------------------------------------------------------------


def test_rows_against_themselves_agree_and_scores_are_as_stored(results: Path, tmp_path: Path, capsys: Any) -> None:
    folder = results / "mini"
    other = shutil.copytree(folder, tmp_path / "copy" / "mini")
    found = compared(tmp_path / "out.json", folder, other)
    assert found["counts"]["agrees"] == len(found["cells"]) and found["a"]["what"].endswith(", 5 baselines")
    ours = [one for one in found["cells"] if one["backbone"] == "baselines"]
    assert len(ours) == len(RANKS) * 2 * 6 and {one["method"] for one in ours} == set(RANKS)
    assert all(Path(file).exists() for one in ours for file in one["files"])
    assert main(["score", str(folder)]) == 0
    assert "baselines/clip/retrieval/mini-f.json" in capsys.readouterr().out


def test_a_planted_difference_in_a_row_is_named(results: Path, tmp_path: Path, capsys: Any) -> None:
    other = shutil.copytree(results, tmp_path / "copy")
    write_ranks(other / "mini/baselines/clip/retrieval/mini-c.json", [1] * (5 * IMAGES), [12] * IMAGES)
    found = compared(tmp_path / "out.json", results / "mini", other / "mini")
    differs = cells(found, "differs")
    assert "baselines/clip mini-c t2i R@1" in differs and {one.split()[0] for one in differs} == {"baselines/clip"}
    assert "baselines/clip" in capsys.readouterr().out


def test_a_row_that_its_own_ranks_do_not_give_is_found(results: Path, tmp_path: Path) -> None:
    other = shutil.copytree(results, tmp_path / "copy")
    path = other / "mini/baselines/odd/retrieval/mini-f.json"
    content = read_json(path)
    content["metrics"]["i2t"]["R@10"] += 5
    write_json(path, content)
    found = compared(tmp_path / "out.json", results / "mini", other / "mini")
    assert len(cells(found, "stale")) == 6 and "baselines/odd mini-f i2t R@10" in cells(found, "stale")


def test_missing_rows_settings_and_bundles(results: Path, tmp_path: Path) -> None:
    other = shutil.copytree(results, tmp_path / "copy")
    shutil.rmtree(other / "mini/baselines/odd")
    row = other / "mini/baselines/clip/baseline.json"
    write_json(row, read_json(row) | {"settings": {"batch_size": 16}})
    assert main(["bundle", str(other / "mini"), str(tmp_path / "mini.tar.gz")]) == 0
    found = compared(tmp_path / "out.json", results / "mini", tmp_path / "mini.tar.gz")
    extra = {(one["method"], one["reason"]) for one in found["cells"] if one["verdict"] == "extra"}
    assert extra == {("odd", "B has no such baseline")}
    assert {"what": "config", "key": "batch_size (baselines/clip)", "a": "8", "b": "16"} in found["differences"]


def test_rows_that_re_rank_runs_of_other_seeds_are_not_told_apart(results: Path, tmp_path: Path) -> None:
    """How another seed changes a list is unknown for a row, so no difference is called real."""
    other = shutil.copytree(results, tmp_path / "copy")
    (other / "mini/a/slq/seed1").rename(other / "mini/a/slq/seed2")
    for folder, seed, rank in ((results, 1, 12), (other, 2, 1)):
        adapter = f"of seed {seed}"
        run = folder / f"mini/a/slq/seed{seed}/retrieval/mini-c.json"
        write_json(run, read_json(run) | {"inputs": read_json(run)["inputs"] | {"adapter": adapter}})
        row = folder / "mini/baselines/a.slq.by.base/retrieval/mini-c.json"
        write_ranks(row, [rank] * (5 * IMAGES), [rank] * IMAGES)
        write_json(
            row, read_json(row) | {"inputs": read_json(row)["inputs"] | {"first_stage": adapter, "reranker": "base"}}
        )
    found = compared(tmp_path / "out.json", results / "mini", other / "mini")
    noise = [one for one in cells(found, "inside noise") if one.startswith("baselines/")]
    assert cells(found, "differs") == [] and "baselines/a.slq.by.base mini-c t2i R@1" in noise
