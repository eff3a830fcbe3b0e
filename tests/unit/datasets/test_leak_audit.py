"""The leak audit: test images in the training set, found by id, photo, bytes and appearance."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from asjob import run_job
from checkout import processor_seconds
from planted import clouds, drawn, encoded, photographic, plant
from slq.datasets import image_fingerprints
from slq.datasets.image_fingerprints import (
    FINGERPRINT_SIZE,
    MAX_DISTANCE,
    compute_image_fingerprint,
    compute_split_fingerprints,
    find_near_duplicates,
)
from slq.datasets.leak_audit import find_overlaps
from slq.datasets.splits import write_split

NUMBERS = {"train": range(0, 6), "val": range(6, 8), "test": range(10, 14)}


def picture(number, **how):
    return encoded(clouds(np.random.default_rng(number)), **how)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """COCO's train, val and test splits (six, two and four pictures) and Flickr30K's test split, without duplicates."""
    data = tmp_path_factory.mktemp("sets")
    for split, numbers in NUMBERS.items():
        put(data, "coco", split, {str(n): picture(n) for n in numbers})
    put(data, "flickr30k", "test", {str(n): picture(n) for n in range(20, 24)})
    return data


@pytest.fixture
def data(sets, tmp_path):
    return shutil.copytree(sets, tmp_path / "data")


def put(data, name, split, images, id_namespace=None, photos=None, captions=None):
    """Write a split in the prepared form."""
    folder = data / name / split
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    items = []
    for one, body in images.items():
        (folder / "images" / one).write_bytes(body)
        photo = {"photo": photos[one]} if one in (photos or {}) else {}
        items.append(
            {"id": one, "image": f"images/{one}", "captions": [(captions or {}).get(one, f"{name} {one}")]} | photo
        )
    write_split(folder, name, split, "retrieval", items, id_namespace=id_namespace)


def images_of(data, name, split):
    root = data / name / split / "images"
    return {path.name: path.read_bytes() for path in sorted(root.iterdir())}


def audit(data, allow_leak=False):
    """Exit status and, if it passed, the content of audit.json."""
    settings = {
        "train_dataset": "coco",
        "retrieval_datasets": ["flickr30k", "coco"],
        "knowledge_datasets": [],
        "retention_datasets": [],
    }
    out = data.parent / "audit.json"
    out.unlink(missing_ok=True)
    paths = {"data": data, "work": data.parent / "work", "out": out}
    status = run_job("audit", "--threads", "2", settings=settings | {"allow_leak": allow_leak}, **paths)
    assert out.exists() == (status == 0)
    return status, json.loads(out.read_text()) if status == 0 else None


NONE = {"ids": 0, "photos": 0, "bytes": 0, "alike": 0, "captions": 0}


def test_sets_that_are_apart_pass(data):
    status, found = audit(data)
    assert status == 0 and (found["schema"], found["allow_leak"]) == (4, False)
    assert found["splits"]["coco/train"]["items"] == 6
    for name in ("coco/val", "coco/test", "flickr30k/test"):
        assert found["splits"][name]["in_train"] == NONE and found["splits"][name]["leaked"] == []
        assert found["splits"][name]["repeated"] == {"bytes": 0, "alike": 0}


def same_number(data):
    images = images_of(data, "flickr30k", "test")
    put(data, "flickr30k", "test", {"3": images.pop("20"), **images}, id_namespace="coco")
    put(data, "coco", "train", images_of(data, "coco", "train"), id_namespace="coco")
    put(data, "coco", "val", images_of(data, "coco", "val"), id_namespace="coco")


def same_photo(data):
    put(data, "coco", "train", images_of(data, "coco", "train"), photos={"3": "7654", "4": "1"})
    put(data, "flickr30k", "test", images_of(data, "flickr30k", "test"), photos={"20": "7654", "21": "2"})


def same_file(data):
    put(data, "flickr30k", "test", images_of(data, "flickr30k", "test") | {"20": images_of(data, "coco", "train")["3"]})


def another_encoding(data):
    put(data, "flickr30k", "test", images_of(data, "flickr30k", "test") | {"20": picture(3, style="WEBP", quality=60)})


def another_size(data):
    small = clouds(np.random.default_rng(3)).resize((160, 120))
    put(data, "flickr30k", "test", images_of(data, "flickr30k", "test") | {"20": encoded(small)})


LEAKS = {
    "by number": (same_number, {"ids": 1}, "3"),
    "by photo": (same_photo, {"photos": 1}, "20"),
    "by file": (same_file, {"bytes": 1, "alike": 1}, "20"),
    "encoded anew": (another_encoding, {"alike": 1}, "20"),
    "scaled": (another_size, {"alike": 1}, "20"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_test_image_in_the_training_set_stops_with_the_numbers_unless_config_allows_it(data, capsys, leak):
    change, kinds, item = LEAKS[leak]
    change(data)
    assert audit(data) == (1, None)
    message = capsys.readouterr().err
    numbers = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    assert message.count("\n") == 1
    assert (
        f"slq: error: coco/train contains test images: 1 of 4 of flickr30k/test ({numbers}); the ids of its 1 images"
        in message
    )
    assert (data.parent / "work/leaks/coco.txt").read_text() == "3\n", "what to leave out"
    status, found = audit(data, allow_leak=True)
    assert status == 0 and found["allow_leak"]
    assert found["splits"]["flickr30k/test"]["in_train"] == NONE | kinds
    assert found["splits"]["flickr30k/test"]["leaked"] == [item]
    assert found["splits"]["coco/test"]["leaked"] == []


def test_equal_ids_of_other_numberings_are_no_leak(data):
    images = images_of(data, "flickr30k", "test")
    put(data, "flickr30k", "test", {"3": images.pop("20"), **images})
    assert audit(data)[0] == 0


def test_a_caption_in_both_is_told_and_stops_nothing(data):
    put(data, "flickr30k", "test", images_of(data, "flickr30k", "test"), captions={"20": "coco 3", "22": "coco 3"})
    status, found = audit(data)
    assert status == 0 and found["splits"]["flickr30k/test"]["in_train"] == NONE | {"captions": 2}


def test_val_may_look_like_train_but_not_hold_its_numbers(data, capsys):
    put(data, "coco", "val", {"6": picture(3, quality=50), "7": picture(7)})
    status, found = audit(data)
    assert status == 0 and found["splits"]["coco/val"]["in_train"] == NONE | {"alike": 1}
    assert found["splits"]["coco/val"]["leaked"] == ["6"]
    put(data, "coco", "val", {"3": picture(6), "7": picture(7)})
    assert audit(data) == (1, None)
    assert "1 of 2 of coco/val (ids 1)" in capsys.readouterr().err


def test_pictures_that_a_split_shows_twice_are_counted(data):
    images = images_of(data, "flickr30k", "test")
    put(data, "flickr30k", "test", images | {"30": images["20"], "31": picture(21, quality=60)})
    put(data, "coco", "train", images_of(data, "coco", "train") | {"9": picture(0)})
    _, found = audit(data)
    assert found["splits"]["flickr30k/test"]["repeated"] == {"bytes": 1, "alike": 2}
    assert found["splits"]["coco/train"]["repeated"] == {"bytes": 1}


def test_images_that_cannot_be_read_are_counted_and_the_first_is_named(data, capsys):
    images = images_of(data, "coco", "train")
    put(data, "coco", "train", images | {"1": images["1"][:3000], "2": b"", "4": b"<html>"})
    assert audit(data) == (1, None)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "coco: 3 of 6 images cannot be used; the first: " in message
    assert "images/1: not a readable image (image file is truncated" in message
    assert message.endswith("; others: images/2, images/4\n")


def test_images_are_decoded_once(data, monkeypatch):
    before = audit(data)
    monkeypatch.setattr(image_fingerprints, "compute_image_fingerprint", None)  # decoding again would fail
    assert audit(data) == before
    put(data, "flickr30k", "test", images_of(data, "flickr30k", "test") | {"25": picture(25)})
    with pytest.raises(TypeError):
        audit(data)


# ---- fingerprints ----------------------------------------------------------------------------------------------------


def test_pairs_are_those_of_a_plain_loop(monkeypatch):
    """The blocks are small, so that the search crosses several; some pairs are near the limit."""
    monkeypatch.setattr(image_fingerprints, "ROWS_PER_BLOCK", 7)
    monkeypatch.setattr(image_fingerprints, "PAIRS_PER_BLOCK", 5)
    rng = np.random.default_rng(0)
    ones = rng.integers(0, 256, (30, FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3), dtype=np.uint8)
    others = np.clip(ones[10:20] + rng.normal(size=ones[10:20].shape) * rng.uniform(3, 7, (10, 1, 1, 1)), 0, 255)
    others = np.concatenate([others.astype(np.uint8), ones[:3]])
    naive = {
        (i, j)
        for i, one in enumerate(ones)
        for j, other in enumerate(others)
        if np.mean((one.astype(float) - other.astype(float)) ** 2) ** 0.5 <= MAX_DISTANCE
    }
    found = list(find_near_duplicates(ones, others))
    assert set(found) == naive and len(found) == len(naive)
    assert 3 < len(naive) < 13


def test_a_print_does_not_depend_on_how_a_picture_is_kept():
    image = clouds(np.random.default_rng(5))
    assert (
        compute_image_fingerprint(image).shape == (FINGERPRINT_SIZE, FINGERPRINT_SIZE, 3)
        and compute_image_fingerprint(image).dtype == np.uint8
    )
    copies = [
        Image.open(io.BytesIO(encoded(image, "PNG"))),
        image.resize((640, 480)),
        image.resize((1, 1)).resize((9, 7)),
    ]
    distances = [
        np.mean((compute_image_fingerprint(image).astype(float) - compute_image_fingerprint(copy)) ** 2) ** 0.5
        for copy in copies
    ]
    assert distances[0] == 0 and distances[1] < 1 and distances[2] > MAX_DISTANCE


def check_planted(root, count, plants):
    """Check the share found of each kind of planted copy, and the share of other test items called leaked."""
    found = plant(root, [*drawn(count // 2), *photographic(count // 2)], plants)
    trained, tested = (
        compute_split_fingerprints(split, root / "work", threads=2) for split in (found.train, found.test)
    )
    shared = find_overlaps(found.train, trained, found.test, tested)
    by_kind = {kind: {found.test.items[number]["id"] for _, number in pairs} for kind, pairs in shared.items()}
    everything = set().union(*found.plants.values())
    others = {item["id"] for item in found.test.items} - everything
    share = {kind: len(by_kind["alike"] & found.plants[kind]) / plants for kind in ("encoded", "scaled")}
    alarms = len(set().union(*by_kind.values()) & others) / len(others)
    print(f"{count} pictures: {share}, {alarms:.3%} of {len(others)} others; {processor_seconds():.0f} s")
    assert by_kind["ids"] == found.plants["ids"] and by_kind["bytes"] >= found.plants["bytes"]
    assert min(share.values()) >= 0.95
    assert alarms < 0.001


def test_planted_copies_are_found_among_near_neighbours(tmp_path):
    check_planted(tmp_path, count=400, plants=20)


@pytest.mark.slow
def test_planted_copies_are_found_among_ten_thousand_pictures(tmp_path):
    check_planted(tmp_path, count=10_000, plants=100)


@pytest.mark.slow
def test_a_training_set_of_cocos_size_is_compared_in_a_minute(capsys):
    """113,287 fingerprints, as smooth as those of photographs, are compared with 5,000, of which 100 are copies."""
    import time

    rng = np.random.default_rng(0)
    coarse = rng.normal(120, 55, (118_287, 4, 4, 3)).clip(0, 255)
    every = np.repeat(np.repeat(coarse, FINGERPRINT_SIZE // 4, 1), FINGERPRINT_SIZE // 4, 2).astype(np.uint8)
    every += rng.integers(0, 12, every.shape, dtype=np.uint8)
    train, test = every[:113_287], every[113_287:]
    test[:100] = train[::1000][:100]
    start = time.process_time()
    found = list(find_near_duplicates(train, test))
    seconds = time.process_time() - start
    with capsys.disabled():
        print(f"\n113,287 x 5,000 prints: {seconds:.1f} s of processor")
    assert found == [(1000 * number, number) for number in range(100)]
    assert seconds < 60
