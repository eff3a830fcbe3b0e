"""Retention datasets in the hub's columns: the messages for a faulty row or file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hubrows import BLUE, GREEN, RED, ROWS, adopt, mmmu, ocrbench, prepared, realworldqa, refused
from slq.datasets.hub_columns import HUB_LAYOUTS
from slq.synthetic.datasets import write_hub_files

ART = "Art/validation-00000-of-00001.parquet"
TEST = "data/test-00000-of-00001.parquet"
FAULTS = {
    "options that do not parse": (
        "mmmu",
        [mmmu(1), mmmu(2, options="['a cat', 'a dog'")],
        [ART, "'validation_Art_2'", "'options' must be a Python list of 1 to 26 options, written as text", "MMMU/MMMU"],
    ),
    "options that are no list": ("mmmu", [mmmu(1, options="'a cat'")], [ART, "_Art_1'", "list of 1 to 26 options"]),
    "no options": ("mmmu", [mmmu(1, options="[]")], [ART, "_Art_1'", "list of 1 to 26 options"]),
    "an answer outside the options": (
        "mmmu",
        [mmmu(1, answer="C")],
        [ART, "_Art_1'", "'answer' must be the letter of an option, one of A, B, found 'C'"],
    ),
    "two letters as an answer": ("mmmu", [mmmu(1, answer="AB")], [ART, "one of A, B, found 'AB'"]),
    "a marker of a null image": (
        "mmmu",
        [mmmu(1, question="<image 1> or <image 2>?")],
        [
            ART,
            "_Art_1'",
            "'image_2' must be an image, with its bytes, because the marker <image 2> refers to it, found None",
        ],
    ),
    "a marker of no column": (
        "mmmu",
        [mmmu(1, options="['a', '<image 8>']")],
        [ART, "_Art_1'", "'image_8' must be an image", "marker <image 8>"],
    ),
    "an image without marker": (
        "mmmu",
        [mmmu(1, explanation="As <image 2> shows.", image_2=BLUE, image_3=GREEN)],
        [ART, "_Art_1'", "'image_3' must be referenced by a marker in question, options or explanation, or null"],
    ),
    "an unknown type": ("mmmu", [mmmu(1, question_type="essay")], [ART, "'question_type'", "multiple-choice or open"]),
    "an id twice": (
        "mmmu",
        [mmmu(1), mmmu(1)],
        [ART, "item 'validation_Art_1': 'id' must be unique, but it also occurs in"],
    ),
    "an id twice in two subjects": (
        "mmmu",
        [mmmu(1), mmmu(1, subject="Music")],
        ["Music/validation", "'validation_Art_1'", f"also occurs in {{hub}}/{ART}"],
    ),
    "an id that is a path": ("mmmu", [mmmu(1, id="../1")], [ART, "'../1'", "'id' must be letters, digits"]),
    "no id": ("mmmu", [mmmu(1, id=None)], [ART, "'id' must be a non-empty text, found None"]),
    "an empty list of answers in a text": (
        "mmmu",
        [mmmu(1, question_type="open", answer="[]")],
        [ART, "_Art_1'", "'answer' must be a list of one or more non-empty answers"],
    ),
    "an empty question": (
        "realworldqa",
        [realworldqa(" ")],
        [TEST, "'realworldqa_0000'", "'question' must be a non-empty text"],
    ),
    "an empty answer": (
        "realworldqa",
        [realworldqa(answer="")],
        [TEST, "'answer' must be a non-empty text, found ''"],
    ),
    "no image": (
        "realworldqa",
        [realworldqa(image=None)],
        [TEST, "_0000'", "'image' must be an image, with its bytes"],
    ),
    "another's marker": (
        "realworldqa",
        [realworldqa("<image 2>?")],
        [TEST, "_0000'", "'question'", "image markers other than"],
    ),
    "a truncated image": (
        "realworldqa",
        [realworldqa(), realworldqa(image=RED[:40])],
        [TEST, "'realworldqa_0001'", "'image' must be a readable image", "xai-org/RealworldQA"],
    ),
    "bytes that are no image": ("ocrbench", [ocrbench(image=b"<html>")], [TEST, "'image' must be a readable image"]),
    "no answers": ("ocrbench", [ocrbench([])], [TEST, "'ocrbench_0000'", "'answer' must be a list of one or more"]),
    "an answer without words": ("ocrbench", [ocrbench(["a", " "])], [TEST, "'answer' must be a list of one or more"]),
    "no rows": ("ocrbench", None, [TEST, "contains no rows", "echo840/OCRBench"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_row_stops_with_one_message(tmp_path, capsys, fault):
    columns, rows, words = FAULTS[fault]
    if rows is None:
        (tmp_path / "hub" / "data").mkdir(parents=True)
        pq.write_table(HUB_LAYOUTS[columns].schema.empty_table(), tmp_path / "hub" / TEST)
    else:
        write_hub_files(columns, rows, tmp_path / "hub")
    refused(tmp_path, capsys, columns, words)


@pytest.mark.parametrize("columns", HUB_LAYOUTS)
def test_without_files_it_says_where_it_looked_and_what_belongs_there(tmp_path, capsys, columns):
    refused(
        tmp_path,
        capsys,
        columns,
        ["{hub}: contains no ", HUB_LAYOUTS[columns].file_pattern, HUB_LAYOUTS[columns].repository],
    )


@pytest.mark.parametrize("columns", HUB_LAYOUTS)
def test_every_needed_column_is_missed_by_name(tmp_path, capsys, columns):
    for column in HUB_LAYOUTS[columns].required_columns:
        write_hub_files(columns, [ROWS[columns]], tmp_path / "hub")
        (file,) = (tmp_path / "hub").rglob("*.parquet")
        pq.write_table(pq.ParquetFile(file).read().drop_columns([column]), file)
        refused(tmp_path, capsys, columns, [str(file), f"has no column '{column}'", HUB_LAYOUTS[columns].repository])


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"", "half"])
def test_a_file_that_is_no_parquet(tmp_path, capsys, content):
    write_hub_files("ocrbench", [ocrbench()], tmp_path / "hub")
    file = tmp_path / "hub" / TEST
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content == "half" else content)
    refused(tmp_path, capsys, "ocrbench", [str(file), "not a readable parquet file", "git-lfs pointer"])


def test_a_column_of_another_type(tmp_path, capsys):
    (tmp_path / "hub" / "data").mkdir(parents=True)
    table = pa.table({name: ["text"] for name in HUB_LAYOUTS["ocrbench"].schema.names})
    pq.write_table(table, tmp_path / "hub" / TEST)
    refused(
        tmp_path, capsys, "ocrbench", [TEST, "'answer' must be a list of one or more non-empty texts", "found 'text'"]
    )


def test_a_fault_leaves_an_earlier_split_as_it_was(tmp_path, capsys):
    _, root = prepared(tmp_path, "realworldqa", [realworldqa(), realworldqa(image=GREEN)])
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    write_hub_files("realworldqa", [realworldqa(image=BLUE), realworldqa(image=b"<html>")], tmp_path / "hub")
    assert adopt("realworldqa", tmp_path / "hub", root) == 1
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_images_of_an_earlier_split_go(tmp_path):
    prepared(tmp_path, "realworldqa", [realworldqa(), realworldqa()])
    items, root = prepared(tmp_path, "realworldqa", [realworldqa(image=BLUE)])
    assert [f"images/{path.name}" for path in (root / "images").iterdir()] == items[0]["images"]
