"""What a retriever was trained on, so that whoever loads it has the same bytes."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

from slq.files import read_json

FOLDER = "base"  # of a base that is on no hub, in the export


@dataclass(frozen=True)
class Base:
    """A backbone as an export names it.

    Attributes:
        model, revision: on the hub, and the commit; None of one that is on none.
        weights: sha256 of its safetensors, by file.
        embedding: name of the token embedding in the model without LM head.
        rows, width: of its matrix.
        scale: what it multiplies a row by, as Gemma's does.
    """

    model: str | None
    revision: str | None
    weights: dict[str, str]
    embedding: str
    rows: int
    width: int
    scale: float = 1.0

    @property
    def name(self) -> str:
        """What PEFT stores: the hub's name, or the folder in the export."""
        return self.model or FOLDER

    def told(self, folder: str | None, rows_needed: int) -> dict[str, Any]:
        """For retriever.json; `folder`: where the model is in the export, None of one that is on the hub."""
        at = {"model": self.model, "revision": self.revision} if folder is None else {"folder": folder}
        sizes = {"rows": self.rows, "rows_needed": rows_needed, "width": self.width}
        return {**at, **sizes, "weights": self.weights}


def read_base(snapshot: Path) -> Base:
    """From a snapshot's manifest and configuration; no weight is read."""
    manifest = read_json(snapshot / "manifest.json")
    weights = {name: sha256 for name, sha256 in manifest["files"].items() if name.endswith(".safetensors")}
    with torch.device("meta"):
        skeleton = AutoModel.from_config(AutoConfig.from_pretrained(snapshot, local_files_only=True))
    embedding = skeleton.get_input_embeddings()
    name = next(name for name, module in skeleton.named_modules() if module is embedding)
    model, revision = _address(manifest["source"])
    # A buffer, which has no value on this device; beside it stands the number.
    scale = float(getattr(embedding, "scalar_embed_scale", 1.0))
    rows, width = embedding.weight.shape
    return Base(model, revision, weights, name, rows, width, scale)


def _address(source: dict[str, Any]) -> tuple[str | None, str | None]:
    """Name and commit on the hub of what a snapshot was fetched from, if it was (slq.sources.fetch)."""
    for part in source.get("parts", []):
        kind, _, place = part["from"].partition(":")
        if kind == "model":
            return place.rpartition("@")[0], part["commit"]
    return None, None


def copy_snapshot(snapshot: Path, out: Path) -> None:
    """The files of a snapshot that its manifest names."""
    for name in read_json(snapshot / "manifest.json")["files"]:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(snapshot / name, target)
