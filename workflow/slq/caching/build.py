"""Building of a feature cache shard by shard, resuming after the shards of an earlier attempt."""

import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from slq.caching.backends import CACHE_BACKENDS
from slq.caching.feature_cache import (
    feature_cache_key,
    read_image_message,
    read_training_inputs,
    shard_path,
    write_cache_manifest,
)
from slq.caching.shard import CorruptShard, Shard, write_shard
from slq.common.errors import SlqError
from slq.common.events import EventLog
from slq.common.files import exclusive_lock, read_json, write_json
from slq.datasets.splits import Split
from slq.models.backbone import Backbone, pick_device, set_attention_implementation
from slq.models.prefix import TokenizedMessage, count_tokens

BUILD_TIME_FILE = "build_time.json"
GB = 1e9
MAX_DISK_SHARE = 0.95  # fraction of the free space that a cache may fill; a full disk would stop other jobs too
ImageKey = tuple[str, int]  # name of a split, index of an image in the split
ShardSpec = tuple[Path, list[ImageKey]]  # path of a shard, and its images


class ImageMessageDataset(Dataset):
    """Dataset of the images of several splits as messages, indexed by ImageKey."""

    def __init__(self, backbone: Backbone, splits: dict[str, Split], instruction: str) -> None:
        self.backbone, self.splits, self.instruction = backbone, splits, instruction

    def __getitem__(self, key: ImageKey) -> TokenizedMessage:
        """Read one image as a message."""
        split_name, image_index = key
        return read_image_message(self.backbone, self.splits[split_name], image_index, self.instruction)


def build_feature_cache(
    settings: dict[str, Any],
    backbone_folder: Path,
    data: Path,
    train_dataset: str,
    work: Path,
    out: Path,
    events_file: Path,
    code_fingerprint: str,
) -> None:
    """Build the cache of the train and val images that `training.image_cache` selects; write its manifest last.

    Args:
        settings: settings of the rule: preset, backbone, method, family, dtype, prompt, image_cache, attention,
            batch_size (number of images per shard and forward pass), num_workers.
        work: scratch folder of the shards, which are written to a subfolder named after the cache's identity.
        out: path of the manifest.
        code_fingerprint: fingerprint of the code that computes the shards.

    Raises:
        SlqError: the disk is full, or too small for the cache. Shards that are already written are kept, and the same
            call resumes.
    """
    splits, inputs = read_training_inputs(backbone_folder, data, train_dataset)
    image_cache, folder = settings["image_cache"], work / feature_cache_key(settings, inputs, code_fingerprint)[:16]
    with exclusive_lock(folder / "owner"):
        run_labels = {part: settings[part] for part in ("preset", "backbone", "method")}
        events = EventLog.for_next_attempt(folder / f"{settings['method']}.jsonl", **run_labels)
        with events.span("init"):
            backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
            set_attention_implementation(backbone, settings["attention"])
        images = ImageMessageDataset(backbone, splits, settings["prompt"]["image"])
        shards = plan_shards(splits, folder, settings["batch_size"])
        with events.span("feature_cache", image_cache=image_cache):
            write_missing_shards(shards, images, image_cache, settings["num_workers"], events)
        shard_counts = Counter(path.parent.name for path, _ in shards)
        write_cache_manifest(out, folder, image_cache, shard_counts, settings["batch_size"], read_build_seconds(folder))
        events.publish(events_file)


def plan_shards(splits: dict[str, Split], folder: Path, shard_size: int) -> list[ShardSpec]:
    """List the shards of all splits, split by split; the last shard of a split may have fewer images."""
    images_by_split = {name: [(name, index) for index in range(len(split.items))] for name, split in splits.items()}
    return [
        (shard_path(folder, name, number), images[start : start + shard_size])
        for name, images in images_by_split.items()
        for number, start in enumerate(range(0, len(images), shard_size))
    ]


def write_missing_shards(
    shards: list[ShardSpec], images: ImageMessageDataset, image_cache: str, num_workers: int, events: EventLog
) -> None:
    """Compute and write missing or corrupt shards, in order."""
    missing = [number for number, (path, _) in enumerate(shards) if not is_intact(path)]
    if not missing:
        return
    events.write("resumed", step=missing[0])
    folder = shards[0][0].parents[1]
    earlier_seconds, started = read_build_seconds(folder), time.perf_counter()
    backend = CACHE_BACKENDS[image_cache]
    batches = [shards[number][1] for number in missing]
    keys, sample_size = [key for _, shard_keys in shards for key in shard_keys], len(shards[0][1])
    sample = keys[:: max(len(keys) // sample_size, 1)][:sample_size]  # evenly spaced over all images
    require_disk_space(folder, image_cache, sum(map(len, batches)) * mean_image_bytes(image_cache, images, sample))
    loader = DataLoader(images, batch_sampler=batches, num_workers=num_workers, collate_fn=list)
    for number, batch in zip(missing, tqdm(loader, desc="feature cache", disable=None, file=sys.stderr), strict=True):
        write_shard(shards[number][0], backend.cache_images(images.backbone, batch))
        events.write("step", step=number + 1, token_counts={image_cache: count_tokens(batch)})
        write_json(folder / BUILD_TIME_FILE, {"seconds": earlier_seconds + time.perf_counter() - started})


def mean_image_bytes(image_cache: str, images: ImageMessageDataset, sample: list[ImageKey]) -> float:
    """Compute the mean number of cached bytes per image over a sample of images."""
    cached_images = CACHE_BACKENDS[image_cache].cache_images(images.backbone, [images[key] for key in sample])
    return sum(values.nbytes for one in cached_images for values in one.values()) / len(cached_images)


def require_disk_space(folder: Path, image_cache: str, needed_bytes: float) -> None:
    """Check that the remaining `needed_bytes` of a cache need at most MAX_DISK_SHARE of the disk's free space."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > MAX_DISK_SHARE * free:
        raise SlqError(
            f"{folder}: training.image_cache {image_cache} needs {needed_bytes / GB:,.1f} GB more, but only "
            f"{free / GB:,.1f} GB are free, of which at most {MAX_DISK_SHARE:.0%} may be used; set `scratch` to a "
            "larger disk, or training.image_cache to none"
        )


def read_build_seconds(folder: Path) -> float:
    """Read the time in seconds that building a folder's shards has taken so far, summed over all jobs."""
    file = folder / BUILD_TIME_FILE
    return float(read_json(file)["seconds"]) if file.exists() else 0.0


def is_intact(path: Path) -> bool:
    """Return whether a shard exists and its hashes match; a corrupt shard is reported on stderr."""
    if not path.exists():
        return False
    try:
        Shard(path).verify()
    except CorruptShard as error:
        print(f"slq: rebuilding a corrupt shard: {error}", file=sys.stderr, flush=True)
        return False
    return True
