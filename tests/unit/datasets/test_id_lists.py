"""Lists of ids that include or exclude images: a list that filters nothing stops the split."""

import json

import pytest

from asjob import run_job
from listed import COCO, coco, coco2017, flickr30k
from slq.config import job_settings
from slq.config.loading import validate_config
from slq.datasets.id_lists import ID_LISTS, read_id_list
from slq.datasets.splits import read_split

TRAIN = ["1", "2"]  # Karpathy's train and restval in the small COCO
COUNTS = {"items", "captions", "ids_sha256"}


@pytest.fixture
def filtered(raw_config, tmp_path, capsys):
    """Function that prepares a split of a small source with lists; returns its ids, or the message that stops it."""

    def prepare(name="coco", split="train", source=coco, **how):
        entry = raw_config["datasets"][name]
        for one in entry["splits"].values():
            for key in COUNTS & one.keys():
                del one[key]
        for key in ("include_ids", "exclude_ids"):
            entry["splits"][split].pop(key, None)
        entry["splits"][split] |= how
        given = job_settings.prepare_settings(validate_config(raw_config), name, split, dict)
        folder = source(tmp_path / "source")
        out = tmp_path / "data" / name / split
        if run_job("prepare_split", settings=given, source=folder, out=out) == 0:
            return [item["id"] for item in read_split(tmp_path / "data", name, split).items]
        message = capsys.readouterr().err
        assert message.startswith("slq: error: ") and message.count("\n") == 1 and not out.exists(), message
        return message.removeprefix("slq: error: ")

    return prepare


@pytest.fixture
def mine(tmp_path):
    """Function that writes a user's list of ids and returns its path."""

    def write(content):
        path = tmp_path / "mine.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.mark.parametrize("content", ["1\n", "\ufeff1\n", "\ufeff1\r\n\r\n", "  1", "1\n139\n42\n"])
def test_a_list_leaves_out_its_ids_whatever_wrote_it(filtered, mine, content):
    """The file may have a byte-order mark, Windows line ends, or ids of the source's other splits."""
    assert filtered(exclude_ids=[mine(content)]) == ["2"]


@pytest.mark.parametrize("content", ["1\n", "\ufeff1\r\n", "1\n139\n"])
def test_a_list_keeps_its_ids_alone_whatever_wrote_it(filtered, mine, content):
    assert filtered(include_ids=[mine(content)]) == ["1"]


WRONG = {
    "zero-padded": (
        "2\n000000000001\n",
        ":2: no image in the source has the id '000000000001'; the source has it as '1'",
    ),
    "file names": (
        "COCO_train2014_000000000001.jpg\n",
        ":1: no image in the source has the id 'COCO_train2014_0",
    ),
    "unknown": ("1\n77\n78\n", ":2: no image in the source has the id '77'; an id in the source is, for example, '"),
    "two a line": ("1 2\n", ":1: '1 2'; expected one id per line"),
    "a table": ("id,file\n1,a.jpg\n", ":1: no image in the source has the id 'id,file'"),
    "empty": ("\n", ": contains no id; expected one id per line"),
    "UTF-16": ("1\n2\n".encode("utf-16"), ":1: cannot be read: 'utf-8' codec can't decode byte 0xff in position 0"),
}


@pytest.mark.parametrize("key", ["exclude_ids", "include_ids"])
@pytest.mark.parametrize("kind", WRONG)
def test_an_id_that_no_image_has_stops_the_split_by_list_and_line(filtered, mine, kind, key):
    content, words = WRONG[kind]
    name = mine(content)
    message = filtered(**{key: [name]})
    assert message.startswith(f"{name}:") and words in message, message


def test_a_list_that_filters_nothing_stops_the_split(filtered, mine):
    """The list contains none of the split's images, or all of them."""
    other = mine("42\n139\n")
    for key, does in {"exclude_ids": "filters", "include_ids": "leaves"}.items():
        words = f"the list {other} has none of the 2 images, so it {does} nothing"
        assert filtered(**{key: [other]}).startswith(f"config: datasets.coco.splits.train.{key}: {words}")
    every = mine("1\n2\n")
    for key, does in {"exclude_ids": "leaves", "include_ids": "filters"}.items():
        words = f"the list {every} has all of the 2 images, so it {does} nothing"
        assert filtered(**{key: [every]}).startswith(f"config: datasets.coco.splits.train.{key}: {words}")


def test_lists_that_leave_nothing_together_stop_the_split(filtered, tmp_path):
    (tmp_path / "one.txt").write_text("1\n")
    (tmp_path / "two.txt").write_text("2\n")
    lists = [str(tmp_path / name) for name in ("one.txt", "two.txt")]
    assert "its id lists together leave no image" in filtered(exclude_ids=lists)


def test_a_public_list_may_have_ids_that_the_source_lacks(filtered):
    """593 of the 5,000 test images are in val2017, so train2017 does not contain all of them."""
    assert filtered("coco2017_train", "train", coco2017, exclude_ids=["coco_karpathy_test"]) == ["1"]


def test_a_public_list_that_filters_nothing_stops_the_split_too(filtered):
    message = filtered("coco2017_train", "train", coco2017, exclude_ids=["coco_val2017"])
    assert "the list coco_val2017 has none of the 2 images" in message


def test_a_persons_list_may_have_ids_of_the_sources_other_lists(filtered, mine):
    """A list for train2017 may contain ids of val2017, because it is checked against the whole source."""
    assert filtered("coco2017_train", "train", coco2017, exclude_ids=[mine("42\n139\n5\n")]) == ["1"]


def test_a_split_of_karpathys_that_no_image_has_stops_the_split(filtered):
    """With a misspelt `restval`, 30,504 images would be missing."""
    message = filtered(source_splits=["train", "restvall"])
    assert "no image is in the split 'restvall'" in message and "restval, test, train, val" in message


def test_ids_that_are_no_numbers_of_coco_stop_the_split(filtered, raw_config):
    """Zero-padded ids or file names would escape the check for test images, and the audit."""
    raw_config["datasets"]["flickr30k"] |= {"id_namespace": "coco"}
    del raw_config["datasets"]["flickr30k"]["splits"]["train"]["images"]

    def named(folder):
        source = flickr30k(folder)
        file = source / "dataset_flickr30k.json"
        content = json.loads(file.read_text())
        for image in content["images"]:
            image |= {"filename": f"COCO_val2014_{image['filename']}", "filepath": "."}
        file.write_text(json.dumps(content))
        return source

    message = filtered("flickr30k", "train", named)
    assert "the id 'COCO_val2014_1000092795' is not a number of coco, as datasets.flickr30k.id_namespace" in message


def test_photos_that_are_told_of_no_image_stop_the_split(filtered, raw_config):
    raw_config["datasets"]["coco"]["flickr_id_files"] = ["annotations/captions_train2014.json"]
    assert "captions_train2014.json list the Flickr photo of none of the 1 images" in filtered(split="test")


def test_every_public_list_is_read_whole():
    for path in ID_LISTS.glob("*.txt"):
        assert read_id_list(path.stem) == path.read_text().split()
    assert {str(number) for number in COCO} & set(read_id_list("coco_karpathy_test")) == {"42"}
