"""A shard: what is kept of some images, in one safetensors file from which any one of them is read by itself.

What an image has per token stands in `rows.<name>`, one image's rows behind the other's; what it has once in
`facts.<name>`, a row for each image; `lengths` says how many rows are an image's, and `sha256` proves them.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from slq.errors import SlqError
from slq.files import flush

DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
DTYPES |= {"I64": torch.int64, "I32": torch.int32, "U8": torch.uint8}
REBUILD = "snakemake --cores all --forcerun store_prefixes: whole shards are kept, this one is made again"


@dataclass(frozen=True)
class Slab:
    """What is kept of one image: `rows` by name (its tokens, …), `facts` by name (…)."""

    rows: Mapping[str, Tensor]
    facts: Mapping[str, Tensor]

    @property
    def length(self) -> int:
        return len(next(iter(self.rows.values())))


class CorruptShard(SlqError):
    """A shard does not hold what was written."""


@dataclass(frozen=True)
class Place:
    """Where in the file a tensor's rows lie: its first byte, how many there are, the type, and the shape of one."""

    start: int
    count: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * torch.Size(self.shape).numel()


class Shard:
    """A shard on the disk; opened for each read, so that it can be handed to other processes.

    The index, a few bytes for each image, stays in memory; images do not.
    """

    def __init__(self, path: Path) -> None:
        """Raises CorruptShard if its index cannot be read."""
        self.path = path
        self.proved: set[int] = set()
        try:
            self._rows, self._facts, alone = self._read_index()
            self.lengths: list[int] = alone["lengths"].tolist()
            self._hashes = alone["sha256"]
            if any(place.count != sum(self.lengths) for place in self._rows.values()):
                raise ValueError("images have more or fewer rows together than there are")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise CorruptShard(f"{path}: not a readable shard ({error}); {REBUILD}") from error

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def _first(self) -> list[int]:
        """Of each image, its first row."""
        return [0, *accumulate(self.lengths)]

    def read(self, number: int) -> Slab:
        """An image's slab, proved by its hash when it is read for the first time.

        Raises:
            CorruptShard: the bytes are not those that were written.
        """
        with open(self.path, "rb") as file:
            rows = {name: self._rows_of(file.fileno(), place, number) for name, place in self._rows.items()}
        slab = Slab(rows, {name: values[number] for name, values in self._facts.items()})
        if number not in self.proved:
            if slab_hash(slab) != bytes(self._hashes[number].tolist()):
                raise CorruptShard(f"{self.path}: image {number} is not what was written; {REBUILD}")
            self.proved.add(number)
        return slab

    def prove(self) -> None:
        """Read every image, whether it was read before or not.

        Raises:
            CorruptShard: one of them is not what was written.
        """
        self.proved.clear()
        for number in range(len(self)):
            self.read(number)

    def _rows_of(self, file: int, place: Place, number: int) -> Tensor:
        count, start = self.lengths[number], place.start + self._first[number] * place.row_bytes
        buffer = bytearray(count * place.row_bytes)
        if os.preadv(file, [buffer], start) != len(buffer):
            raise CorruptShard(f"{self.path}: truncated within image {number}; {REBUILD}")
        return torch.frombuffer(buffer, dtype=place.dtype).view(count, *place.shape)

    def _read_index(self) -> tuple[dict[str, Place], dict[str, Tensor], dict[str, Tensor]]:
        """Where the rows are; the facts; and what is neither."""
        with open(self.path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(size))
            rows: dict[str, Place] = {}
            kinds: dict[str, dict[str, Tensor]] = {"facts": {}, "": {}}
            for name, entry in header.items():
                dtype, (start, end), (count, *shape) = DTYPES[entry["dtype"]], entry["data_offsets"], entry["shape"]
                kind, _, short = name.rpartition(".")
                if kind == "rows":
                    place = rows[short] = Place(8 + size + start, count, dtype, tuple(shape))
                    if end - start != count * place.row_bytes:
                        raise ValueError(f"{name} does not fill its place")
                    continue
                file.seek(8 + size + start)
                data = bytearray(file.read(end - start))
                if len(data) != end - start:
                    raise ValueError(f"{name} ends behind the file")
                kinds[kind][short] = torch.frombuffer(data, dtype=dtype).view(count, *shape)
        return rows, kinds["facts"], kinds[""]


def slab_hash(slab: Slab) -> bytes:
    """SHA-256 of a slab's rows and facts, their names, types and shapes, in order of name."""
    digest = hashlib.sha256()
    for name, values in [*sorted(slab.rows.items()), *sorted(slab.facts.items())]:
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def write_shard(path: Path, slabs: Sequence[Slab]) -> None:
    """Write a shard whole: under another name, flushed to the disk, renamed. The same slabs give the same bytes.

    Raises:
        SlqError: it cannot be written, e.g. because the disk is full; what was there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    tensors = {
        "lengths": torch.tensor([slab.length for slab in slabs]),
        "sha256": torch.stack([torch.frombuffer(bytearray(slab_hash(slab)), dtype=torch.uint8) for slab in slabs]),
        **{f"rows.{name}": torch.cat([slab.rows[name] for slab in slabs]) for name in slabs[0].rows},
        **{f"facts.{name}": torch.stack([slab.facts[name] for slab in slabs]) for name in slabs[0].facts},
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, temporary)
            flush(temporary)
            temporary.rename(path)
            flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise SlqError(
            f"{path}: cannot be written: {error}; stored prefixes lie under `scratch`, and the shards before this one "
            "are whole: make room, and the same command goes on"
        ) from error
