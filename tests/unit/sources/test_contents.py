"""Files that the configuration names are inputs by content: an edited file is read again."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from checkout import planned, snakemake
from fetching import check_absent, fetch, refused
from listed import coco
from slq.common.errors import SlqError
from slq.config import job_settings
from slq.config.loading import validate_config
from slq.datasets.local import import_local_split
from slq.datasets.splits import read_split
from slq.sources.file_hashes import FileHashCache

SPLIT = "scratch/data/mine/test"


def item(name, *captions):
    return {"id": name, "image": f"images/{name}.png", "captions": list(captions)}


def write_items(folder, *items):
    (folder / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))


def paint(path, colour):
    """Write a picture of constant size that keeps the times of the file it replaces."""
    times = os.stat(path) if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path, "BMP")
    if times:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture
def supplied(tmp_path):
    """A folder with a local test split of two pictures."""
    folder = tmp_path / "checkout/data/mine"
    for name, colour in (("1", "red"), ("2", "blue")):
        paint(folder / f"test/images/{name}.png", colour)
    write_items(folder / "test", item("1", "a red square"), item("2", "a blue square"))
    return folder


def test_an_edited_caption_and_a_replaced_image_of_a_supplied_set_make_another_set(checkout, supplied):
    """The new image has the same size and time; a change of no byte makes nothing due."""
    mine = {"label": "Mine", "paper_column": "mine", "kind": "retrieval", "local_dir": "data/mine"}
    (checkout / "mine.yaml").write_text(yaml.safe_dump({"datasets": {"mine": mine}}))
    call = ["--cores", "1", "--configfile", "mine.yaml", "--", f"{SPLIT}/manifest.json"]

    def adopted():
        answer = snakemake(checkout, *call)
        assert answer.returncode == 0, answer.stdout
        return read_split(checkout / "scratch/data", "mine", "test")

    first = adopted()
    write_items(supplied / "test", item("1", "a crimson square"), item("2", "a blue square"))
    second = adopted()
    assert second.items[0]["captions"] == ["a crimson square"]
    paint(supplied / "test/images/1.png", "green")
    third = adopted()
    assert third.open("images/1.png").getpixel((0, 0)) == (0, 128, 0)
    assert len({first.sha256, second.sha256, third.sha256}) == 3
    os.utime(supplied / "test/images/1.png")
    assert planned(checkout, *call) == {}


def test_an_image_that_was_replaced_since_is_not_read_under_the_identity_of_its_set(supplied, tmp_path):
    import_local_split("mine", "test", "retrieval", "", "", supplied, tmp_path / "data/mine/test")
    split = read_split(tmp_path / "data", "mine", "test")
    paint(supplied / "test/images/1.png", "green")
    with pytest.raises(SlqError, match=r"1\.png: the image has changed since its dataset was prepared"):
        split.open("images/1.png")
    assert split.open("images/2.png").size == (8, 8)


def test_what_changes_no_byte_of_a_supplied_set_is_the_same(supplied, tmp_path):
    """Files may be touched or copied, others added, and the folder removed, which stored results no longer need."""

    def said():
        return FileHashCache(tmp_path / "kept").hash_local_split({"local_dir": str(supplied)}, "test")

    before = said()
    os.utime(supplied / "test/images/1.png")
    (supplied / "test/images/other.png").write_bytes(b"")
    (supplied / "notes.txt").write_text("mine")
    assert said() == before
    shutil.copytree(supplied, supplied.with_name("copy"))
    shutil.rmtree(supplied)
    assert said() == before
    shutil.move(supplied.with_name("copy"), supplied)
    assert said() == before
    (supplied / "test/images/1.png").unlink()
    assert said() != before


def test_a_folder_that_is_a_link_is_read_like_any_other(tmp_path, monkeypatch):
    """Large folders are on another disk: questions in the hub's columns, and a source that is copied."""
    monkeypatch.chdir(tmp_path)
    for name in ("disk/Art", "hub", "flickr"):
        Path(name).mkdir(parents=True)
    Path("hub/Art").symlink_to("../disk/Art")
    Path("flickr/images").symlink_to("../disk/Art")
    Path("disk/Art/back").symlink_to("..")  # a cycle of links
    Path("disk/Art/itself").symlink_to("itself")
    Path("disk/Art/gone").symlink_to("nowhere")
    part = {"local_dir": "flickr", "files": ["images/*.parquet"]}

    def said():
        contents = FileHashCache(tmp_path / "kept")
        return contents.hash_local_split({"local_dir": "hub", "hub_layout": "mmmu"}, "test"), contents.hash_source_part(
            part
        )

    found = []
    for rows in (b"one", b"two"):
        Path("disk/Art/validation-0.parquet").write_bytes(rows)
        found += said()
    assert len(set(found)) == 4
    answer = fetch(tmp_path, [{**part, "instructions": "put them there", "count": 1}])
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "out/images/validation-0.parquet").read_bytes() == b"two"


@pytest.mark.parametrize("line", [{"images": 5}, {"images": [5]}, {"image": "\ud83d.png"}, {"image": "\0"}, [1], 5])
def test_a_line_that_is_no_item_is_left_to_its_rule(supplied, tmp_path, line):
    """The rule reports the fault; the Snakefile is read without a traceback."""
    (supplied / "test/items.jsonl").write_text(json.dumps(line) + "\n")
    assert FileHashCache(tmp_path / "kept").hash_local_split({"local_dir": str(supplied)}, "test")


def test_an_edited_list_of_ids_is_read(checkout):
    coco(checkout / "scratch/sources/coco")
    split = {"items": 1, "captions": 5, "exclude_ids": ["left_out.txt"]}
    (checkout / "mine.yaml").write_text(yaml.safe_dump({"datasets": {"coco": {"splits": {"train": split}}}}))
    call = ["--cores", "1", "--configfile", "mine.yaml", "--", "scratch/data/coco/train/manifest.json"]
    for one, kept in (("1", "2"), ("2", "1")):
        (checkout / "left_out.txt").write_text(f"{one}\n")
        answer = snakemake(checkout, *call)
        assert answer.returncode == 0, answer.stdout
        assert [entry["id"] for entry in read_split(checkout / "scratch/data", "coco", "train").items] == [kept]


def test_a_replaced_file_of_a_folder_that_a_source_is_copied_from_is_copied_again(raw_config, tmp_path):
    """This holds for a source's local part and for a local backbone; without the folder, the copy stays."""
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"one")
    del raw_config["backbones"]["InternVL3-1B"]["source"]
    raw_config["backbones"]["InternVL3-1B"]["local_dir"] = str(folder)

    def bring():
        holds = FileHashCache(tmp_path / "kept").hash_source_part
        (part,) = job_settings.fetch_settings(validate_config(raw_config), "backbones", "InternVL3-1B", holds)["parts"]
        answer = fetch(tmp_path, [part], weights=True)
        assert answer.returncode == 0, answer.stderr
        return part, (tmp_path / "out/model.safetensors").read_bytes()

    first, body = bring()
    (folder / "model.safetensors").write_bytes(b"two")
    second, replaced = bring()
    assert body == b"one" and replaced == b"two" and first["content_hash"] != second["content_hash"]
    shutil.rmtree(folder)
    assert bring() == (second, b"two")


def test_every_key_that_names_files_is_an_input_by_content(raw_config, tmp_path, monkeypatch):
    """Questions in the hub's columns, queries, the pilot's images: any edit changes the rule's parameter."""
    monkeypatch.chdir(tmp_path)
    Path("hub/Art").mkdir(parents=True)
    Path("hub/Art/validation-0.parquet").write_bytes(b"rows")
    Path("queries.jsonl").write_text("{}")
    kept = tmp_path / "kept"

    def said():
        contents = FileHashCache(kept)
        columns = contents.hash_local_split({"local_dir": "hub", "hub_layout": "mmmu"}, "test")
        return (
            columns,
            contents.hash_files(["queries.jsonl"]),
            contents.hash_id_lists({"include_ids": ["coco_karpathy_val"]}),
        )

    before = said()
    assert all(before) and said() == before
    Path("hub/Art/validation-0.parquet").write_bytes(b"Rows")
    Path("queries.jsonl").write_text("[]")
    after = said()
    assert after[0] != before[0] and after[1] != before[1] and after[2] == before[2]


def test_bytes_are_read_once(supplied, monkeypatch, tmp_path):
    """Hashes of files are cached by size and times, except for changes of the last two seconds."""
    folder, read = supplied, []
    from slq.sources import file_hashes

    monkeypatch.setattr(file_hashes, "hash_file", lambda path: read.append(path.name) or path.read_bytes().hex())
    entry = {"local_dir": str(folder)}
    while time.time_ns() - max(path.stat().st_ctime_ns for path in folder.rglob("*.*")) < file_hashes.SETTLE_TIME_NS:
        time.sleep(0.1)
    first = FileHashCache(tmp_path / "kept").hash_local_split(entry, "test")
    assert sorted(read) == ["1.png", "2.png", "items.jsonl"]
    assert FileHashCache(tmp_path / "kept").hash_local_split(entry, "test") == first and len(read) == 3
    paint(folder / "test/images/2.png", "green")
    for _ in range(2):  # twice, as it has just changed
        assert FileHashCache(tmp_path / "kept").hash_local_split(entry, "test") != first
    assert read[3:] == ["2.png", "2.png"]


def test_nothing_of_a_folder_is_read_by_a_job_of_another_rule(checkout, supplied):
    """A job on a cluster reads the Snakefile too, but no files of a rule that it may not run."""
    mine = {"label": "Mine", "paper_column": "mine", "kind": "retrieval", "local_dir": "data/mine"}
    more = {"datasets": {"mine": mine}, "presets": {"mini": {"knowledge_datasets": ["mine"]}}}
    (checkout / "mine.yaml").write_text(yaml.safe_dump(more))
    target = "scratch/data/mini-coco/val/manifest.json"
    job = [
        "--allowed-rules",
        "make_synthetic_split",
        "--target-jobs",
        "make_synthetic_split:dataset=mini-coco,split=val",
        "--nolock",
    ]
    answer = snakemake(checkout, "--cores", "1", "--configfile", "mine.yaml", *job, "--mode", "remote", "--", target)
    assert answer.returncode == 0, answer.stdout
    assert (checkout / target).exists() and not (checkout / "scratch/work").exists()


def flickr(folder, *names):
    """The source of Flickr30K's images as in config.yaml, in a folder on another disk that a link leads to."""
    (folder / "disk").mkdir()
    (folder / "flickr30k").mkdir()
    for name in names:
        paint(folder / "disk" / name, "red")
    (folder / "flickr30k/flickr30k-images").symlink_to("../disk")
    return {
        "local_dir": str(folder / "flickr30k"),
        "files": ["flickr30k-images/*.jpg"],
        "instructions": "put them there",
    }


def test_images_behind_a_link_are_a_source(tmp_path):
    assert fetch(tmp_path, [flickr(tmp_path, "1.jpg", "2.jpg")]).returncode == 0
    assert sorted(path.name for path in (tmp_path / "out/flickr30k-images").iterdir()) == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("lost", ["disk/3.jpg", "flickr30k/flickr30k-images"])
def test_a_link_to_nothing_among_what_is_copied_is_named(tmp_path, lost):
    """The lost link is an image, or the folder on a disk that is absent; a broken link to other files is ignored."""
    part = flickr(tmp_path, "1.jpg")
    (tmp_path / "flickr30k/.#notes").symlink_to("someone@somewhere")
    assert fetch(tmp_path, [part]).returncode == 0
    (tmp_path / lost).unlink(missing_ok=True)
    (tmp_path / lost).symlink_to("nowhere")
    shutil.rmtree(tmp_path / "out")
    named = "flickr30k-images/3.jpg" if lost.startswith("disk") else "flickr30k-images"
    refused(fetch(tmp_path, [part]), f"flickr30k/{named}: a link to nothing; repair or remove it")
    check_absent(tmp_path)


def test_a_name_in_another_encoding_is_said_before_anything_is_copied(tmp_path):
    part = flickr(tmp_path, "1.jpg", "caf\udce9.jpg")
    refused(fetch(tmp_path, [part]), "flickr30k-images/caf\\xe9.jpg: the file name is not UTF-8; rename the file")
    assert not (tmp_path / "out/flickr30k-images").exists()
