"""What to keep, where config.yaml leaves it open (`prefix: auto`): by bytes, by the disk's speed, by what it saves."""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from slq.errors import SlqError, UnknownMethod
from slq.events import synchronize
from slq.files import flush
from slq.models.backbone import Backbone
from slq.models.prefix import Encoded, collate, run_prefix
from slq.prefixes.kinds import KINDS
from slq.prefixes.shard import Slab

GB = 1e9
PROBE = 256 * 2**20  # bytes written and read to time the disk
# What `auto` chooses among, by method: a prefix only where no gradient crosses it.
CHOICES = {"slq": ("vision", "kv"), "full_ft": ("vision",), "lora": ("vision",)}
ROOM = 0.95  # of what is free may be filled; a full disk stops others too


class Images(Protocol):
    """Messages of images, of which a few are tried."""

    backbone: Backbone

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Encoded: ...


@dataclass(frozen=True)
class Disk:
    """A folder's disk: bytes free, and bytes a second as they were measured there."""

    free: float
    write: float
    read: float


@dataclass(frozen=True)
class Option:
    """A way to treat the images of a training.

    Attributes:
        prefix: recompute, vision or kv.
        bytes: of the whole store.
        once, each: seconds for one image, to fill the store and whenever training asks for it.
    """

    prefix: str
    bytes: float
    once: float
    each: float

    def seconds(self, reads: float) -> float:
        """For one image, over all times that training asks for it."""
        return self.once + reads * self.each


@dataclass(frozen=True)
class Choice:
    """What is kept: `prefix`, its bytes of all images, and where it was left open, what decided."""

    prefix: str
    bytes: float
    because: Mapping[str, Any] = field(default_factory=dict)


def choose(settings: Mapping[str, Any], images: Images, shown: float, folder: Path) -> Choice:
    """What config.yaml names, or with `auto` what costs least time and has room.

    All that `auto` chooses among gives the same training, so it may depend on the machine. Reading is counted in full,
    as if no worker did it meanwhile. A prefix that no gradient may cross is there for SLQ alone.

    Args:
        images: all, of which one batch is tried, spread over them.
        shown: how often an epoch shows an image.
        folder: on the disk that would hold the store.
    """
    tried = [images[number] for number in spread(len(images), settings["batch_size"])]
    if settings["prefix"] != "auto":
        slabs = KINDS[settings["prefix"]].keep(images.backbone, tried)
        return Choice(settings["prefix"], bytes_of(slabs) * len(images))
    disk = measure_disk(folder)
    if settings["method"] not in CHOICES:
        raise UnknownMethod(settings["method"], "prefixes/choice.py", "what of an image no gradient crosses")
    names = CHOICES[settings["method"]]
    options = measure_options(images.backbone, tried, len(images), disk, names)
    reads = settings["epochs"] * shown
    best = cheapest(options, disk, reads)
    because = {"reads": reads, "disk": asdict(disk), "options": [asdict(option) for option in options]}
    return Choice(best.prefix, best.bytes, because)


def cheapest(options: tuple[Option, ...], disk: Disk, reads: float) -> Option:
    """The option that takes an image the least time over `reads` times, among those that the disk has room for."""
    return min((option for option in options if option.bytes <= ROOM * disk.free), key=lambda one: one.seconds(reads))


def require_room(folder: Path, missing: float, choice: Choice) -> None:
    """Raise SlqError, before anything is written, if a store's `missing` bytes do not fit on its disk."""
    free = shutil.disk_usage(folder).free
    if missing > ROOM * free:
        raise SlqError(
            f"{folder}: training.prefix {choice.prefix} needs {missing / GB:,.1f} GB more, and {free / GB:,.1f} GB "
            f"are free, of which at most {ROOM:.0%} are taken; set `scratch` to a larger disk, or training.prefix to "
            "recompute"
        )


def measure_options(
    backbone: Backbone, tried: list[Encoded], count: int, disk: Disk, names: Sequence[str]
) -> tuple[Option, ...]:
    """Time and bytes of each option, from a batch of images."""
    inputs = collate(backbone, tried)
    whole, _ = timed(lambda: run_prefix(backbone, inputs))
    found = [Option("recompute", 0.0, 0.0, whole / len(tried))]
    for name in names:
        seconds, slabs = timed(lambda name=name: KINDS[name].keep(backbone, tried))  # type: ignore[misc]
        size = bytes_of(slabs)
        left = max(whole - seconds, 0.0) if name == "vision" else 0.0  # of the prefix, once features are there
        once = seconds / len(tried) + size / disk.write
        found.append(Option(name, size * count, once, size / disk.read + left / len(tried)))
    return tuple(found)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a second call, the first being for allocations and caches, and what it returns."""
    work()
    synchronize()
    start = time.perf_counter()
    result = work()
    synchronize()
    return time.perf_counter() - start, result


def bytes_of(slabs: Sequence[Slab]) -> float:
    """Of one slab, on average."""
    each = (values for slab in slabs for part in (slab.rows, slab.facts) for values in part.values())
    return sum(values.numel() * values.itemsize for values in each) / len(slabs)


def spread(count: int, wanted: int) -> list[int]:
    """Numbers of so many of `count` things, or of all, evenly spread."""
    taken = min(count, wanted)
    return [number * count // taken for number in range(taken)]


def measure_disk(folder: Path, size: int = PROBE) -> Disk:
    """Write a file, see it on the disk, take it out of the page cache, and read it back.

    Raises:
        SlqError: there is no room even for this.
    """
    probe = folder / "probe"
    block = torch.randint(256, (size // 16,), dtype=torch.uint8).numpy().data
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            start = time.perf_counter()
            with open(probe, "wb") as file:
                for _ in range(16):
                    file.write(block)
            flush(probe)
            write = size / (time.perf_counter() - start)
            read = size / _read_seconds(probe)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise SlqError(f"{probe}: cannot be written: {error.strerror}; stored prefixes need far more room") from error
    return Disk(shutil.disk_usage(folder).free, write, read)


def _read_seconds(path: Path) -> float:
    """Of reading a file from its disk."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start = time.perf_counter()
        while file.read(2**24):
            pass
        return time.perf_counter() - start
