"""A shard: the cached tensors of some images, in one safetensors file from which each image can be read by itself.

The tensor `name` of the image with index i is `<i>.<name>`; `sha256` has a row for each image, its hash.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from slq.common.errors import SlqError
from slq.common.tensors import wrap_safetensors_errors, write_tensors

WRITE_HINT = "they lie under `scratch`, shards before this one are whole: make room, and the same command goes on"
REBUILD_HINT = "snakemake --cores all --forcerun cache_features: whole shards are kept, this one is made again"
CachedImage = dict[str, Tensor]  # by name, what is cached of one image


class CorruptShard(SlqError):
    """Error that a shard does not hold what was written."""


class Shard:
    """A shard on disk, opened for each read, so that it can be passed to other processes.

    The index, a few bytes for each image, stays in memory; images do not.
    """

    def __init__(self, path: Path) -> None:
        """Read the index of a shard.

        Raises:
            CorruptShard: the index cannot be read.
        """
        self.path = path
        self.verified: set[int] = set()
        with self._open_file() as file:
            keys, self._hashes = file.keys(), file.get_tensor("sha256")
            self._names = {key.partition(".")[2] for key in keys if key != "sha256"}

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._hashes)

    def read(self, index: int) -> CachedImage:
        """Read the cached data of one image, and check its hash when it is read for the first time.

        Raises:
            CorruptShard: the bytes are not those that were written.
        """
        with self._open_file() as file:
            # A tensor is a view of the whole file, all of which would be sent to another process with it.
            cached_image = {name: file.get_tensor(f"{index}.{name}").clone() for name in self._names}
        if index not in self.verified:
            if hash_cached_image(cached_image) != bytes(self._hashes[index].tolist()):
                raise CorruptShard(f"{self.path}: image {index} is not what was written; {REBUILD_HINT}")
            self.verified.add(index)
        return cached_image

    def verify(self) -> None:
        """Read every image and check its hash, even if it was read before.

        Raises:
            CorruptShard: one of them is not what was written.
        """
        self.verified.clear()
        for number in range(len(self)):
            self.read(number)

    @contextmanager
    def _open_file(self) -> Iterator[Any]:
        """Yield the file opened by safetensors, which compares the file's length with that in its header.

        Raises:
            CorruptShard: the file, or what is read while it is open, is not readable.
        """
        with wrap_safetensors_errors(self.path, REBUILD_HINT, CorruptShard), safe_open(self.path, "pt") as file:
            yield file


def hash_cached_image(cached_image: CachedImage) -> bytes:
    """Compute the SHA-256 of an image's tensors in order of name: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, values in sorted(cached_image.items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def write_shard(path: Path, cached_images: Sequence[CachedImage]) -> None:
    """Write a shard atomically: under a temporary name, flushed to disk, then renamed.

    The same cached images give the same bytes.

    Raises:
        SlqError: it cannot be written, e.g. because the disk is full; an earlier file of this name is untouched.
    """
    tensors = {
        f"{index}.{name}": values.contiguous()
        for index, cached_image in enumerate(cached_images)
        for name, values in cached_image.items()
    }
    hashes = [torch.frombuffer(bytearray(hash_cached_image(one)), dtype=torch.uint8) for one in cached_images]
    tensors["sha256"] = torch.stack(hashes)
    write_tensors(path, tensors, advice=WRITE_HINT)
