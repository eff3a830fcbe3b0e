"""Tensors in safetensors files, which are written completely or not at all, and read with errors that name the file."""

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
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None, advice: str = "free disk space"
) -> None:
    """Write tensors atomically: under a temporary name next to `path`, flushed to the disk, then renamed.

    If they cannot be written, for example because the disk is full, an existing file at `path` is unchanged.

    Args:
        path: the file.
        tensors: tensors by name.
        metadata: texts for the header of the file.
        advice: advice for the message if the tensors cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # a fixed name, so that the file of a killed process is overwritten
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
    """Read all tensors of a safetensors file onto the CPU."""
    with wrap_safetensors_errors(path, advice):
        return load_file(path)


@contextmanager
def wrap_safetensors_errors(path: Path, advice: str, error_class: type[SlqError] = SlqError) -> Iterator[None]:
    """Convert errors of an unreadable safetensors file, or of missing tensors, to an error that names the file."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise error_class(f"{path}: not a readable safetensors file ({one_line(error)}); {advice}") from error
