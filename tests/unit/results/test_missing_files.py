"""A missing file of a finished run: exactly its cells are missing, and each names the file."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slq.common.files import write_json, write_jsonl, write_text
from slq.reporting.table_model import Table
from slq.results.cells import TableCell
from slq.results.ledger import LedgerRow, format_ledger_csv
from stored import CPU, MINI, Runs, entries, tables, write_answers, write_ranks

IMAGES, QUESTIONS = 12, 10
METHODS = {"base": 0, "lora": 90, "slq": 9}  # trained parameters; full fine-tuning leaves the same files as LoRA
ASKED = ("base", "lora")  # SLQ inherits base's answers
LAYOUT: dict[str, Any] = MINI | {
    "backbones": entries(("a", "A", "InternVL3-1B")),
    "methods": list(METHODS),
    "retrieval_datasets": entries(("c", "C", "coco"), ("f", "F", "flickr30k")),
    "knowledge_datasets": entries(("k", "K", "karr")),
    "retention_datasets": entries(("r", "R", "realworldqa"), ("o", "O", "ocrbench")),
    "baselines": [
        {"name": "clip", "group": "", "label": "CLIP", "paper_row": "CLIP ViT-B", "encoder": "clip"},
        {"name": "a.zero", "group": "Zero-shot", "label": "A, one zero query", "backbone": "a", "readout": "zero"},
    ],
}
ROWS = [row["name"] for row in LAYOUT["baselines"]]
PRINTED = {"r": ("realworldqa", "vlmevalkit-exact-2"), "o": ("ocrbench", "ocrbench-vlmevalkit-1")}
RESULTS = "results/mini"
AUDIT = f"{RESULTS}/audit.json"


def run(method: str) -> str:
    return f"{RESULTS}/a/{method}/seed{0 if method == 'base' else 1}"


# Files that provide cells.
SHOWN = [
    f"{RESULTS}/gpu_hours.csv",
    *(f"{run(method)}/run.json" for method in METHODS),
    *(f"{run(method)}/lr_sweep.json" for method in METHODS if method != "base"),
    *(
        f"{run(method)}/retrieval/{name}{end}"
        for method in METHODS
        for name in "cf"
        for end in (".json", ".ranks.parquet")
        if (method, name, end) != ("base", "f", ".ranks.parquet")
    ),
    *(
        f"{run(method)}/retention/{name}{end}"
        for method in ASKED
        for name in PRINTED
        for end in (".json", ".answers.jsonl")
    ),
    *(f"{run('slq')}/retention/{name}.json" for name in PRINTED),
    *(f"{run('base')}/blind/{name}.json" for name in PRINTED),
    *(f"{RESULTS}/baselines/{row}/retrieval/{name}.json" for row in ROWS for name in "cf"),
]
# Files that provide no cell, and what needs them.
UNSHOWN = {
    AUDIT: "the rows `clean` and `leaked` of Table E, and notes on what training has seen",
    f"{RESULTS}/reference_check.json": "no training begins without it",
    f"{RESULTS}/claims.json": "the page",
    f"{RESULTS}/compare/paper.json": "the page",
    f"{RESULTS}/compare/paper.txt": "is what `snakemake compare` prints",
    f"{RESULTS}/a/pilot.json": "a figure of its own, `snakemake pilot`",
    f"{RESULTS}/a/slq/feature_cache.jsonl": "gpu_hours.csv is counted from it",
    **{
        f"{run(method)}/events/train.jsonl": "gpu_hours.csv; the figure of training"
        for method in METHODS
        if method != "base"
    },
    **{f"{run(method)}/events/retrieval.jsonl": "gpu_hours.csv is counted from it" for method in METHODS},
    **{f"{run(method)}/events/retention.jsonl": "gpu_hours.csv is counted from it" for method in ASKED},
    f"{run('slq')}/events/equivalence.jsonl": "gpu_hours.csv is counted from it",
    f"{run('base')}/events/blind.jsonl": "gpu_hours.csv is counted from it",
    **{f"{run(method)}/retrieval/{name}.top.jsonl": "the figure of queries" for method in METHODS for name in "cfk"},
    **{f"{run(method)}/retrieval/k.json": "the figure by scale" for method in METHODS},
    f"{run('base')}/retrieval/f.ranks.parquet": "the check of f.json; Table E, were an image of it leaked",
    **{f"{run(method)}/retrieval/k.ranks.parquet": "the check of k.json" for method in METHODS},
    **{f"{run(method)}/retention/{name}.disagreements.jsonl": "`slq score`" for method in ASKED for name in PRINTED},
    **{f"{run('base')}/blind/{name}.answers.jsonl": "the check of the metrics file" for name in PRINTED},
    **{f"{run('base')}/blind/{name}.disagreements.jsonl": "`slq score`" for name in PRINTED},
    **{f"{RESULTS}/baselines/{row}/baseline.json": "the page's circumstances" for row in ROWS},
    **{f"{RESULTS}/baselines/{row}/events/retrieval.jsonl": "gpu_hours.csv is counted from it" for row in ROWS},
    **{f"{RESULTS}/baselines/{row}/retrieval/{name}.ranks.parquet": "comparisons" for row in ROWS for name in "cf"},
}


def write_retention(path: Path, name: str, right: int) -> None:
    """Write answers of which the first `right` are right."""
    asked: dict[str, Any] = {
        "question": "?",
        "prompt": "?",
        "options": [],
        "answers": ["red"],
        "tokens": 2,
        "ended": True,
    }
    items = [
        asked | {"id": f"q{n}", "type": ("open", "odd")[n % 2], "answer": "red" if n < right else "blue"}
        for n in range(QUESTIONS)
    ]
    write_answers(path, *PRINTED[name], items)


def write_run(root: Path, method: str, place: int) -> None:
    """Write all files that a run leaves."""
    runs, folder = Runs(root / "results", "mini"), root / run(method)
    runs.run("a", method, METHODS[method], CPU if method != "base" else None)
    for name in "cfk":
        best = [1 + (image * (place + 2)) % 11 for image in range(IMAGES)]
        write_ranks(folder / "retrieval" / f"{name}.json", list(np.repeat(best, 5)), best)
        write_jsonl(folder / "retrieval" / f"{name}.top.jsonl", [])
    for name in PRINTED if method in ASKED else ():
        write_retention(folder / "retention" / f"{name}.json", name, 4 + place)
    for stage in ("retrieval", "retention" if method in ASKED else "equivalence"):
        write_jsonl(folder / "events" / f"{stage}.jsonl", [])
    if method != "base":
        runs.events("a", method, [1.0, 0.5], [10.0, 20.0])
        trial = {"learning_rate": 0.1, "val": {"t2i": {"R@1": 1.0}}}
        search = {"trials": [trial], "learning_rate": 0.1, "edge": "lower", "hours": 1.0}
        write_json(folder / "lr_sweep.json", {"schema": 3} | search)


def write_ledger(path: Path) -> None:
    """Write a ledger with a line of training for each run, and a line for each row."""
    spent: dict[str, Any] = {one.name: None for one in fields(LedgerRow)} | {"device": "a", "devices": 1, "attempts": 1}
    spent |= {
        "train_hours": 1,
        "repeated_hours": 0,
        "total_hours": 2,
        "reused": "",
        "slurm_jobs": "",
        "source": "events",
    }
    flops = {"pflop": 1.0, "pflop_grad_cache": 2.0, "pflop_released": 3.0, "mfu": 0.25}
    trained = [("a", method, 1, "train") for method in METHODS if method != "base"]
    lines = [dict(zip(("backbone", "method", "seed", "stage"), one, strict=True)) | flops for one in trained]
    lines += [{"backbone": one, "method": "row", "seed": 0, "stage": "baselines"} for one in ("", "a")]
    write_text(path, format_ledger_csv([LedgerRow(**(spent | line)) for line in lines]))


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Project with everything that a preset leaves in results/."""
    root = tmp_path_factory.mktemp("finished")
    for place, method in enumerate(METHODS):
        write_run(root, method, place)
    for name in PRINTED:
        Runs(root / "results", "mini").inherited("a", "slq", name)
        write_retention(root / run("base") / "blind" / f"{name}.json", name, 1)
    for row in ROWS:
        folder = root / RESULTS / "baselines" / row
        for name in "cf":
            write_ranks(folder / "retrieval" / f"{name}.json", [2] * (5 * IMAGES), [3] * IMAGES)
        write_json(folder / "baseline.json", {"schema": 2, "preset": "mini", "baseline": row, "device": None})
        write_jsonl(folder / "events" / "retrieval.jsonl", [])
    write_jsonl(root / run("base") / "events" / "blind.jsonl", [])
    write_jsonl(root / RESULTS / "a/slq/feature_cache.jsonl", [])
    splits = {f"{name}/test": {"leaked": ["3"] if name == "c" else []} for name in "cfkro"}
    write_json(root / RESULTS / "audit.json", {"schema": 4, "splits": splits})
    for name in ("reference_check.json", "claims.json", "compare/paper.json", "a/pilot.json"):
        write_json(root / RESULTS / name, {"schema": 2})
    write_text(root / RESULTS / "compare/paper.txt", "")
    write_ledger(root / RESULTS / "gpu_hours.csv")
    return root


Cells = dict[tuple[str, str, str], TableCell]


def collected(root: Path) -> Cells:
    """Every cell by table, row and column."""
    found: Cells = {}
    for table in tables(LAYOUT, root / "results").values():
        found |= {(table.name, *place): cell for place, cell in cells_of(table).items()}
    return found


def cells_of(table: Table) -> dict[tuple[str, str], TableCell]:
    found = {}
    for group in table.groups:
        found |= {(group.key, column.key): cell for column, cell in zip(table.shared, group.shared, strict=True)}
        for row in group.rows:
            found |= {(row.key, column.key): cell for column, cell in zip(table.columns, row.cells, strict=True)}
    return found


@pytest.fixture(scope="module")
def whole(finished_run: Path) -> Cells:
    """Cells of the run with all of its files."""
    return collected(finished_run)


def changed(before: Cells, after: Cells) -> set[tuple[str, str, str]]:
    """Cells whose number or state differs."""
    same = {key for key in before if key in after and shown(before[key]) == shown(after[key])}
    return {*before, *after} - same


def shown(cell: TableCell) -> tuple[Any, ...]:
    return (cell.state, cell.value, cell.sd, cell.low, cell.high)


def test_every_file_of_a_run_is_asked_about(finished_run: Path) -> None:
    there = {
        path.relative_to(finished_run).as_posix() for path in (finished_run / RESULTS).rglob("*") if path.is_file()
    }
    assert there == {*SHOWN, *UNSHOWN} and not {*SHOWN} & {*UNSHOWN}


@pytest.mark.parametrize("file", SHOWN)
def test_exactly_the_cells_of_a_file_that_is_gone_are_missing_and_name_it(
    whole: Cells, finished_run: Path, tmp_path: Path, file: str
) -> None:
    (finished_run / file).rename(tmp_path / "gone")
    try:
        without = collected(finished_run)
    finally:
        (tmp_path / "gone").rename(finished_run / file)
    assert whole.keys() == without.keys(), "no cell disappears"
    gone = changed(whole, without)
    before = {key for key, cell in whole.items() if cell.value is not None}
    named = {key for key in before if f"{file} does not exist" in without[key].reason}
    assert gone == named and gone, "cells that changed, and cells that name the file"
    assert {without[key].state for key in gone} == {"missing"}


def test_files_that_no_cell_is_made_of_change_none(whole: Cells, finished_run: Path, tmp_path: Path) -> None:
    root = shutil.copytree(finished_run, tmp_path / "lab")
    for file in {*UNSHOWN} - {AUDIT}:
        (root / file).unlink()
    assert not changed(whole, collected(root))
    (root / AUDIT).unlink()
    rows = {(table, row) for table, row, _ in changed(whole, collected(root))}
    assert rows == {("counts", "a/c/clean"), ("counts", "a/c/leaked")}


def test_an_inherited_cell_says_whose_number_it_is(whole: Cells) -> None:
    base = f"{run('base')}/retention/r.json"
    assert whole["table3", "a/slq", "r"].reason == f"inherited from {base}"
    assert whole["table3", "a/base", "parameters"].reason == f"nothing is trained: {run('base')}/run.json"
    assert {cell.reason for cell in whole.values() if cell.state in ("measured", "quoted")} == {""}
    assert all(cell.reason for cell in whole.values() if cell.state in ("missing", "inherited"))


def test_a_mean_over_fewer_seeds_says_which_is_left_out_and_why(finished_run: Path, tmp_path: Path) -> None:
    root = shutil.copytree(finished_run, tmp_path / "lab")
    first, second = root / run("lora"), root / run("lora").replace("seed1", "seed2")
    shutil.copytree(first, second)
    write_ranks(second / "retrieval/c.json", [1] * (5 * IMAGES), [1] * IMAGES)
    layout = LAYOUT | {"seeds": [1, 2], "methods": ["lora"]}
    (second / "run.json").unlink()
    found = cells_of(tables(layout, root / "results")["table3"])["a/lora", "c t2i R@5"]
    assert (found.n, found.reason) == (2, "")
    (second / "retrieval/c.json").unlink()
    found = cells_of(tables(layout, root / "results")["table3"])["a/lora", "c t2i R@5"]
    gone = f"{run('lora').replace('seed1', 'seed2')}/retrieval/c.json does not exist"
    assert (found.state, found.n, found.reason) == ("measured", 1, gone)
