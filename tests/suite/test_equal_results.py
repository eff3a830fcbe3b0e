"""Tests of tests/equal_results.py: a copy of a run is equal, and every change in it is found and named."""

import ast
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from safetensors.numpy import save_file

from equal_results import main

SCRIPT = Path(__file__).parents[1].joinpath("equal_results.py")
RUN = "mini/one/slq/seed1"
RANKS = f"results/{RUN}/retrieval/set.ranks.parquet"
ANSWERS = f"results/{RUN}/retention/set.answers.jsonl"
ADAPTER = f"scratch/runs/{RUN}/adapter.safetensors"
CELLS, FIGURES = "paper_tables/mini/cells.csv", "paper_tables/mini/figures/figures.csv"
FILES = (RANKS, ANSWERS, ADAPTER, CELLS, FIGURES)
CELL_ROWS = [
    ["table", "row", "column", "value", "sd", "low", "high", "n", "state", "source"],
    ["table1", "one/slq", "set t2i R@5", "70.5", "", "", "", "1", "measured", "a file"],
    ["table1", "rows/clip", "set t2i R@5", "", "", "", "", "", "missing", "no file"],
    ["intervals", "one/set t2i R@5", "slq", "70.5", "", "68.25", "72.0", "1", "measured", "a file"],
    ["comparisons", "one/set t2i R@5", "lora verdict", "not told apart", "", "", "", "", "measured", "a file"],
    ["table3", "one/slq", "hours", "0.25", "", "", "", "1", "measured", "a file"],
    ["gpu_hours", "one/slq", "ours_total", "0.5", "", "", "", "1", "measured", "a file"],
    ["gpu_hours", "one/slq", "pflop", "0.001", "", "", "", "1", "measured", "a file"],
]
POINTS = [
    ["figure", "panel", "series", "x", "y", "source"],
    ["recall", "set", "one/slq/seed1", "0.25", "70.5", "a file"],
    ["retention", "set", "one/slq/seed1", "one", "-1.5", "a file"],
    ["training", "loss", "one/slq/seed1", "1", "2.5", "a file"],
    ["training", "loss", "one/slq/seed1", "2", "1.5", "a file"],
]


def write_table(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


@pytest.fixture
def pair(tmp_path):
    """The folders with the outputs of a small run and with a copy of them."""
    a = tmp_path / "a"
    for name in FILES:
        (a / name).parent.mkdir(parents=True, exist_ok=True)
    ranks = {"variant": "all", "direction": "t2i", "query": ["0#0", "1#0"], "image": ["0", "1"]}
    pd.DataFrame(ranks | {"rank": np.array([1, 2], dtype=np.int32)}).to_parquet(a / RANKS, index=False)
    lines = [{"id": f"q{n}", "answer": "A", "tokens": 2} for n in range(3)]
    (a / ANSWERS).write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    save_file({"queries": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(2)}, a / ADAPTER)
    write_table(a / CELLS, CELL_ROWS)
    write_table(a / FIGURES, POINTS)
    return a, shutil.copytree(a, tmp_path / "b")


def compared(capsys, *call):
    """Compare two folders; return the exit status and the output."""
    status = main([str(one) for one in call])
    said = capsys.readouterr()
    return status, said.out + said.err


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit_ranks(path):
    table = pd.read_parquet(path)
    table.loc[1, "rank"] = np.int32(1)
    table.to_parquet(path, index=False)


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[-9] ^= 1  # after the header; the last 24 bytes are the queries
    path.write_bytes(bytes(data))


CHANGES = {
    "a rank": (RANKS, edit_ranks, f"ranks: {RANKS}: 1 of 2 rows differ; row 1 (all t2i 1#0): rank 2 in A, 1 in B"),
    "an answer": (
        ANSWERS,
        lambda path: change(path, '"A", "id": "q1"', '"B", "id": "q1"'),
        f"answers: {ANSWERS}: 1 of 3 lines differ; line 2 (id 'q1', answer: 'A' in A, 'B' in B)",
    ),
    "a tensor's bit": (ADAPTER, flip_bit, f"adapters: {ADAPTER}: queries: other bytes"),
    "a tensor's type": (
        ADAPTER,
        lambda path: save_file({"queries": np.zeros((2, 3)), "bias": np.zeros(2)}, path),
        f"adapters: {ADAPTER}: queries: F32 2x3 in A, F64 2x3 in B",
    ),
    "a tensor less": (
        ADAPTER,
        lambda path: save_file({"queries": np.arange(6, dtype=np.float32).reshape(2, 3)}, path),
        f"adapters: {ADAPTER}: bias: not in B",
    ),
    "a cell's number": (
        CELLS,
        lambda path: change(path, "70.5", "70.50000000000001"),
        f"cells: {CELLS}: table1 | one/slq | set t2i R@5 | value: 70.5 in A, 70.50000000000001 in B",
    ),
    "an end of an interval": (
        CELLS,
        lambda path: change(path, "68.25", "68.0"),
        f"cells: {CELLS}: intervals | one/set t2i R@5 | slq | low: 68.25 in A, 68.0 in B",
    ),
    "FLOPs": (
        CELLS,
        lambda path: change(path, "0.001", "0.002"),
        f"cells: {CELLS}: gpu_hours | one/slq | pflop | value: 0.001 in A, 0.002 in B",
    ),
    "a number where none was": (
        CELLS,
        lambda path: change(path, "rows/clip,set t2i R@5,,", "rows/clip,set t2i R@5,1.0,"),
        f"cells: {CELLS}: table1 | rows/clip | set t2i R@5 | value: not in A",
    ),
    "a point": (
        FIGURES,
        lambda path: change(path, "2,1.5", "2,1.25"),
        f"figures: {FIGURES}: training | loss | one/slq/seed1 | y (2): 1.5 in A, 1.25 in B",
    ),
}


def test_a_copy_is_equal_and_what_was_compared_is_counted(pair, capsys):
    status, said = compared(capsys, *pair)
    assert status == 0 and f"equal: {pair[0]} and {pair[1]}" in said
    counts = dict.fromkeys(("rank tables", "answers files"), 1)
    # Five cells, without hours, have 2 + 4 + 2 numbers. The points have seven numbers without the hours and the word.
    counts |= {"tensors": 2, "numbers of cells": 8, "numbers of points": 6}
    for what, count in counts.items():
        assert f"{what}: {count} in both, 0 different or in one alone" in said


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_found_and_named(pair, what, capsys):
    file, spoil, line = CHANGES[what]
    spoil(pair[1] / file)
    status, said = compared(capsys, *pair)
    assert status == 1 and line in said.splitlines()
    assert said.count("1 different or in one alone") == 1 and said.count("0 different or in one alone") == 4


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_one_side_alone_is_a_difference(pair, file, capsys):
    """A second file is added on both sides, so that the kind still has something to compare."""
    for folder in pair:
        other = folder / file.replace("mini", "more")
        other.parent.mkdir(parents=True)
        shutil.copy(folder / file, other)
    (pair[1] / file).unlink()
    status, said = compared(capsys, *pair)
    assert status == 1 and f"{file}" in said and "not in B" in said
    status, said = compared(capsys, *reversed(pair))
    assert status == 1 and f"{file}" in said and "not in A" in said


def test_hours_may_differ_and_nothing_else_of_their_row(pair, capsys):
    for old, new in (("hours,0.25", "hours,99"), ("ours_total,0.5", "ours_total,99")):
        change(pair[1] / CELLS, old, new)
    change(pair[1] / FIGURES, "0.25,70.5", "99,70.5")
    assert compared(capsys, *pair)[0] == 0


def test_of_a_rank_table_in_another_container_that_is_said(pair, capsys):
    pd.read_parquet(pair[0] / RANKS).to_parquet(pair[1] / RANKS, index=False, compression="gzip")
    status, said = compared(capsys, *pair)
    assert status == 1 and "only the container differs: the same columns, types and values" in said
    table = pyarrow.parquet.read_table(pair[0] / RANKS)
    pyarrow.parquet.write_table(table.append_column("more", table["rank"]), pair[1] / RANKS)
    status, said = compared(capsys, *pair)
    assert status == 1 and "more (int32) in B" in said
    (pair[1] / RANKS).write_bytes(b"PAR1")
    assert "other bytes, and one cannot be read" in compared(capsys, *pair)[1]


MAP = """
exact:
  table: {table1: retrieval, table3: strategies}
  column: {hours: device hours}
prefix:
  row: {rows/: baselines/}
  file:
    results/mini/: results/mini/runs/
    results/mini/one/: results/mini/runs/first/
    scratch/runs/: scratch/adapters/
find: {adapters: scratch/adapters/**/*.safetensors}
"""


def test_a_map_translates_names(pair, tmp_path, capsys):
    a, b = pair
    names = tmp_path / "names.yaml"
    names.write_text(MAP)
    for file in (RANKS, ANSWERS):
        moved = b / file.replace("results/mini/one/", "results/mini/runs/first/")
        moved.parent.mkdir(parents=True)
        (b / file).rename(moved)
    (b / "scratch/runs").rename(b / "scratch/adapters")
    change(b / CELLS, "table1,one", "retrieval,one")
    change(b / CELLS, "table3,one/slq,hours,0.25", "strategies,one/slq,device hours,99")
    status, said = compared(capsys, a, b)
    assert status == 1 and f"adapters: {ADAPTER}: queries: not in B" in said
    status, said = compared(capsys, a, b, "--map", names)
    assert status == 0 and "tensors: 2 in both" in said
    assert "map: prefix row 'rows/' translates nothing" in said, "that row has no number"
    change(b / CELLS, "70.5", "71.5")
    status, said = compared(capsys, a, b, "--map", names)
    place = f"{CELLS}: table1 | one/slq | set t2i R@5 | value (in B {CELLS}: retrieval | one/slq | set t2i R@5 | value)"
    assert status == 1 and f"{place}: 70.5 in A, 71.5 in B" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rows: {a: b}", "rows: expected exact, prefix, find"),
        ("exact: {rows: {a: b}}", "exact.rows: expected one of file"),
        ("prefix: {row: [a]}", "prefix.row: expected one of"),
        ("- a", "expected exact, prefix, find"),
        ("exact: {column: {sd: low", "cannot be read"),
        (
            "exact: {table: {intervals: table1}, row: {one/set t2i R@5: one/slq}, column: {slq: set t2i R@5}}",
            "one in B",
        ),
    ],
)
def test_a_wrong_map_is_one_message(pair, tmp_path, content, message, capsys):
    names = tmp_path / "names.yaml"
    names.write_text(content)
    status, said = compared(capsys, *pair, "--map", names)
    assert (status, said.count("\n")) == (2, 1) and message in said


def test_nothing_to_compare_is_no_equality(pair, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert compared(capsys, empty, empty)[0] == 2
    assert compared(capsys, pair[0], tmp_path / "nowhere")[0] == 2
    for folder in pair:
        shutil.rmtree(folder / "scratch")
    status, said = compared(capsys, *pair)
    assert status == 2 and "`--without adapters` leaves them out" in said
    assert compared(capsys, *pair, "--without", "adapters")[0] == 0
    kinds = ("ranks", "answers", "adapters", "cells", "figures")
    assert compared(capsys, *pair, *(word for kind in kinds for word in ("--without", kind)))[0] == 2


def test_it_is_a_command_that_needs_nothing_of_the_package(pair):
    trees = ast.walk(ast.parse(SCRIPT.read_text()))
    modules = [node.module for node in trees if isinstance(node, ast.ImportFrom)]
    assert not any(name.split(".")[0] in ("slq", "stored", "checkout") for name in modules)
    assert "import slq" not in SCRIPT.read_text()
    answer = subprocess.run([sys.executable, SCRIPT, *pair], capture_output=True, text=True)
    assert answer.returncode == 0 and answer.stdout.splitlines()[-1] == f"equal: {pair[0]} and {pair[1]}"
