"""A shard of the feature cache: images stored separately, deterministic bytes, and detection of every wrong byte."""

from pathlib import Path

import pytest
import torch

from slq.caching.shard import CorruptShard, Shard, write_shard
from slq.common.errors import SlqError


def slabs(count, rows=3, seed=0):
    """Tensors of `count` images, with `rows` to `rows + 2` tokens each, in several dtypes."""
    draw = torch.Generator().manual_seed(seed)
    return [
        {
            "key_values": torch.randn(rows + number % 3, 2, 4, generator=draw).to(torch.bfloat16),
            "position_ids": torch.arange(rows + number % 3).int()[:, None],
            "grid": torch.tensor([[1, number, 4]]),
        }
        for number in range(count)
    ]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_shard_gives_each_image_back_as_it_was(tmp_path):
    written = slabs(7)
    write_shard(tmp_path / "shard", written)
    shard = Shard(tmp_path / "shard")
    assert len(shard) == 7
    assert all(same(shard.read(number), written[number]) for number in (6, 0, 3, 3))
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]


def test_the_same_images_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_shard(tmp_path / name, slabs(4))
    write_shard(tmp_path / "c", slabs(4, seed=1))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_every_byte_that_flips_is_found(tmp_path):
    """The byte may be in values, in hashes or in the header."""
    path = tmp_path / "shard"
    write_shard(path, slabs(3))
    good = path.read_bytes()
    for place in range(8, len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        with pytest.raises(CorruptShard, match=r"shard: .*forcerun cache_features"):
            Shard(path).verify()
    path.write_bytes(good)
    Shard(path).verify()


@pytest.mark.parametrize("size", [0, 4, 200, -1])
def test_a_truncated_shard_is_named(tmp_path, size):
    path = tmp_path / "shard"
    write_shard(path, slabs(3))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptShard, match="shard: "):
        Shard(path).verify()


def test_an_image_is_proved_when_it_is_read_for_the_first_time(tmp_path):
    path = tmp_path / "shard"
    written = slabs(3)
    write_shard(path, written)
    shard = Shard(path)
    shard.read(0)
    data = bytearray(path.read_bytes())
    values = written[2]["key_values"].view(torch.uint8).numpy().tobytes()
    data[data.index(values)] ^= 1
    path.write_bytes(data)
    assert same(shard.read(0), written[0]) and same(shard.read(1), written[1])
    with pytest.raises(CorruptShard, match=r"shard: image 2 differs from its hash"):
        shard.read(2)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    write_shard(tmp_path / "shard", slabs(2))
    before = (tmp_path / "shard").read_bytes()
    monkeypatch.setattr("slq.common.tensors.save_file", full)
    with pytest.raises(
        SlqError, match=r"shard: cannot be written: .*No space.*free some space and run the same command"
    ):
        write_shard(tmp_path / "shard", slabs(3))
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]
    assert (tmp_path / "shard").read_bytes() == before
