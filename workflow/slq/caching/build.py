"""Building of a feature cache: one shard after another, continuing where an earlier attempt stopped."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from slq.caching.backends import CACHE_BACKENDS
from slq.caching.feature_cache import feature_cache_key, read_image_message, shard_path, write_cache_manifest
from slq.caching.shard import CorruptShard, Shard, write_shard
from slq.common.errors import SlqError
from slq.common.events import EventLog, describe_device
from slq.common.files import exclusive_lock, read_json, write_json
from slq.common.snapshots import snapshot_sha256
from slq.datasets.splits import Split, read_split
from slq.models.backbone import Backbone, pick_device, set_attention_implementation
from slq.models.prefix import TokenizedMessage, count_tokens

BUILD_TIME_FILE = "build_time.json"
GB = 1e9
MAX_DISK_SHARE = 0.95  # of the free space may be filled; a full disk stops other jobs too
CACHED_SPLITS = ("train", "val")  # those that training reads again and again; never a test split
ShardSpec = tuple[Path, range]  # a shard to be written: its file, and the indices of its images


class ImageMessageDataset(Dataset):
    """The images of several splits as messages, one split after another."""

    def __init__(self, backbone: Backbone, splits: dict[str, Split], instruction: str) -> None:
        """List the images of all splits."""
        self.backbone, self.instruction = backbone, instruction
        self.items = [(split, number) for split in splits.values() for number in range(len(split.items))]

    def __len__(self) -> int:
        """Return the number of images of all splits."""
        return len(self.items)

    def __getitem__(self, index: int) -> TokenizedMessage:
        """Read the message of one image."""
        split, image_index = self.items[index]
        return read_image_message(self.backbone, split, image_index, self.instruction)


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
    """Build the cache of training images that `training.image_cache` asks for, and write its manifest last.

    Args:
        settings: settings of the rule: preset, backbone, method, family, dtype, prompt, image_cache, attention,
            batch_size (images of a shard, which run together), num_workers.
        work: scratch folder where shards are collected, in a subfolder keyed by their content.
        out: file of the manifest.
        code_fingerprint: identity of the code that computes the shards.

    Raises:
        SlqError: the disk is full or cannot hold the cache; the shards written so far stay, and the same call
            continues.
    """
    splits = {part: read_split(data, train_dataset, part) for part in CACHED_SPLITS}
    inputs = {"backbone": snapshot_sha256(backbone_folder)} | {part: split.sha256 for part, split in splits.items()}
    image_cache, folder = settings["image_cache"], work / feature_cache_key(settings, inputs, code_fingerprint)[:16]
    with exclusive_lock(folder / "owner"):
        run_labels = {part: settings[part] for part in ("preset", "backbone", "method")}
        events = EventLog.for_next_attempt(
            folder / f"{settings['method']}.jsonl", **run_labels, device=describe_device(pick_device())
        )
        with events.span("init"):
            backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
            set_attention_implementation(backbone, settings["attention"])
        images = ImageMessageDataset(backbone, splits, settings["prompt"]["image"])
        shards_by_split = {part: plan_shards(splits, part, folder, settings["batch_size"]) for part in CACHED_SPLITS}
        with events.span("feature_cache", image_cache=image_cache):
            write_missing_shards(
                [shard for part in CACHED_SPLITS for shard in shards_by_split[part]],
                images,
                image_cache,
                settings["num_workers"],
                events,
            )
        shard_counts = {part: len(of_split) for part, of_split in shards_by_split.items()}
        write_cache_manifest(out, folder, image_cache, shard_counts, settings["batch_size"], read_build_seconds(folder))
        events.publish(events_file)


def plan_shards(splits: dict[str, Split], split_name: str, folder: Path, shard_size: int) -> list[ShardSpec]:
    """List the shards of a split: the file of each, and the indices of its images in an ImageMessageDataset."""
    first = sum(len(split.items) for split in list(splits.values())[: CACHED_SPLITS.index(split_name)])
    end = first + len(splits[split_name].items)
    starts = range(first, end, shard_size)
    return [
        (shard_path(folder, split_name, number), range(start, min(start + shard_size, end)))
        for number, start in enumerate(starts)
    ]


def write_missing_shards(
    shards: list[ShardSpec], images: ImageMessageDataset, image_cache: str, num_workers: int, events: EventLog
) -> None:
    """Write the shards that are missing or corrupt, in order.

    Raises:
        SlqError: as `require_disk_space` and `write_shard`.
    """
    missing = [number for number, (path, _) in enumerate(shards) if not is_intact(path)]
    if not missing:
        return
    events.write("resumed", step=missing[0])
    folder = shards[0][0].parents[1]
    earlier_seconds, started = read_build_seconds(folder), time.perf_counter()
    backend = CACHE_BACKENDS[image_cache]
    batches = [list(shards[number][1]) for number in missing]
    require_disk_space(
        folder, image_cache, sum(map(len, batches)) * mean_image_bytes(image_cache, images, len(shards[0][1]))
    )
    loader = DataLoader(images, batch_sampler=batches, num_workers=num_workers, collate_fn=list)
    for number, batch in zip(missing, tqdm(loader, desc="feature cache", disable=None, file=sys.stderr), strict=True):
        write_shard(shards[number][0], backend.cache_images(images.backbone, batch))
        events.write("step", step=number + 1, token_counts={backend.cache_level: count_tokens(batch)})
        write_json(folder / BUILD_TIME_FILE, {"seconds": earlier_seconds + time.perf_counter() - started})


def mean_image_bytes(image_cache: str, images: ImageMessageDataset, sample_size: int) -> float:
    """Return the mean number of cached bytes per image, of `sample_size` images that are spread evenly over all."""
    sampled = [images[number] for number in range(0, len(images), max(len(images) // sample_size, 1))][:sample_size]
    cached_images = CACHE_BACKENDS[image_cache].cache_images(images.backbone, sampled)
    tensors = (
        values
        for cached_image in cached_images
        for part in (cached_image.per_token, cached_image.per_image)
        for values in part.values()
    )
    return sum(values.numel() * values.itemsize for values in tensors) / len(cached_images)


def require_disk_space(folder: Path, image_cache: str, needed_bytes: float) -> None:
    """Check that `needed_bytes` more bytes of a cache fit on its disk, before anything is written.

    Raises:
        SlqError: they need more than MAX_DISK_SHARE of the free space.
    """
    free = shutil.disk_usage(folder).free
    if needed_bytes > MAX_DISK_SHARE * free:
        raise SlqError(
            f"{folder}: training.image_cache {image_cache} needs {needed_bytes / GB:,.1f} GB more, and "
            f"{free / GB:,.1f} GB are free, of which at most {MAX_DISK_SHARE:.0%} are taken; set `scratch` to a larger "
            "disk, or training.image_cache to none"
        )


def read_build_seconds(folder: Path) -> float:
    """Read how many seconds the building of a folder's shards has taken so far, over all jobs.

    A file that cannot be read is reported on stderr, and counts as 0.
    """
    if not (folder / BUILD_TIME_FILE).exists():
        return 0.0
    try:
        return float(read_json(folder / BUILD_TIME_FILE)["seconds"])
    except (SlqError, TypeError, KeyError, ValueError) as error:
        print(
            f"slq: hours: {folder / BUILD_TIME_FILE}: earlier seconds are not known: {error}",
            file=sys.stderr,
            flush=True,
        )
        return 0.0


def is_intact(path: Path) -> bool:
    """Return whether a shard exists and holds what was written; a corrupt one is named on stderr."""
    if not path.exists():
        return False
    try:
        Shard(path).verify()
    except CorruptShard as error:
        print(f"slq: made again: {error}", file=sys.stderr, flush=True)
        return False
    return True
