"""Feature caches: the shards with the cached data of a split's images, and the manifest that locates the shards."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.caching.backends import CACHE_BACKENDS
from slq.caching.shard import Shard
from slq.common.files import hash_json, read_json, write_json
from slq.common.schema import require_schema
from slq.common.snapshots import snapshot_sha256
from slq.datasets.splits import Split, read_split
from slq.models.backbone import Backbone
from slq.models.prefix import Message, TokenizedMessage, message_parts, tokenize_message

SCHEMA = 3


@dataclass(frozen=True)
class FeatureCache:
    """The cached data of a split's images, by image index.

    Attributes:
        image_cache: kind of the cached data, a key of CACHE_BACKENDS.
        shards: shards in the order of the images.
        shard_size: number of images per shard; the last shard may have fewer.
    """

    image_cache: str
    shards: Sequence[Shard]
    shard_size: int

    def load_message(self, backbone: Backbone, image_index: int, instruction: str) -> Message:
        """Load an image's message from the cache.

        Raises:
            CorruptShard: the hash of the cached data does not match.
        """
        cached_image = self.shards[image_index // self.shard_size].read(image_index % self.shard_size)
        return CACHE_BACKENDS[self.image_cache].to_message(backbone, cached_image, instruction)


def load_image_message(
    backbone: Backbone, split: Split, image_index: int, instruction: str, feature_cache: FeatureCache | None
) -> Message:
    """Load an image of a split as a message, from a feature cache if there is one, else from the image file."""
    if feature_cache:
        return feature_cache.load_message(backbone, image_index, instruction)
    return read_image_message(backbone, split, image_index, instruction)


def read_image_message(backbone: Backbone, split: Split, image_index: int, instruction: str) -> TokenizedMessage:
    """Read an image of a split from the image file, as a message."""
    image = backbone.family.process(split.open(split.items[image_index]["image"]))
    return tokenize_message(backbone, message_parts(image, instruction))


def read_training_inputs(
    backbone_folder: Path, data: Path, train_dataset: str
) -> tuple[dict[str, Split], dict[str, str]]:
    """Read the splits that training may use (`train` and `val`), and the SHA-256 of each split and of the backbone."""
    splits = {part: read_split(data, train_dataset, part) for part in ("train", "val")}
    hashes = {part: split.sha256 for part, split in splits.items()}
    return splits, {"backbone": snapshot_sha256(backbone_folder), **hashes}


def shard_path(folder: Path, split_name: str, shard_index: int) -> Path:
    """Return the path of a shard of a split."""
    return folder / split_name / f"shard-{shard_index:05d}.safetensors"


def feature_cache_key(settings: dict[str, Any], inputs: dict[str, str], code_fingerprint: str) -> str:
    """Compute the identity of a cache, a hash of backbone, data, preprocessing, prompt, dtype, and kind of cache.

    The identity does not depend on training settings, so that runs of different methods share a cache.

    Args:
        inputs: hashes of the backbone and of each split.
        code_fingerprint: fingerprint of the code of the family's adapter and of the prefix.
    """
    used = {key: settings[key] for key in ("image_cache", "family", "dtype", "attention", "batch_size")}
    prompt = settings["prompt"]["image"] if settings["image_cache"] == "kv" else ""
    return hash_json({"schema": SCHEMA, "prompt": prompt, "inputs": inputs, "code": code_fingerprint, **used})


def write_cache_manifest(
    path: Path, folder: Path, image_cache: str, shard_counts: Mapping[str, int], shard_size: int, seconds: float
) -> None:
    """Write the manifest of a feature cache whose shards are in `folder`.

    Args:
        shard_counts: number of shards of each split.
        shard_size: number of images per shard.
        seconds: time in seconds that building the cache took.
    """
    write_json(
        path,
        {
            "schema": SCHEMA,
            "image_cache": image_cache,
            "folder": os.path.relpath(folder.resolve(), path.resolve().parent),
            "shard_size": shard_size,
            "shards": shard_counts,
            "seconds": seconds,
        },
    )


def read_cache_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a feature cache, and check its schema version."""
    content: dict[str, Any] = read_json(path)
    require_schema(path, content, SCHEMA, "delete it and build the cache again")
    return content


def open_feature_caches(path: Path | None) -> dict[str, FeatureCache]:
    """Open the feature caches of a manifest, by split; without a manifest, return an empty dict.

    Raises:
        CorruptShard: a shard is missing, or its index cannot be read.
    """
    if path is None:
        return {}
    content = read_cache_manifest(path)
    folder = path.parent / content["folder"]
    return {
        split: FeatureCache(
            content["image_cache"],
            [Shard(shard_path(folder, split, number)) for number in range(count)],
            content["shard_size"],
        )
        for split, count in content["shards"].items()
    }
