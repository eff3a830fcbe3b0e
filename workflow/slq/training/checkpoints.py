"""Checkpoints of a run, written atomically; the newest two are kept, each with the identity of its run."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from slq.common.errors import SlqError
from slq.common.files import fsync_path, read_json, write_json
from slq.common.schema import require_schema
from slq.common.tensors import read_tensors, write_tensors
from slq.training.distributed import DistributedContext

SCHEMA = 2
MAX_CHECKPOINTS = 2  # the newest, and the one before as a fallback
METADATA_FILE = "checkpoint.json"
TENSORS_FILE = "tensors.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """State of a run after `step` steps: JSON-like metadata, and named tensors on the CPU."""

    step: int
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


class CheckpointManager:
    """The checkpoints of one run, written by its main process and read by all processes.

    A checkpoint is a folder `step-<n>` with a safetensors file and a checkpoint.json. The latter contains the identity
    of the run and the size of the safetensors file. A checkpoint is written under a temporary name, flushed to disk,
    and renamed, so that it is either complete or absent.
    """

    def __init__(self, folder: Path, key: str, distributed: DistributedContext) -> None:
        """Set the folder and the run of the checkpoints.

        Args:
            key: identity of the run; a checkpoint with another key belongs to another run and is ignored.
        """
        self.folder, self.key, self.distributed = folder, key, distributed

    def save(self, step: int, metadata: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Write a checkpoint and remove all but the newest MAX_CHECKPOINTS, in the main process only.

        If writing fails, earlier checkpoints remain untouched.

        Args:
            metadata: JSON-like values.
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
            shutil.rmtree(final, ignore_errors=True)  # a checkpoint of this step that could not be read
            temporary.rename(final)
            fsync_path(self.folder)
            for folder in self._newest_first()[MAX_CHECKPOINTS:]:
                shutil.rmtree(folder)
        except OSError as error:
            raise SlqError(
                f"{temporary}: cannot be written: {error}; checkpoints are stored under `scratch` (config.yaml)"
            ) from error

    def load_newest(self) -> Checkpoint | None:
        """Load the newest intact checkpoint of this run, or return None if there is none.

        Skipped checkpoints are reported on stderr.
        """
        for folder in self._newest_first():
            try:
                return self._read(folder)
            except (SlqError, OSError) as error:
                if self.distributed.is_main_process:
                    print(f"slq: checkpoint skipped, the previous one is used: {error}", file=sys.stderr, flush=True)
        return None

    def remove_all(self) -> None:
        """Remove all checkpoints; called after the declared outputs of the run are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        """List the folders of checkpoints, newest first."""
        return sorted(self.folder.glob("step-*"), reverse=True)

    def _read(self, folder: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            SlqError: the checkpoint has another schema or belongs to another run, or its tensors are truncated.
        """
        content = read_json(folder / METADATA_FILE)
        require_schema(folder / METADATA_FILE, content, SCHEMA, "the run starts again")
        if content["key"] != self.key:
            raise SlqError(
                f"{folder}: belongs to a run with another configuration ({content['key'][:16]}, expected "
                f"{self.key[:16]})"
            )
        actual_size = (folder / TENSORS_FILE).stat().st_size
        if actual_size != content["bytes"]:
            raise SlqError(f"{folder / TENSORS_FILE}: truncated, {actual_size} of {content['bytes']} bytes")
        tensors = read_tensors(folder / TENSORS_FILE, "the run starts again")
        return Checkpoint(content["step"], content["metadata"], tensors)
