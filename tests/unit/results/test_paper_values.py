"""The reference CSVs compared with the poster's own text, read by a second, independent parser."""

import csv
import re
from collections import Counter
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "paper_tables" / "reference"
POSTER = (ROOT / "tests" / "data" / "poster_tables.txt").read_text(encoding="utf-8").splitlines()
MARKS = {"b": "bold", "u": "underline"}
BACKBONES = {"Qwen3VL-2B": "Qwen3-VL-2B", "Qwen3VL-4B": "Qwen3-VL-4B"}
METHODS = {"Full FT": "full_ft", "LoRA": "lora", "SLQ": "slq"}
TABLE3 = ["parameters", "gpu_hours", "flickr30k_t2i_R@5", "flickr30k_i2t_R@5", "coco_t2i_R@5", "coco_i2t_R@5"]
TABLE3 += ["mmmu", "realworldqa", "ocrbench"]
Cells = dict[tuple[str, ...], tuple[str, str]]


def cell(text: str) -> tuple[str, str]:
    """(printed, mark) of a cell of the poster."""
    marked = re.fullmatch(r"<([bu])>(.*)</\1>", text)
    return (marked[2], MARKS[marked[1]]) if marked else (text, "")


def poster_lines(title: str) -> list[list[str]]:
    """The tab-separated lines below a title and its blank line, up to the blank line or the end after the table."""
    start = next(number for number, line in enumerate(POSTER) if line.startswith(title)) + 2
    return [line.split("\t") for line in takewhile(bool, POSTER[start:])]


def poster_table1() -> Cells:
    found: Cells = {}
    group = ""
    for line in poster_lines("Table 1.")[3:]:
        if line[0].startswith("<i>"):
            group = line[0].removeprefix("<i>").removesuffix("</i>")
            continue
        model = re.sub(r" \(.*, \d{4}\w?\)$", "", line[0])
        columns = [(s, d, k) for s in ("flickr30k", "coco") for d in ("i2t", "t2i") for k in ("R@1", "R@5", "R@10")]
        for column, text in zip(columns, line[1:], strict=True):
            found[(group, model, *column)] = cell(text)
    return found


def poster_table3() -> Cells:
    found: Cells = {}
    backbone, width = "", ""
    for line in poster_lines("Table 3.")[2:]:
        backbone, width = line[0] or backbone, line[1] or width
        for column, text in zip(TABLE3, line[3:], strict=True):
            found[(BACKBONES.get(backbone, backbone), width, METHODS[line[2]], column)] = cell(text)
    return found


def stored(name: str) -> list[dict[str, str]]:
    with open(REFERENCE / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_table1_is_the_posters_cell_for_cell() -> None:
    ours = {
        tuple(row[key] for key in ("group", "model", "dataset", "direction", "metric")): (
            row["value"] or "-",
            row["mark"],
        )
        for row in stored("table1")
    }
    assert ours == poster_table1()


def test_table3_is_the_posters_cell_for_cell() -> None:
    ours = {
        tuple(row[key] for key in ("backbone", "dim", "method", "column")): (row["printed"], row["mark"])
        for row in stored("table3")
    }
    assert ours == poster_table3()


def test_the_rows_keep_the_posters_order() -> None:
    assert list(dict.fromkeys(row["model"] for row in stored("table1"))) == list(
        dict.fromkeys(key[1] for key in poster_table1())
    )
    assert list(dict.fromkeys(row["backbone"] for row in stored("table3"))) == list(
        dict.fromkeys(key[0] for key in poster_table3())
    )


def test_no_cell_is_missing_or_doubled() -> None:
    table1, table3 = stored("table1"), stored("table3")
    assert len(table1) == len(poster_table1()) == 11 * 12
    assert len(table3) == len(poster_table3()) == 12 * 9
    assert sum(row["value"] == "" for row in table1) == 6
    assert Counter(row["mark"] for row in table1) == {"": 132 - 14 - 12, "bold": 14, "underline": 12}
    assert Counter(row["mark"] for row in table3) == {"": 108 - 36, "bold": 36}


@pytest.mark.parametrize("row", stored("table3"), ids=lambda row: f"{row['backbone']}-{row['method']}-{row['column']}")
def test_the_value_is_the_printed_number(row: dict[str, str]) -> None:
    written_out = row["printed"].replace("B", "e9").replace("M", "e6").replace("k", "e3")
    assert float(row["value"]) == pytest.approx(float(written_out), rel=1e-12)


def test_every_row_names_its_source() -> None:
    for name, title in (("table1", "Table 1"), ("table3", "Table 3")):
        assert {row["source"] for row in stored(name)} == {f"ICML 2026 poster, {title}"}
