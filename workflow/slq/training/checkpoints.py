"""Checkpoints of a run: whole or not there, the newest two, each with the run that it belongs to."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from slq.common.errors import SlqError
from slq.common.files import fsync_path, read_json, write_json
from slq.common.schema import require_schema
from slq.training.distributed import DistributedContext

SCHEMA = 2
MAX_CHECKPOINTS = 2  # the newest, and one to fall back to
METADATA_FILE = "checkpoint.json"
TENSORS_FILE = "tensors.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A run after so many steps: JSON-like facts and named tensors, on the CPU."""

    step: int
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


class CheckpointManager:
    """Checkpoints in a folder of the run's own, written by its main process and read by all.

    One is a folder `step-<n>` of a safetensors file and checkpoint.json, which says of which run it is and how large
    the other must be. It is written under another name, flushed to the disk, and renamed.
    """

    def __init__(self, folder: Path, key: str, distributed: DistributedContext) -> None:
        """`key`: identity of the run; a checkpoint with another one is of another run."""
        self.folder, self.key, self.distributed = folder, key, distributed

    def save(self, step: int, metadata: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Write a checkpoint and remove all but the newest; `metadata` are JSON-like.

        Raises:
            SlqError: it cannot be written, e.g. because the disk is full; the earlier ones are then untouched.
        """
        if not self.distributed.is_main_process:
            return
        final, temporary = self.folder / f"step-{step:08d}", self.folder / f".step-{step:08d}.tmp"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            write_tensors(temporary / TENSORS_FILE, tensors)
            size = (temporary / TENSORS_FILE).stat().st_size
            content = {"schema": SCHEMA, "key": self.key, "step": step, "metadata": metadata, "bytes": size}
            write_json(temporary / METADATA_FILE, content)
            fsync_path(temporary)
            shutil.rmtree(final, ignore_errors=True)  # one that could not be read
            temporary.rename(final)
            fsync_path(self.folder)
            for folder in self._newest_first()[MAX_CHECKPOINTS:]:
                shutil.rmtree(folder)
        except (OSError, SafetensorError) as error:
            raise SlqError(f"{temporary}: cannot be written: {error}; checkpoints lie under `scratch`") from error

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint of this run that is whole, or None; one that is passed over is named on stderr."""
        for folder in self._newest_first():
            try:
                return self._read(folder)
            except (SlqError, OSError, SafetensorError) as error:
                if self.distributed.is_main_process:
                    print(f"slq: checkpoint passed over, the one before is used: {error}", file=sys.stderr, flush=True)
        return None

    def remove_all(self) -> None:
        """Remove all of them, once the run is where it is declared."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)

    def _read(self, folder: Path) -> Checkpoint:
        content = read_json(folder / METADATA_FILE)
        require_schema(folder / METADATA_FILE, content, SCHEMA, "the run begins anew")
        if content["key"] != self.key:
            raise SlqError(f"{folder}: of another configuration ({content['key'][:16]})")
        actual_size = (folder / TENSORS_FILE).stat().st_size
        if actual_size != content["bytes"]:
            raise SlqError(f"{folder / TENSORS_FILE}: truncated, {actual_size} of {content['bytes']} bytes")
        return Checkpoint(content["step"], content["metadata"], load_file(folder / TENSORS_FILE))


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, flushed to the disk."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    fsync_path(path)
