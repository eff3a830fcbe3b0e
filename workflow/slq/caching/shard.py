"""A shard: the cached data of some images, in one safetensors file from which each image can be read by itself.

Data per token is in `per_token.<name>`, with the rows of all images concatenated; data per image is in
`per_image.<name>`, one row for each image; `lengths` gives each image's number of rows, and `sha256` its hash.
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
from slq.common.files import fsync_path, wrap_safetensors_errors

PER_TOKEN, PER_IMAGE = "per_token.", "per_image."  # prefixes of the names of tensors
REBUILD_HINT = "snakemake --cores all --forcerun cache_features: whole shards are kept, this one is made again"


@dataclass(frozen=True)
class CachedImage:
    """Cached data of one image.

    Attributes:
        per_token: tensors (tokens, …) by name, with one row per cached token.
        per_image: tensors (…) by name that the image has once.
        length: number of rows of each tensor in `per_token`.
    """

    per_token: Mapping[str, Tensor]
    per_image: Mapping[str, Tensor]

    @property
    def length(self) -> int:
        """Number of rows of each tensor in `per_token`."""
        return len(next(iter(self.per_token.values())))


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
            names = file.keys()
            self._per_token_names = [name for name in names if name.startswith(PER_TOKEN)]
            self._per_image = {
                name.removeprefix(PER_IMAGE): file.get_tensor(name) for name in names if name.startswith(PER_IMAGE)
            }
            self.lengths: list[int] = file.get_tensor("lengths").tolist()
            self._hashes = file.get_tensor("sha256")
            self._offsets = [0, *accumulate(self.lengths)]
            if any(file.get_slice(name).get_shape()[0] != self._offsets[-1] for name in self._per_token_names):
                raise ValueError("images have more or fewer rows together than there are")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.lengths)

    def read(self, index: int) -> CachedImage:
        """Read the cached data of one image, and check its hash when it is read for the first time.

        Raises:
            CorruptShard: the bytes are not those that were written.
        """
        token_range = slice(self._offsets[index], self._offsets[index + 1])
        with self._open_file() as file:
            # A slice is a view of the whole file, all of which would be sent to another process with it.
            per_token = {
                name.removeprefix(PER_TOKEN): file.get_slice(name)[token_range].clone()
                for name in self._per_token_names
            }
        cached_image = CachedImage(per_token, {name: values[index] for name, values in self._per_image.items()})
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
    """Compute the SHA-256 of an image's tensors: names, dtypes, shapes and bytes.

    Tensors per token come first, then those per image, each in order of name.
    """
    digest = hashlib.sha256()
    for name, values in [*sorted(cached_image.per_token.items()), *sorted(cached_image.per_image.items())]:
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def write_shard(path: Path, cached_images: Sequence[CachedImage]) -> None:
    """Write a shard atomically: under a temporary name, flushed to disk, then renamed.

    The same cached images give the same bytes.

    Raises:
        SlqError: it cannot be written, e.g. because the disk is full; an earlier file of this name is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    tensors = {
        "lengths": torch.tensor([cached_image.length for cached_image in cached_images]),
        "sha256": torch.stack(
            [
                torch.frombuffer(bytearray(hash_cached_image(cached_image)), dtype=torch.uint8)
                for cached_image in cached_images
            ]
        ),
        **{
            PER_TOKEN + name: torch.cat([cached_image.per_token[name] for cached_image in cached_images])
            for name in cached_images[0].per_token
        },
        **{
            PER_IMAGE + name: torch.stack([cached_image.per_image[name] for cached_image in cached_images])
            for name in cached_images[0].per_image
        },
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, temporary)
            fsync_path(temporary)
            temporary.rename(path)
            fsync_path(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise SlqError(
            f"{path}: cannot be written: {error}; cached features lie under `scratch`, and the shards before this one "
            "are whole: make room, and the same command goes on"
        ) from error
