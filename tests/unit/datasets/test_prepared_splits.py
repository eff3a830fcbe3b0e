"""Prepared datasets, snapshots and the audit: what is checked, and the message of each fault."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from asjob import run_job
from slq.common.errors import SlqError
from slq.datasets.splits import read_split, write_split
from slq.evaluation.rank_table import RetrievalIds, RetrievalVariant, build_variant_table


def item(name, captions=("a red circle",)):
    return {"id": name, "image": f"images/{name}.png", "captions": list(captions)}


def write_source(folder, split, items, kind="retrieval"):
    """Write a local split as a user would lay it out, and return its folder."""
    (folder / split / "images").mkdir(parents=True)
    for number, entry in enumerate(items):
        Image.new("RGB", (8, 8), (255, number, 0)).save(folder / split / "images" / f"{entry['id']}.png")
    text = "".join(json.dumps(entry) + "\n" for entry in items)
    (folder / split / "items.jsonl").write_text(text)
    return folder


def adopt(source, data, name="coco", split="train", kind="retrieval", **more):
    values = {"name": name, "split_name": split, "kind": kind, "hub_layout": "", "same_image": ""} | more
    return run_job("import_local_split", values=values, source=source, out=data / name / split)


def test_adopt_then_read_gives_the_same_items(tmp_path):
    items = [item("1"), item("2", ["a cat", "two cats"])]
    assert adopt(write_source(tmp_path / "mine", "train", items), tmp_path / "data") == 0
    split = read_split(tmp_path / "data", "coco", "train")
    assert split.items == items
    assert split.open("images/1.png").getpixel((0, 0)) == (255, 0, 0)


def test_a_caption_may_hold_what_else_separates_lines(tmp_path):
    """U+2028 and U+0085 occur in captions from the web, and our files do not escape them."""
    items = [item("1", ["a\u2028cat", "two\x85cats", "a\u2029ring"])]
    assert adopt(write_source(tmp_path / "mine", "train", items), tmp_path / "data") == 0
    assert read_split(tmp_path / "data", "coco", "train").items == items


def test_lines_as_windows_writes_them_are_lines(tmp_path):
    """The file has a byte-order mark, and a carriage return before each line feed."""
    items = [item("1"), item("2", ["a cat", "two cats"])]
    source = write_source(tmp_path / "mine", "train", items)
    text = "".join(json.dumps(entry) + "\r\n" for entry in items)
    (source / "train/items.jsonl").write_bytes(text.encode("utf-8-sig"))
    assert adopt(source, tmp_path / "data") == 0
    assert read_split(tmp_path / "data", "coco", "train").items == items


def one_caption_a_line(folder):
    """Local split of three pictures in six lines, each with its own name and file: a, b, a again, c, b, a."""
    source = write_source(folder, "test", [item(str(line), [f"caption {line}"]) for line in range(6)])
    for line, first in ((2, 0), (4, 1), (5, 0)):
        shutil.copy(source / "test" / "images" / f"{first}.png", source / "test" / "images" / f"{line}.png")
    return source


def test_lines_that_show_one_picture_are_one_image_where_config_says_so(tmp_path):
    source = one_caption_a_line(tmp_path / "mine")
    assert adopt(source, tmp_path / "data", split="test", same_image="bytes") == 0
    found = {entry["id"]: entry["captions"] for entry in read_split(tmp_path / "data", "coco", "test").items}
    assert found == {
        "0": ["caption 0", "caption 2", "caption 5"],
        "1": ["caption 1", "caption 4"],
        "3": ["caption 3"],
    }
    assert adopt(source, tmp_path / "data", split="test", same_image="row") == 0
    assert len(read_split(tmp_path / "data", "coco", "test").items) == 6


def test_what_one_picture_in_two_lines_means_must_be_said(tmp_path, capsys):
    assert adopt(one_caption_a_line(tmp_path / "mine"), tmp_path / "data", split="test") == 1
    message = capsys.readouterr().err
    assert "items '0' and '2' have identical image files" in message and "datasets.coco.same_image: bytes" in message
    assert not (tmp_path / "data" / "coco" / "test" / "manifest.json").exists()


def test_one_caption_a_line_is_ranked_with_every_caption_of_the_picture(tmp_path):
    """Any caption of a picture is a hit, its copies are not mistakes, and the gallery contains it once."""
    adopt(one_caption_a_line(tmp_path / "mine"), tmp_path / "data", split="test", same_image="bytes")
    split = read_split(tmp_path / "data", "coco", "test")
    text_image = np.repeat(np.arange(3), [len(entry["captions"]) for entry in split.items])
    names = RetrievalIds([entry["id"] for entry in split.items], split.caption_ids, text_image)
    # Captions 0, 2 and 5 of picture 0; 1 and 4 of picture 1; 3 of picture 3.
    texts = np.array([[3, 1, 0], [2, 3, 1], [1, 0, 0], [2, 0, 1], [3, 1, 2], [0, 1, 3]], dtype=np.float32)
    table = build_variant_table(names, np.eye(3, dtype=np.float32), texts, text_image, RetrievalVariant("all"))
    found = {way: dict(zip(rows["query"], rows["rank"], strict=True)) for way, rows in table.groupby("direction")}
    assert found["t2i"] == {"0#0": 1, "0#1": 2, "0#2": 1, "1#0": 3, "1#1": 3, "3#0": 1}
    assert found["i2t"] == {"0": 1, "1": 2, "3": 1}


def test_identity_changes_with_captions_and_with_pixels(tmp_path):
    source = write_source(tmp_path / "mine", "train", [item("1")])
    identities = []
    for step in range(3):
        if step == 1:
            Image.new("RGB", (8, 8), "blue").save(source / "train" / "images" / "1.png")
        if step == 2:
            (source / "train" / "items.jsonl").write_text(json.dumps(item("1", ["another"])) + "\n")
        adopt(source, tmp_path / "data")
        identities.append(read_split(tmp_path / "data", "coco", "train").sha256)
    assert len(set(identities)) == 3


def broken_image(source):
    picture = source / "train" / "images" / "2.png"
    picture.write_bytes(picture.read_bytes()[:40])


def missing_image(source):
    (source / "train" / "images" / "2.png").unlink()


def rewrite(*items):
    return lambda source: (source / "train" / "items.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items))


FAULTS = {
    "truncated image": (broken_image, ["images/2.png", "not a readable image"]),
    "missing image": (missing_image, ["images/2.png", "not a readable image"]),
    "empty caption": (rewrite(item("1"), item("2", ["a cat", " "])), ["'2'", "empty caption"]),
    "no caption": (rewrite(item("1"), item("2", [])), ["'2'", "empty caption"]),
    "duplicate id": (rewrite(item("1"), item("2"), item("2")), ["'2'", "more than once"]),
    "wrong type": (rewrite({"id": 1, "image": "images/1.png", "captions": ["x"]}), ["items.jsonl:1", "'id'", "str"]),
    "not JSON": (lambda source: (source / "train" / "items.jsonl").write_text("id,image\n"), ["items.jsonl:1", "JSON"]),
    "a list": (lambda source: (source / "train" / "items.jsonl").write_text("[1]\n"), ["items.jsonl:1", "object"]),
    "UTF-16": (
        lambda source: (source / "train" / "items.jsonl").write_text("{}\n", encoding="utf-16"),
        ["items.jsonl:1: cannot be read", "save it as UTF-8"],
    ),
    "Latin-1": (
        lambda source: (source / "train/items.jsonl").write_bytes(
            json.dumps(item("1")).encode() + b"\n" + '{"id": "2", "captions": ["café"]}\n'.encode("latin-1")
        ),
        ["items.jsonl:2: cannot be read: 'utf-8' codec can't decode byte 0xe9", "save it as UTF-8"],
    ),
    "a list in a list in a list": (
        lambda source: (source / "train/items.jsonl").write_text("[" * 99_999 + "\n"),
        ["items.jsonl:1: not valid JSON (maximum recursion depth exceeded"],
    ),
    "a key that stands twice": (
        lambda source: (source / "train/items.jsonl").write_text('{"id": "1", "captions": ["a"], "captions": ["b"]}\n'),
        ["items.jsonl:1", "the key 'captions' occurs twice"],
    ),
    "no image": (
        lambda source: (source / "train/images/2.png").write_text("a page"),
        ["images/2.png: not a readable image (not in a format that PIL reads)"],
    ),
    "half a character": (rewrite(item("1", ["a \ud83d cat"])), ["items.jsonl:1", "half a character"]),
    "an image of no name": (rewrite({**item("1"), "image": "\0.png"}), ["\0.png", "not a readable image"]),
    "an image of half a character": (rewrite({**item("1"), "image": "\ud83d.png"}), ["items.jsonl:1", "half a char"]),
    "a number as caption": (
        rewrite(item("1", [5])),
        ["items.jsonl:1", "'captions' must be a list of texts"],
    ),
    "no items": (rewrite(), ["items.jsonl", "no items"]),
    "no file": (lambda source: shutil.rmtree(source / "train"), ["items.jsonl", "not found"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_set_stops_with_one_message(tmp_path, capsys, fault):
    source = write_source(tmp_path / "mine", "train", [item("1"), item("2")])
    breaks, words = FAULTS[fault]
    breaks(source)
    assert adopt(source, tmp_path / "data") == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and message.startswith("slq: error: ")
    for word in words:
        assert word in message
    assert not (tmp_path / "data" / "coco" / "train" / "manifest.json").exists()


def prepare(data, **splits):
    for split, names in splits.items():
        folder = data / "coco" / split
        (folder / "images").mkdir(parents=True)
        for name in names:
            Image.new("RGB", (8, 8), (255, int(name), 0)).save(folder / "images" / f"{name}.png")
        write_split(folder, "coco", split, "retrieval", [item(name, [f"caption {name}"]) for name in names])


QUESTION = {"id": "1", "images": ["images/1.png"], "question": "what?", "options": [], "answers": ["a"], "type": "x"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": [5]}, "items.jsonl:1: 'images' must be a list of texts, found [5]"),
        ({"options": ["a", None]}, "items.jsonl:1: 'options' must be a list of texts, found ['a', None]"),
        ({"answers": [4]}, "items.jsonl:1: 'answers' must be a list of texts, found [4]"),
        ({"answers": []}, "item '1' has no answer"),
        ({"options": list("abcdefghijklmnopqrstuvwxyzå")}, "item '1' has more than 26 options, one per letter"),
    ],
)
def test_a_faulty_question_stops_with_one_message(tmp_path, capsys, change, words):
    """A number as an answer would match no reply, and a question without an answer would never be a hit."""
    source = write_source(tmp_path / "mine", "test", [QUESTION])
    assert adopt(source, tmp_path / "data", "mine", "test", "retention") == 0
    (source / "test/items.jsonl").write_text(json.dumps(QUESTION | change) + "\n")
    assert adopt(source, tmp_path / "other", "mine", "test", "retention") == 1
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1 and not (tmp_path / "other/mine").exists()


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_training_split_that_holds_test_ids_is_not_adopted(tmp_path, capsys, split):
    source = write_source(tmp_path / "mine", "train", [item("1"), item("2")])
    write_source(source, split, [item("2"), item("3")])
    assert adopt(source, tmp_path / "data") == 1
    message = capsys.readouterr().err
    assert f"coco/{split}: 1 of 2 ids are in the training split coco/train (first: '2')" in message
    assert not (tmp_path / "data" / "coco" / "train" / "manifest.json").exists()


def test_another_schema_is_refused(tmp_path):
    prepare(tmp_path, train=["1"])
    manifest = tmp_path / "coco" / "train" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 3', '"schema": 2'))
    with pytest.raises(SlqError, match=r"schema 2, not 3: written by a version before 0\.2\.0"):
        read_split(tmp_path, "coco", "train")
