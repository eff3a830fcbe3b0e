"""Checkpoints of a run: whole or not there, the newest two, each with the run that it belongs to."""

import os
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slq.errors import SlqError
from slq.files import read_json, write_json
from slq.training.processes import Processes

SCHEMA = 1
KEPT = 2  # the newest, and one to fall back to
CONTENT = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A run after so many steps: JSON-like facts and named tensors, on the CPU."""

    step: int
    facts: dict[str, Any]
    tensors: dict[str, Tensor]


class Checkpoints:
    """Checkpoints in a folder of the run's own, written and read by all its processes together.

    One is a folder `step-<n>`: a safetensors file of each process that has something to keep, and checkpoint.json,
    which names them with their sizes. It is written under another name, flushed to the disk, and renamed.
    """

    def __init__(self, folder: Path, key: str, processes: Processes) -> None:
        """`key`: identity of the run; a checkpoint with another one is of another run."""
        self.folder, self.key, self.processes = folder, key, processes

    def save(self, step: int, facts: dict[str, Any], tensors: dict[str, Tensor], sharded: Collection[str] = ()) -> None:
        """Write a checkpoint and remove all but the newest.

        Args:
            facts: JSON-like, the same in every process.
            tensors: what this process holds.
            sharded: names of the tensors of which each process holds other rows; the main process keeps the rest.

        Raises:
            SlqError: it cannot be written, e.g. because the disk is full; the earlier ones are then untouched.
        """
        final, temporary = self.folder / f"step-{step:08d}", self.folder / f".step-{step:08d}.tmp"
        main = self.processes.main
        own = {name: tensor for name, tensor in tensors.items() if main or name in sharded}
        try:
            if main:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
            self.processes.wait()
            if own:
                write_tensors(temporary / f"part-{self.processes.rank}.safetensors", own)
            self.processes.wait()
            if main:
                self._name(temporary, {"step": step, "facts": facts, "sharded": sorted(sharded)})
                shutil.rmtree(final, ignore_errors=True)  # one that could not be read, or this step would not be new
                temporary.rename(final)
                flush(self.folder)
                self._prune()
        except (OSError, SafetensorError) as error:
            raise SlqError(f"{temporary}: cannot be written: {error}; checkpoints lie under `scratch`") from error

    def load(self) -> Checkpoint | None:
        """The newest checkpoint of this run that is whole, or None; one that is passed over is named on stderr."""
        for folder in self._newest_first():
            try:
                return self._read(folder)
            except (SlqError, OSError, SafetensorError) as error:
                if self.processes.main:
                    print(f"slq: checkpoint passed over, the one before is used: {error}", file=sys.stderr, flush=True)
        return None

    def discard(self) -> None:
        """Remove all of them, once the run is where it is declared."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)

    def _name(self, folder: Path, content: dict[str, Any]) -> None:
        parts = {path.name: path.stat().st_size for path in sorted(folder.glob("part-*"))}
        write_json(folder / CONTENT, {"schema": SCHEMA, "key": self.key, "parts": parts, **content})
        flush(folder)

    def _prune(self) -> None:
        for folder in self._newest_first()[KEPT:]:
            shutil.rmtree(folder)

    def _read(self, folder: Path) -> Checkpoint:
        content = read_json(folder / CONTENT)
        if content.get("schema") != SCHEMA or content["key"] != self.key:
            raise SlqError(f"{folder}: of another configuration ({content.get('key', 'unnamed')[:16]})")
        for name, size in content["parts"].items():
            found = (folder / name).stat().st_size
            if found != size:
                raise SlqError(f"{folder / name}: truncated, {found} of {size} bytes")
        parts = [read_tensors(folder / name) for name in sorted(content["parts"], key=rank_of)]
        whole = {name: torch.cat([part[name] for part in parts]) for name in content["sharded"]}
        return Checkpoint(content["step"], content["facts"], parts[0] | whole)


def rank_of(part: str) -> int:
    """The process that wrote `part-<rank>.safetensors`."""
    return int(part.removeprefix("part-").removesuffix(".safetensors"))


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, flushed to the disk."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    flush(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)


def flush(path: Path) -> None:
    """See a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
