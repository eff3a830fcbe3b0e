"""Tensors on a full disk, and damaged tensor files: one message with the file, and no partial file."""

import os

import pytest
import torch

from fulldisk import small_disk
from slq.common.errors import SlqError
from slq.common.files import exclusive_lock, write_bytes, write_json
from slq.common.tensors import read_tensors, write_tensors
from slq.evaluation.retention import AnswerCheckpoint
from slq.methods.adapter import save_adapter
from slq.models.backbone import save_part
from slq.training.checkpoints import CheckpointManager
from slq.training.distributed import DistributedContext

LARGE = {"queries": torch.zeros(2_000_000)}  # 8 MB
SMALL = {"queries": torch.ones(10)}
FULL = "No space left on device"


def test_an_adapter_on_a_full_disk_is_one_message_and_no_adapter(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        save_adapter("slq", SMALL, 0.07, disk / "run", {})
        with pytest.raises(
            SlqError, match=rf"run/adapter\.safetensors: cannot be written: .*{FULL}.*free disk space"
        ) as caught:
            save_adapter("slq", LARGE, 0.07, disk / "run", {})
        assert "\n" not in str(caught.value)
        assert [*(disk / "run").iterdir()] == [], "no weights of before with the description of now, or the reverse"


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        checkpoints = CheckpointManager(disk / "work", "this run", DistributedContext())
        checkpoints.save(1, {}, SMALL)
        expected = rf"step-00000002\.tmp/tensors\.safetensors: cannot be written: .*{FULL}"
        with pytest.raises(SlqError, match=expected):
            checkpoints.save(2, {}, LARGE)
        assert checkpoints.load_newest().step == 1


def test_a_model_on_a_full_disk_is_one_message(tiny_backbone, tmp_path):
    expected = pytest.raises(SlqError, match=f"snapshot: cannot be written: .*{FULL}")
    with small_disk(tmp_path / "disk") as disk, expected:
        save_part(tiny_backbone.model, disk / "snapshot")


def test_every_other_file_on_a_full_disk_is_one_message(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        answers = AnswerCheckpoint(disk / "answers.jsonl", ["a", "b"], 1)
        write_bytes(disk / "there", b"before")
        with open(disk / "rest", "wb", buffering=0) as file, pytest.raises(OSError, match=FULL):
            while True:
                file.write(bytes(4096))
        for write in (lambda path: write_bytes(path, bytes(9000)), lambda path: write_json(path, ["x" * 9000])):
            with pytest.raises(SlqError, match=f"there: cannot be written: {FULL}"):
                write(disk / "there")
        assert (disk / "there").read_bytes() == b"before"
        with answers, pytest.raises(SlqError, match=rf"answers\.jsonl: cannot be written: {FULL}"):
            answers.append_batch([{"answer": "x" * 9000}])


def test_tensors_are_written_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    write_tensors(tmp_path / "a.safetensors", SMALL)
    before = (tmp_path / "a.safetensors").read_bytes()

    def interrupted(*_):
        raise OSError(28, FULL)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(SlqError, match=r"a\.safetensors: cannot be written: .*; another disk"):
        write_tensors(tmp_path / "a.safetensors", LARGE, advice="another disk")
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("content", [b"", b"x" * 100, None, "cut"])
def test_a_file_that_holds_no_tensors_is_one_message(tmp_path, content):
    path = tmp_path / "a.safetensors"
    write_tensors(path, SMALL)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-4] if content == "cut" else content)
    with pytest.raises(SlqError, match=r"a\.safetensors: not a readable safetensors file .*; make it again"):
        read_tensors(path)


def test_a_lock_that_cannot_be_opened_or_held_is_one_message(tmp_path):
    (tmp_path / "owner").mkdir()
    with pytest.raises(SlqError, match="owner: cannot be written: Is a directory"), exclusive_lock(tmp_path / "owner"):
        pytest.fail("locked")
    (tmp_path / "file").write_text("")
    with pytest.raises(SlqError, match="file/owner: cannot be written"), exclusive_lock(tmp_path / "file" / "owner"):
        pytest.fail("locked")


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    with (
        pytest.raises(SlqError, match="owner: cannot be locked: No locks available"),
        exclusive_lock(tmp_path / "owner"),
    ):
        pytest.fail("locked")
