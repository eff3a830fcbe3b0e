"""Shards: safetensors files with the cached tensors of some images, each of which can be read separately.

The tensor `name` of the image with index i in the shard has the key `<i>.<name>`. The tensor `sha256` (images, 32)
contains the hash of each image's tensors.
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

WRITE_HINT = "shards are stored under `scratch`, earlier ones are complete: free some space and run the same command"
REBUILD_HINT = "run snakemake --cores all --forcerun cache_features: intact shards are kept, this one is rebuilt"
CachedImage = dict[str, Tensor]  # the cached tensors of one image, by name


class CorruptShard(SlqError):
    """Error that a shard cannot be read, or that a hash in it does not match."""


class Shard:
    """A shard on disk. The file is opened for each read, so that the object can be passed to worker processes.

    Only the index, a few bytes per image, is kept in memory.
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
        """Read the cached data of one image; its hash is checked when the image is read for the first time.

        Raises:
            CorruptShard: the hash of the data does not match.
        """
        with self._open_file() as file:
            # A loaded tensor is a view of the whole file. Without a copy, a worker would send the whole file with it.
            cached_image = {name: file.get_tensor(f"{index}.{name}").clone() for name in self._names}
        if index not in self.verified:
            if hash_cached_image(cached_image) != bytes(self._hashes[index].tolist()):
                raise CorruptShard(f"{self.path}: image {index} differs from its hash; {REBUILD_HINT}")
            self.verified.add(index)
        return cached_image

    def verify(self) -> None:
        """Read every image and check its hash, even if it was read before.

        Raises:
            CorruptShard: the hash of an image does not match.
        """
        self.verified.clear()
        for number in range(len(self)):
            self.read(number)

    @contextmanager
    def _open_file(self) -> Iterator[Any]:
        """Yield the opened safetensors file; safetensors checks the file's length against its header.

        Raises:
            CorruptShard: the file cannot be opened, or a tensor cannot be read while it is open.
        """
        with wrap_safetensors_errors(self.path, REBUILD_HINT, CorruptShard), safe_open(self.path, "pt") as file:
            yield file


def hash_cached_image(cached_image: CachedImage) -> bytes:
    """Compute the SHA-256 of an image's tensors, sorted by name: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, values in sorted(cached_image.items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def write_shard(path: Path, cached_images: Sequence[CachedImage]) -> None:
    """Write a shard atomically: under a temporary name, flushed to disk, then renamed.

    Equal cached images give equal bytes. If writing fails, an existing file with the same name remains untouched.
    """
    tensors = {
        f"{index}.{name}": values.contiguous()
        for index, cached_image in enumerate(cached_images)
        for name, values in cached_image.items()
    }
    hashes = [torch.frombuffer(bytearray(hash_cached_image(one)), dtype=torch.uint8) for one in cached_images]
    tensors["sha256"] = torch.stack(hashes)
    write_tensors(path, tensors, advice=WRITE_HINT)
