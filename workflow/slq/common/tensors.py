"""Tensors in safetensors files: written completely or not at all, and read with errors that name the file."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from slq.common.errors import SlqError
from slq.common.files import fsync_path


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None, advice: str = "make room"
) -> None:
    """Write tensors atomically: under a temporary name beside `path`, flushed to the disk, then renamed.

    Args:
        metadata: texts in the file's header.
        advice: what to do if they cannot be written.

    Raises:
        SlqError: they cannot be written, e.g. because the disk is full; an existing file at `path` is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, metadata
            )
            fsync_path(temporary)
            os.replace(temporary, path)
            fsync_path(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise SlqError(f"{path}: cannot be written: {error}; {advice}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file.

    Raises:
        SlqError: it cannot be read, or is not a whole safetensors file.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise SlqError(f"{path}: cannot be read: {error}; make it again") from error
