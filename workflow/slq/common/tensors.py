"""Tensors in safetensors files: written completely or not at all, and read with errors that name the file."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from slq.common.errors import SlqError
from slq.common.files import fsync_path, one_line


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
    temporary = path.with_name(f".{path.name}.tmp")  # one name: what a kill leaves is written over
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


def read_tensors(path: Path, advice: str = "make it again") -> dict[str, Tensor]:
    """Read the tensors of a file.

    Raises:
        SlqError: it cannot be read, or is not a whole safetensors file.
    """
    with wrap_safetensors_errors(path, advice):
        return load_file(path)


@contextmanager
def wrap_safetensors_errors(path: Path, advice: str, error_class: type[SlqError] = SlqError) -> Iterator[None]:
    """Raise an error that names the file for what safetensors raises if its tensors are not those that are read."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise error_class(f"{path}: not a readable safetensors file ({one_line(error)}); {advice}") from error
