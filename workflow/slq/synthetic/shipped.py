"""Mini backbones and encoders, pre-trained: as they come with the repository, or from scratch.

`pretrained/` beside this module has a snapshot of each, made once. Its `index.json` says of each the key of what it was
made from, the SHA-256 of its weights, and the fingerprint of the code that made it, which `make test-all` compares.
`make pretrain` makes them. This module imports no torch: to copy a snapshot takes no time.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_file, hash_json, read_json
from slq.common.snapshots import write_manifest

# Raised by hand when pre-training is meant to give other weights; an edit that gives the same bytes leaves it.
RECIPE = 1
INDEX, WEIGHTS = "index.json", "model.safetensors"


def make_snapshot(
    name: str, settings: dict[str, Any], data: Path, shipped: Path | None, out: Path, train: Callable[[], None]
) -> None:
    """Make the snapshot of a pre-trained model, manifest last: the shipped one if it was made from the same; say which.

    Args:
        name: the backbone or encoder.
        settings: of pre-training, with `dataset`, whose training split the model learns from.
        data: the folder of the prepared datasets.
        shipped: the folder of the snapshots that come with the repository; None to train from scratch in any case.
        out: the folder of the snapshot.
        train: trains the model from scratch, and saves it in `out`.

    Raises:
        SlqError: the shipped snapshot has been changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    index = read_json(shipped / INDEX) if shipped else {}
    if shipped and name in index and index[name]["key"] == snapshot_key(settings, data):
        _require_unchanged(shipped / name / WEIGHTS, index[name]["sha256"])
        shutil.copytree(shipped / name, out, dirs_exist_ok=True)
        print(f"slq: {name} comes with the repository, pre-trained from the same settings and data", file=sys.stderr)
    else:
        reason = "settings, data or recipe are not those of the shipped one" if shipped else "pretrained is none"
        print(f"slq: {name} is pre-trained from scratch, as {reason}", file=sys.stderr, flush=True)
        train()
    write_manifest(out, settings)


def snapshot_key(settings: Mapping[str, Any], data: Path) -> str:
    """Return the hash of what a model is pre-trained from: settings with their seed, data, and the recipe."""
    split = hash_file(data / settings["dataset"] / "train" / "manifest.json")  # which holds the hashes of its files
    return hash_json({"settings": dict(settings), "data": split, "recipe": RECIPE})


def _require_unchanged(weights: Path, sha256: str) -> None:
    """Check that shipped weights are those that the index describes.

    Raises:
        SlqError: they are not.
    """
    if not weights.is_file() or hash_file(weights) != sha256:
        raise SlqError(
            f"{weights}: not the file that {INDEX} describes; restore it (git checkout), "
            "or train from scratch: snakemake ... --config pretrained=none"
        )
