"""A store: the shards of a split's images, and the manifest that says where they are."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.caching.backends import KINDS
from slq.caching.shard import Shard
from slq.common.errors import SlqError
from slq.common.files import digest, read_json, write_json
from slq.datasets.prepared import Split
from slq.models.backbone import Backbone
from slq.models.prefix import Encoded, Message, encode, message

SCHEMA = 1


@dataclass(frozen=True)
class Store:
    """What is kept of a split's images, by their number in it.

    each: images of a shard, but perhaps fewer of the last
    """

    prefix: str
    shards: Sequence[Shard]
    each: int

    def message(self, backbone: Backbone, number: int, instruction: str) -> Message:
        """An image's message, as it goes on from what is kept.

        Raises:
            CorruptShard: that is not what was written.
        """
        slab = self.shards[number // self.each].read(number % self.each)
        return KINDS[self.prefix].message(backbone, slab, instruction)


def image_message(backbone: Backbone, split: Split, number: int, instruction: str, store: Store | None) -> Message:
    """An image of a split as a message: as a store has it, else from its file."""
    if store:
        return store.message(backbone, number, instruction)
    return read_image(backbone, split, number, instruction)


def read_image(backbone: Backbone, split: Split, number: int, instruction: str) -> Encoded:
    """An image of a split as a message, from its file."""
    pixels = backbone.family.process(split.open(split.items[number]["image"]))
    return encode(backbone, message(pixels, instruction))


def shard_path(folder: Path, split: str, number: int) -> Path:
    """Where a shard of a split lies."""
    return folder / split / f"shard-{number:05d}.safetensors"


def store_key(settings: dict[str, Any], inputs: dict[str, str], code: str) -> str:
    """Identity of a store: backbone, data, preprocessing, prompt, dtype, and what is kept; nothing of a run's learning.

    Args:
        inputs: identity of the backbone and of each split.
        code: of the family's adapter and of the prefix.
    """
    prefix = settings["prefix"]
    prompt = settings["prompt"]["image"] if prefix == "kv" else ""
    asked = {key: settings[key] for key in ("family", "dtype", "attention", "batch_size")}
    return digest({"schema": SCHEMA, "prefix": prefix, "prompt": prompt, "inputs": inputs, "code": code, **asked})


def write_store(path: Path, folder: Path, prefix: str, shards: Mapping[str, int], each: int, seconds: float) -> None:
    """Write the manifest of a store whose shards lie in `folder`.

    Args:
        shards: how many of each split.
        each: images of a shard.
        seconds: that filling it took.
    """
    write_json(
        path,
        {
            "schema": SCHEMA,
            "prefix": prefix,
            "folder": os.path.relpath(folder.resolve(), path.resolve().parent),
            "each": each,
            "shards": shards,
            "seconds": seconds,
        },
    )


def read_store(path: Path) -> dict[str, Any]:
    """A manifest.

    Raises:
        SlqError: it is missing, or of another schema.
    """
    content: dict[str, Any] = read_json(path)
    if content.get("schema") != SCHEMA:
        raise SlqError(f"{path}: schema is {content.get('schema')!r}; expected {SCHEMA}: delete it and make it again")
    return content


def open_stores(path: Path | None) -> dict[str, Store]:
    """The stores of a manifest by split; none without a manifest.

    Raises:
        SlqError: the manifest is missing, or of another schema.
        CorruptShard: a shard is missing, or its index cannot be read.
    """
    if path is None:
        return {}
    content = read_store(path)
    folder = path.parent / content["folder"]
    return {
        split: Store(
            content["prefix"],
            [Shard(shard_path(folder, split, number)) for number in range(count)],
            content["each"],
        )
        for split, count in content["shards"].items()
    }
