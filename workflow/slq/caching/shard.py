"""A shard: what is kept of some images, in one safetensors file from which any one of them is read by itself.

What an image has per token stands in `rows.<name>`, one image's rows behind the other's; what it has once in
`facts.<name>`, a row for each image; `lengths` says how many rows are an image's, and `sha256` proves them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slq.common.errors import SlqError
from slq.common.files import flush

ROWS, FACTS = "rows.", "facts."  # before the names of tensors
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


class Shard:
    """A shard on the disk; opened for each read, so that it can be handed to other processes.

    The index, a few bytes for each image, stays in memory; images do not.
    """

    def __init__(self, path: Path) -> None:
        """Raises CorruptShard if its index cannot be read."""
        self.path = path
        self.proved: set[int] = set()
        with self._opened() as file:
            names = file.keys()
            self._rows = [name for name in names if name.startswith(ROWS)]
            self._facts = {name.removeprefix(FACTS): file.get_tensor(name) for name in names if name.startswith(FACTS)}
            self.lengths: list[int] = file.get_tensor("lengths").tolist()
            self._hashes = file.get_tensor("sha256")
            self._first = [0, *accumulate(self.lengths)]
            if any(file.get_slice(name).get_shape()[0] != self._first[-1] for name in self._rows):
                raise ValueError("images have more or fewer rows together than there are")

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, number: int) -> Slab:
        """An image's slab, proved by its hash when it is read for the first time.

        Raises:
            CorruptShard: the bytes are not those that were written.
        """
        place = slice(self._first[number], self._first[number + 1])
        with self._opened() as file:
            # A slice is a view of the whole file, which would go along to another process.
            rows = {name.removeprefix(ROWS): file.get_slice(name)[place].clone() for name in self._rows}
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

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The file as safetensors reads it, which compares its length with its header's."""
        try:
            with safe_open(self.path, "pt") as file:
                yield file
        except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
            raise CorruptShard(f"{self.path}: not a readable shard ({error}); {REBUILD}") from error


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
        **{ROWS + name: torch.cat([slab.rows[name] for slab in slabs]) for name in slabs[0].rows},
        **{FACTS + name: torch.stack([slab.facts[name] for slab in slabs]) for name in slabs[0].facts},
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
