"""Retention datasets in the hub's columns: the item that each row becomes."""

import io
import json

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from checkout import planned, snakemake
from hubrows import BLUE, GREEN, ROWS, mmmu, ocrbench, prepared, realworldqa, refused
from slq.common.errors import SlqError
from slq.config.loading import SCHEMA_FILE
from slq.datasets.hub_columns import HUB_LAYOUTS, prepare_questions
from slq.datasets.questions import format_choice_question, format_open_question, parse_options, question_segments
from slq.datasets.splits import read_split
from slq.synthetic.datasets import write_hub_files

LETTER = "Answer with the option's letter from the given choices directly."
PHRASE = "Answer the question using a single word or phrase."


# ---- rows to items ---------------------------------------------------------------------------------------------------


def test_mmmu_is_read_by_subject_and_asked_in_its_own_words(tmp_path):
    rows = [
        mmmu(2, subject="Biology", id="validation_Biology_2", question_type="open", options="[]", answer="['24', 'x']"),
        mmmu(
            1,
            options="['<image 3>', \"it's <image 2>\"]",
            question="Like <image 2>?",
            image_2=BLUE,
            image_3=GREEN,
            explanation="<image 1> shows why.",
        ),
        mmmu(3, question_type="open", options="[]", answer="[0, 1)", question="No picture?", image_1=None),
    ]
    items, root = prepared(tmp_path, "mmmu", rows)
    assert items == [
        {
            "id": "validation_Art_1",
            "images": ["images/validation_Art_1_1.jpeg", "images/validation_Art_1_2.webp"],
            "question": f"Like <image 1>?\nA. <image 2>\nB. it's <image 1>\n\n{LETTER}",
            "options": ["<image 2>", "it's <image 1>"],
            "answers": ["B"],
            "type": "Art",
        },
        {
            "id": "validation_Art_3",
            "images": [],
            "question": f"No picture?\n\n{PHRASE}",
            "options": [],
            "answers": ["[0, 1)"],
            "type": "Art",
        },
        {
            "id": "validation_Biology_2",
            "images": ["images/validation_Biology_2_1.png"],
            "question": f"What is in <image 1>?\n\n{PHRASE}",
            "options": [],
            "answers": ["24", "x"],
            "type": "Biology",
        },
    ]
    assert (root / items[0]["images"][0]).read_bytes() == BLUE
    assert (root / items[0]["images"][1]).read_bytes() == GREEN
    assert sorted(path.name for path in (root / "images").iterdir()) == sorted(
        path.removeprefix("images/") for item in items for path in item["images"]
    )


def test_an_option_none_is_a_word(tmp_path):
    items, _ = prepared(tmp_path, "mmmu", [mmmu(1)])
    assert items[0]["options"] == ["a cat", "None"]
    assert "\nB. None\n" in items[0]["question"]


def test_realworldqa_is_asked_word_for_word(tmp_path):
    questions = {
        "Which side?\n\nA. left\nB. right \nPlease answer with the letter.": ("A", ["left", "right"]),
        "How many? Please answer with a number.": ("3", []),
        "Gap?\nA. one\nC. three": ("A", []),
        "Not from A?\nB. two\nC. three": ("B", []),
        "A word?\nA. one\nB. two": ("one", []),
    }
    rows = [realworldqa(question, answer) for question, (answer, _) in questions.items()]
    items, _ = prepared(tmp_path, "realworldqa", rows)
    for number, (item, (question, (answer, options))) in enumerate(zip(items, questions.items(), strict=True)):
        assert item == {
            "id": f"realworldqa_{number:04d}",
            "images": [f"images/realworldqa_{number:04d}_1.png"],
            "question": question,
            "options": options,
            "answers": [answer],
            "type": "multiple-choice" if options else "open",
        }


def test_ocrbench_keeps_every_accepted_answer_and_its_type(tmp_path):
    items, root = prepared(tmp_path, "ocrbench", [ocrbench(), ocrbench(["a"])])
    assert items[0] == {
        "id": "ocrbench_0000",
        "images": ["images/ocrbench_0000_1.jpeg"],
        "question": "what is written ?",
        "options": [],
        "answers": ["STOP", "stop"],
        "type": "Regular Text Recognition",
    }
    assert items[1]["id"] == "ocrbench_0001" and items[1]["answers"] == ["a"]
    assert (root / "images/ocrbench_0000_1.jpeg").read_bytes() == BLUE


def test_shards_are_read_in_order_and_rows_numbered_through(tmp_path):
    for shard, answer in enumerate("xyz"):
        write_hub_files("ocrbench", [ocrbench([answer])] * 2, tmp_path / "one")
        written = tmp_path / "one" / "data" / "test-00000-of-00001.parquet"
        (tmp_path / "hub" / "data").mkdir(parents=True, exist_ok=True)
        written.rename(tmp_path / "hub" / "data" / f"test-0000{shard}-of-00003.parquet")
    prepare_questions("ocrbench", tmp_path / "hub", tmp_path / "out" / "qa" / "test", "qa", "test")
    items = read_split(tmp_path / "out", "qa", "test").items
    assert [item["answers"][0] for item in items] == [*"xxyyzz"]
    assert [item["id"] for item in items] == [f"ocrbench_{number:04d}" for number in range(6)]


# ---- writing files in the hub's columns ------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", HUB_LAYOUTS)
def test_written_files_have_the_hubs_columns_and_the_same_bytes_each_time(tmp_path, columns):
    files = []
    for name in ("a", "b"):
        write_hub_files(columns, [ROWS[columns]], tmp_path / name)
        (file,) = (tmp_path / name).rglob("*.parquet")
        files.append(file.read_bytes())
        assert pq.read_schema(file).equals(HUB_LAYOUTS[columns].schema)
        assert file.relative_to(tmp_path / name).match(HUB_LAYOUTS[columns].file_pattern)
    assert files[0] == files[1]


def test_a_picture_is_written_as_png_and_an_absent_one_as_null(tmp_path):
    write_hub_files("mmmu", [mmmu(1, image_1=Image.new("RGB", (4, 4), "red"))], tmp_path)
    (row,) = pq.read_table(tmp_path / "Art" / "validation-00000-of-00001.parquet").to_pylist()
    with Image.open(io.BytesIO(row["image_1"]["bytes"])) as image:
        assert (image.format, image.getpixel((0, 0))) == ("PNG", (255, 0, 0))
    assert row["image_2"] is None and row["image_7"] is None


def test_other_rows_of_an_earlier_writing_go(tmp_path):
    write_hub_files("mmmu", [mmmu(1), mmmu(2, subject="Music")], tmp_path)
    write_hub_files("mmmu", [mmmu(1)], tmp_path)
    assert [file.parent.name for file in tmp_path.rglob("*.parquet")] == ["Art"]


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_what_is_asked():
    assert format_choice_question("Which?", ["x", "y"]) == f"Which?\nA. x\nB. y\n\n{LETTER}"
    assert format_open_question("What?") == f"What?\n\n{PHRASE}"
    assert parse_options(format_choice_question("Which?", ["x", "y"])) == ["x", "y"]
    assert parse_options(format_open_question("What?")) == []


@pytest.mark.parametrize(
    ("question", "count", "parts"),
    [
        ("which ?", 0, ["which ?"]),
        ("which ?", 2, [0, 1, "which ?"]),
        ("is <image 1> like <image 2> ?\nA. yes", 2, ["is ", 0, " like ", 1, " ?\nA. yes"]),
        ("is <image 2> on it ?", 2, [0, "is ", 1, " on it ?"]),
        ("in<image 1>?", 1, ["in", 0, "?"]),
        ("<image 2><image 1>", 2, [1, 0]),
        ("<image 2>  <image 1>", 2, [1, "  ", 0]),
        ("<image 1>\n<image 1> ", 1, [0, "\n", 0, " "]),
        (" A. <image 1>\nB. <image 2>", 2, [" A. ", 0, "\nB. ", 1]),
    ],
)
def test_images_stand_where_their_markers_do_and_all_text_stays(question, count, parts):
    assert question_segments({"id": "1", "question": question, "images": ["x.png"] * count}) == parts


@pytest.mark.parametrize("number", [0, 3])
def test_a_marker_needs_its_image(number):
    with pytest.raises(SlqError, match=rf"item '7': .*<image {number}>, but 'images' lists only 2"):
        question_segments({"id": "7", "question": f"what is <image {number}> ?", "images": ["a.png", "b.png"]})


def test_markers_of_a_supplied_set_in_the_prepared_form_are_checked_too(tmp_path, capsys):
    (tmp_path / "hub" / "test").mkdir(parents=True)
    item = {"id": "7", "images": [], "question": "<image 1>?", "options": [], "answers": ["x"], "type": "open"}
    (tmp_path / "hub" / "test" / "items.jsonl").write_text(json.dumps(item) + "\n")
    refused(tmp_path, capsys, "", ["{hub}/test: item '7'", "<image 1>"])


# ---- configuration and workflow --------------------------------------------------------------------------------------


def test_the_schema_knows_the_layouts():
    known = yaml.safe_load(SCHEMA_FILE.read_text())["$defs"]["dataset"]["properties"]["hub_layout"]["enum"]
    assert known == list(HUB_LAYOUTS)


def test_other_columns_are_another_split(checkout):
    write_hub_files("ocrbench", [ocrbench(["left"])], checkout / "mine")
    entry = {
        "label": "mine",
        "scored_as": "ocrbench",
        "kind": "retention",
        "local_dir": "mine",
        "hub_layout": "ocrbench",
    }
    target = ("--cores", "1", "--configfile", "mine.yaml", "--", "scratch/data/qa/test/manifest.json")
    (checkout / "mine.yaml").write_text(yaml.safe_dump({"datasets": {"qa": entry}}))
    answer = snakemake(checkout, *target)
    assert answer.returncode == 0, answer.stdout
    assert read_split(checkout / "scratch" / "data", "qa", "test").items[0]["answers"] == ["left"]
    assert planned(checkout, *target) == {}
    (checkout / "mine.yaml").write_text(yaml.safe_dump({"datasets": {"qa": entry | {"hub_layout": "realworldqa"}}}))
    assert planned(checkout, *target) == {"import_local_split": 1}
