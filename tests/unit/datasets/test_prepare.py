"""Fetched sources in the prepared form: COCO, Flickr30K, train2017, questions."""

import json
import subprocess
import sys

import pytest
import yaml

import listed
from asjob import parameter_file
from checkout import ROOT
from hubrows import ROWS, mmmu
from listed import coco, coco2017, flickr30k, prepare
from slq.common.errors import SlqError
from slq.common.files import hash_file
from slq.common.snapshots import write_manifest
from slq.config import job_settings
from slq.config.loading import validate_config
from slq.datasets.id_lists import hash_ids, read_id_list, sort_ids
from slq.datasets.splits import read_split
from slq.synthetic.datasets import write_hub_files

SETS = yaml.safe_load((ROOT / "config.yaml").read_text())["datasets"]
COUNTS = {"items", "captions", "ids_sha256", "options", "types"}


def how(name, split, **changes):
    """Settings of a split in config.yaml, without the keys that only the real dataset satisfies."""
    entry = SETS[name]
    listed_so = {key: value for key, value in entry["splits"][split].items() if key not in COUNTS} | changes
    keys = {key: entry[key] for key in ("annotation_format", "id_namespace", "flickr_id_files") if key in entry}
    return {"name": name, "split": split, "listing": listed_so, **keys}


# ---- the prepared form -----------------------------------------------------------------------------------------------


def test_cocos_splits_are_karpathys_with_restval_in_train(tmp_path):
    source = coco(tmp_path / "sources" / "coco")
    found = {}
    for split in ("train", "val", "test"):
        assert prepare(source, tmp_path / "data", **how("coco", split)) == 0
        found[split] = read_split(tmp_path / "data", "coco", split)
    assert {split: [item["id"] for item in one.items] for split, one in found.items()} == {
        "train": ["1", "2"],
        "val": ["139"],
        "test": ["42"],
    }
    assert found["test"].items == [
        {
            "id": "42",
            "image": "val2014/COCO_val2014_000000000042.jpg",
            "captions": [f"Caption {place} of 42." for place in range(6)],
            "photo": "7042",
        }
    ]
    assert found["train"].id_namespace == "coco"
    assert found["train"].open("train2014/COCO_train2014_000000000001.jpg").size == (16, 12)


def test_images_stay_where_they_lie_with_the_hashes_that_the_fetch_proved(tmp_path):
    source = coco(tmp_path / "sources" / "coco")
    assert prepare(source, tmp_path / "data", **how("coco", "train")) == 0
    split = read_split(tmp_path / "data", "coco", "train")
    assert split.image_hashes == {item["image"]: hash_file(source / item["image"]) for item in split.items}
    assert {path.name for path in (tmp_path / "data/coco/train").iterdir()} == {"items.jsonl", "manifest.json"}
    (tmp_path / "elsewhere").mkdir()
    for name in ("sources", "data"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    moved = read_split(tmp_path / "elsewhere" / "data", "coco", "train")
    assert moved.open(moved.items[0]["image"]).size == (16, 12), "scratch may be moved as a whole"


def test_flickr30ks_ids_are_its_photos_numbers(tmp_path):
    source = flickr30k(tmp_path / "flickr30k")
    assert prepare(source, tmp_path / "data", **how("flickr30k", "test")) == 0
    (item,) = read_split(tmp_path / "data", "flickr30k", "test").items
    assert item["id"] == item["photo"] == "1007129816"
    assert item["image"] == "flickr30k-images/1007129816.jpg" and len(item["captions"]) == 5


def test_train2017_is_read_from_cocos_own_list_and_watched_on_images_outside(tmp_path):
    source = coco2017(tmp_path / "coco2017")
    without = how("coco2017_train", "train", exclude_ids=["coco_karpathy_test"])
    assert prepare(source, tmp_path / "data", **without) == 0
    (item,) = read_split(tmp_path / "data", "coco2017_train", "train").items
    assert item == {
        "id": "1",
        "image": "train2017/000000000001.jpg",
        "captions": listed.captions(1),
        "photo": "7001",
    }
    assert prepare(source, tmp_path / "data", **how("coco2017_train", "val")) == 0
    assert [item["id"] for item in read_split(tmp_path / "data", "coco2017_train", "val").items] == ["139"]


@pytest.mark.parametrize("columns", ROWS)
def test_questions_of_a_source_hold_what_config_says(tmp_path, capsys, columns):
    source = tmp_path / "source"
    write_hub_files(columns, [ROWS[columns]], source)
    write_manifest(source, {"name": "source"})
    counts = SETS[columns]["splits"]["test"]
    assert prepare(source, tmp_path / "data", "qa", hub_layout=columns, listing=counts) == 1
    assert f"qa/test: images or questions: 1, expected {counts['items']}" in capsys.readouterr().err
    assert not list((tmp_path / "data/qa/test").glob("*"))
    one = {"items": 1, "types": 1, "options": columns != "ocrbench"}
    assert prepare(source, tmp_path / "data", "qa", hub_layout=columns, listing=one) == 0
    assert len(read_split(tmp_path / "data", "qa", "test").items) == 1


def test_mmmus_open_questions_count_as_such(tmp_path, capsys):
    rows = [mmmu(1), mmmu(2, question_type="open", options="[]", answer="3")]
    write_hub_files("mmmu", rows, tmp_path / "source")
    assert (
        prepare(tmp_path / "source", tmp_path / "data", "qa", hub_layout="mmmu", listing={"items": 2, "options": 2})
        == 1
    )
    assert "qa/test: questions with options: 1, expected 2 (datasets.qa.splits.test.options" in capsys.readouterr().err


def test_questions_of_one_type_are_one_type(tmp_path):
    write_hub_files("mmmu", [mmmu(1), mmmu(2)], tmp_path / "source")
    asked = {"hub_layout": "mmmu", "listing": {"items": 2, "types": 1}}
    assert prepare(tmp_path / "source", tmp_path / "data", "qa", **asked) == 0


# ---- public lists ----------------------------------------------------------------------------------------------------


def test_train2017_holds_4407_of_cocos_5000_test_images():
    """train2017 is train2014 and val2014 without val2017, and all of Karpathy's test images are from val2014."""
    test, val = (set(read_id_list(f"coco_karpathy_{split}")) for split in ("test", "val"))
    val2017 = set(read_id_list("coco_val2017"))
    assert len(test) == len(val) == len(val2017) == 5000 and not test & val
    assert len(test - val2017) == 4407
    assert len(val & val2017) == SETS["coco2017_train"]["splits"]["val"]["items"] == 608
    assert SETS["coco2017_train"]["splits"]["train"]["items"] - 4407 == 113_880, "as config.yaml's comment says"


def test_the_lists_are_the_public_ones_and_those_that_config_asks_for():
    for split in ("val", "test"):
        assert hash_ids(read_id_list(f"coco_karpathy_{split}")) == SETS["coco"]["splits"][split]["ids_sha256"]
    assert hash_ids(read_id_list("coco_val2017")) == "1d158ad41c99a053bef0f51e7468b7f183408dec16e5f8162fdfa2203104ba04"


def test_ids_are_hashed_in_the_order_of_their_numbers():
    ids = ["100", "9", "42", "007", "b", "a10"]
    assert sort_ids(ids) == ["9", "b", "42", "007", "100", "a10"]
    assert sort_ids(str(number) for number in (3, 1000, 20)) == ["3", "20", "1000"]
    assert hash_ids(ids) == hash_ids(reversed(ids)) != hash_ids(ids[1:])


def test_config_asks_for_the_paper_sets_as_they_are_counted():
    """113,287 + 5,000 + 5,000 images; 25,010 and 5,000 captions; 900 = 847 + 53, 765 and 1,000 questions."""
    counts = {
        (name, split): (listed_so.get("items"), listed_so.get("captions"))
        for name in ("coco", "flickr30k", "mmmu", "realworldqa", "ocrbench")
        for split, listed_so in SETS[name]["splits"].items()
    }
    assert counts == {
        ("coco", "train"): (113_287, 566_747),
        ("coco", "val"): (5_000, 25_010),
        ("coco", "test"): (5_000, 25_010),
        ("flickr30k", "train"): (29_000, None),
        ("flickr30k", "val"): (1_014, None),
        ("flickr30k", "test"): (1_000, 5_000),
        ("mmmu", "test"): (900, None),
        ("realworldqa", "test"): (765, None),
        ("ocrbench", "test"): (1_000, None),
    }


# ---- faults ----------------------------------------------------------------------------------------------------------


def refused(capsys, data, words):
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and message.startswith("slq: error: "), message
    for word in words:
        assert word in message
    assert not list(data.rglob("*.json*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"items": 2},
            ["coco/test: images or questions: 1, expected 2 (datasets.coco.splits.test.items in config.yaml)"],
        ),
        ({"captions": 5}, ["coco/test: captions: 6, expected 5"]),
        ({"ids_sha256": "0" * 64}, ["coco/test: the SHA-256 of its ids in order:", f"expected {'0' * 64}"]),
        (
            {"source_splits": ["tset"], "items": 1},
            ["dataset_coco.json: no image is in the split 'tset'", "the file's splits are: restval, test,"],
        ),
        ({"file": "dataset_cocoa.json"}, ["dataset_cocoa.json: not found", "fetch its source again"]),
        ({"images": "val2017"}, ["1 of 1 images", "are missing (first: val2017/COCO_val2014_000000000042.jpg)"]),
        (
            {"include_ids": ["karpathy_test"]},
            ["karpathy_test: neither a bundled id list (coco_karpathy_test, "],
        ),
    ],
)
def test_another_version_or_a_wrong_name_stops_with_one_message(tmp_path, capsys, changes, words):
    source = coco(tmp_path / "coco")
    assert prepare(source, tmp_path / "data", **how("coco", "test", **changes)) == 1
    refused(capsys, tmp_path / "data", words)


LISTS = {
    "no JSON": (b"<html>", "not valid JSON"),
    "no list": (b'{"images": {}}', "dataset_coco.json: 'images' must be a list, found {}"),
    "not a mapping": (b"[1]", "'images' must be a list, found None"),
    "no name": (b'{"images": [{"split": "test"}]}', "images[0]: 'filename' must be a text, found None"),
    "not an image": (b'{"images": [3]}', "'images[0]' must be an object, found 3"),
    "no sentence": (
        b'{"images": [{"split": "test", "filename": "a.jpg", "filepath": "x", "sentences": []}]}',
        "item 'a' has an empty caption",
    ),
}


@pytest.mark.parametrize("fault", LISTS)
def test_a_list_of_another_form_stops_with_one_message(tmp_path, capsys, fault):
    body, words = LISTS[fault]
    source = listed.source(tmp_path / "coco", {"dataset_coco.json": body})
    assert prepare(source, tmp_path / "data", **how("coco", "test") | {"flickr_id_files": []}) == 1
    refused(capsys, tmp_path / "data", [words])


def test_a_training_split_with_published_test_images_stops_unless_config_says_so(tmp_path, capsys):
    """The project's own list of test images decides, whether or not a preset tests on COCO."""
    source = coco2017(tmp_path / "coco2017")
    asked = how("coco2017_train", "train")
    assert prepare(source, tmp_path / "data", **asked) == 1
    words = [
        "coco2017_train/train: contains 1 of the 5,000 test images of coco_karpathy_test (first: 42)",
        "allow_leak: true",
    ]
    refused(capsys, tmp_path / "data", [*words, "exclude_ids: [coco_karpathy_test]"])
    assert prepare(source, tmp_path / "data", **asked, allow_leak=True) == 0
    assert len(read_split(tmp_path / "data", "coco2017_train", "train").items) == 2


def test_a_preset_allows_a_leak_to_its_training_split_alone(raw_config):
    for allowed in (False, True):
        raw_config["presets"]["mini"]["allow_leak"] = allowed
        config = validate_config(raw_config)
        found = [job_settings.prepare_settings(config, "coco", split, dict) for split in ("train", "test")]
        assert [one["allow_leak"] for one in found] == [allowed, False]


# ---- at the paper's size ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cocos_training_split_is_prepared_in_a_minute_and_two_gigabytes(tmp_path, capsys):
    """The list is as long as Karpathy's: 113,287 images with five captions each, and their words; no image is read."""
    source = tmp_path / "coco"
    source.mkdir()
    images = []
    for number in range(1, 113_288):
        texts = [f"A man with a red helmet on a small moped on a dirt road, number {number}, {n}." for n in range(5)]
        entry = {"filepath": "train2014", "filename": f"COCO_train2014_{number:012d}.jpg", "imgid": number}
        images.append(
            entry
            | {
                "split": "train" if number <= 82_783 else "restval",
                "cocoid": 10**6 + number,
                "sentences": listed.sentences(texts),
            }
        )
    hashes = {f"train2014/{image['filename']}": f"{image['imgid']:064x}" for image in images}
    (source / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    write_manifest(source, {"name": "coco"}, hashes)
    how_much = {
        "file": "dataset_coco.json",
        "source_splits": ["train", "restval"],
        "items": 113_287,
        "captions": 566_435,
    }
    asked = {"dataset": "coco", "split": "train", "annotation_format": "karpathy", "listing": how_much}
    asked |= {"id_namespace": "coco", "flickr_id_files": [], "allow_leak": False}
    file = parameter_file(tmp_path, "prepare_split", settings=asked, source=source, out=tmp_path / "data/coco/train")
    # The process reports its own peak: the peak that a parent reads in wait4 includes the parent's memory at the fork.
    peak = "next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))"
    code = (
        f"import sys, time; from slq.jobs import main; status = main(sys.argv[1:]); print(time.process_time(), {peak})"
    )
    called = [sys.executable, "-c", f"{code}; sys.exit(status)", "prepare_split", str(file)]
    process = subprocess.run(called, stdout=subprocess.PIPE, text=True, check=True)
    seconds, kilobytes = map(float, process.stdout.split()[-2:])
    gigabytes = kilobytes / 2**20
    with capsys.disabled():
        print(f"\n113,287 images x 5 captions: {seconds:.0f} s of processor, {gigabytes:.2f} GiB")
    split = read_split(tmp_path / "data", "coco", "train")
    assert len(split.items) == len(split.image_hashes) == 113_287 and split.image_hashes == hashes
    assert seconds < 60 and gigabytes < 2


def test_a_damaged_image_of_a_source_is_left_out_as_its_message_says(tmp_path):
    """The archive contains the damaged file, so fetching again does not help, and the counts include the image."""
    source = coco(tmp_path / "sources/coco")
    path = "train2014/COCO_train2014_000000000001.jpg"
    (source / path).write_bytes((source / path).read_bytes()[:300])
    write_manifest(source, {"name": "coco"})
    counts = {"items": 2, "captions": 10, "ids_sha256": hash_ids(["1", "2"])}
    assert prepare(source, tmp_path / "data", **how("coco", "train", **counts)) == 0
    with pytest.raises(SlqError) as caught:
        read_split(tmp_path / "data", "coco", "train").open(path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'data/coco/train'}") and f"{path}: not a readable image (" in message
    assert message.endswith(
        "its source has it so, and fetching again brings the same: write its id, 1, into a file, name the file in "
        "datasets.coco.splits.train.exclude_ids, and there lower items by 1 and captions by 5 and take ids_sha256 out"
    )
    (source / path).unlink()
    with pytest.raises(SlqError, match=r"No such file or directory.*; make its dataset again"):
        read_split(tmp_path / "data", "coco", "train").open(path)
    (tmp_path / "damaged.txt").write_text("1\n")
    fewer = {"items": 1, "captions": 5, "exclude_ids": [str(tmp_path / "damaged.txt")]}
    assert prepare(source, tmp_path / "data", **how("coco", "train", **fewer)) == 0
    split = read_split(tmp_path / "data", "coco", "train")
    assert [split.open(item["image"]).size for item in split.items] == [(16, 12)]


def test_half_a_character_in_a_list_of_captions_is_named_before_anything_is_written(tmp_path, capsys):
    source = coco(tmp_path / "sources/coco")
    text = (source / "dataset_coco.json").read_text()
    (source / "dataset_coco.json").write_text(text.replace("Caption 0 of 42.", "Caption \\ud83d of 42.", 1))
    assert prepare(source, tmp_path / "data", **how("coco", "test")) == 1
    message = capsys.readouterr().err
    assert "dataset_coco.json: contains half a character, " in message and "Caption \\ud83d of 42." in message
    assert not (tmp_path / "data").exists() and message.count("\n") == 1
