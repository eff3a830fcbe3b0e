"""Fills a store: shard after shard, from where an earlier attempt was stopped."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from slq.caching.backends import KINDS
from slq.caching.shard import CorruptShard, Shard, write_shard
from slq.caching.store import read_image, shard_path, store_key, write_store
from slq.common.errors import SlqError
from slq.common.events import Events, describe_device
from slq.common.files import alone, read_json, write_json
from slq.common.snapshots import identity
from slq.datasets.prepared import Split, read_split
from slq.models.backbone import Backbone, attend, pick_device
from slq.models.prefix import Encoded, message_work

FILLED = "filled.json"
GB = 1e9
ROOM = 0.95  # of what is free may be filled; a full disk stops others too
SPLITS = ("train", "val")  # those that training reads again and again; never a test split
Shelf = tuple[Path, range]  # a shard that is to be there: its file, and the numbers of its images


class Images(Dataset):
    """The images of the splits as messages, those of one split behind the other's."""

    def __init__(self, backbone: Backbone, splits: dict[str, Split], instruction: str) -> None:
        self.backbone, self.instruction = backbone, instruction
        self.items = [(split, number) for split in splits.values() for number in range(len(split.items))]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Encoded:
        split, place = self.items[number]
        return read_image(self.backbone, split, place, self.instruction)


def store_prefixes(
    settings: dict[str, Any],
    backbone_folder: Path,
    data: Path,
    train_set: str,
    work: Path,
    out: Path,
    events_file: Path,
    code: str = "",
) -> None:
    """Keep what `training.prefix` says of the images that training reads, and write the manifest last.

    Args:
        settings: of the rule: preset, backbone, method, family, dtype, prompt, prefix, attention, batch_size (images of
            a shard, which run together), workers.
        work: scratch folder where shards gather, in a folder keyed by what they hold.
        code: identity of what makes them.

    Raises:
        SlqError: the disk cannot hold the store, or is full; what is there stays, and the same call goes on.
    """
    splits = {part: read_split(data, train_set, part) for part in SPLITS}
    inputs = {"backbone": identity(backbone_folder)} | {part: split.sha256 for part, split in splits.items()}
    prefix, folder = settings["prefix"], work / store_key(settings, inputs, code)[:16]
    with alone(folder / "owner"):
        of_run = {part: settings[part] for part in ("preset", "backbone", "method")}
        events = Events.gathered(
            folder / f"{settings['method']}.jsonl", **of_run, device=describe_device(pick_device())
        )
        with events.span("init"):
            backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
            attend(backbone, settings["attention"])
        images = Images(backbone, splits, settings["prompt"]["image"])
        shelves = {part: shelves_of(splits, part, folder, settings["batch_size"]) for part in SPLITS}
        with events.span("prefixes", prefix=prefix):
            fill([shelf for part in SPLITS for shelf in shelves[part]], images, prefix, settings["workers"], events)
        counts = {part: len(of_split) for part, of_split in shelves.items()}
        write_store(out, folder, prefix, counts, settings["batch_size"], filled_seconds(folder))
        events.publish(events_file)


def shelves_of(splits: dict[str, Split], part: str, folder: Path, each: int) -> list[Shelf]:
    """The shards of a split."""
    before = sum(len(split.items) for split in list(splits.values())[: SPLITS.index(part)])
    end = before + len(splits[part].items)
    starts = range(before, end, each)
    return [
        (shard_path(folder, part, number), range(start, min(start + each, end))) for number, start in enumerate(starts)
    ]


def fill(shelves: list[Shelf], images: Images, prefix: str, workers: int, events: Events) -> None:
    """Write the shards that are not there, or not whole, in order."""
    missing = [number for number, (path, _) in enumerate(shelves) if not is_whole(path)]
    if not missing:
        return
    events.write("resumed", step=missing[0])
    folder = shelves[0][0].parents[1]
    seconds, clock = filled_seconds(folder), time.perf_counter()
    kind = KINDS[prefix]
    batches = [list(shelves[number][1]) for number in missing]
    require_room(folder, prefix, sum(map(len, batches)) * image_bytes(prefix, images, len(shelves[0][1])))
    loader = DataLoader(images, batch_sampler=batches, num_workers=workers, collate_fn=list)
    for number, batch in zip(missing, tqdm(loader, desc="prefixes", disable=None, file=sys.stderr), strict=True):
        write_shard(shelves[number][0], kind.keep(images.backbone, batch))
        events.write("step", step=number + 1, work={kind.leaves: message_work(batch)})
        write_json(folder / FILLED, {"seconds": seconds + time.perf_counter() - clock})


def image_bytes(prefix: str, images: Images, count: int) -> float:
    """Bytes kept of one image, on average over `count` images that are spread evenly over all."""
    tried = [images[number] for number in range(0, len(images), max(len(images) // count, 1))][:count]
    slabs = KINDS[prefix].keep(images.backbone, tried)
    each = (values for slab in slabs for part in (slab.rows, slab.facts) for values in part.values())
    return sum(values.numel() * values.itemsize for values in each) / len(slabs)


def require_room(folder: Path, prefix: str, missing: float) -> None:
    """Raise SlqError, before anything is written, if a store's `missing` bytes do not fit on its disk."""
    free = shutil.disk_usage(folder).free
    if missing > ROOM * free:
        raise SlqError(
            f"{folder}: training.prefix {prefix} needs {missing / GB:,.1f} GB more, and {free / GB:,.1f} GB "
            f"are free, of which at most {ROOM:.0%} are taken; set `scratch` to a larger disk, or training.prefix to "
            "recompute"
        )


def filled_seconds(folder: Path) -> float:
    """What filling a folder of shards took so far, whichever job did it; what cannot be read is said, and counts 0."""
    if not (folder / FILLED).exists():
        return 0.0
    try:
        return float(read_json(folder / FILLED)["seconds"])
    except (SlqError, TypeError, KeyError, ValueError) as error:
        print(f"slq: hours: {folder / FILLED}: earlier seconds are not known: {error}", file=sys.stderr, flush=True)
        return 0.0


def is_whole(path: Path) -> bool:
    """Whether a shard is there and holds what was written; one that does not is named on stderr."""
    if not path.exists():
        return False
    try:
        Shard(path).prove()
    except CorruptShard as error:
        print(f"slq: made again: {error}", file=sys.stderr, flush=True)
        return False
    return True
