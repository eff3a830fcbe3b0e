"""Pre-trained mini backbones and encoders, which are shipped with the repository or trained from scratch.

The folder `pretrained/` next to this module has a snapshot of each model, written by `make pretrain`. Its `index.json`
records for each model a key (the hash of its settings, data and recipe), the SHA-256 of its weights, and the
fingerprint of the code that trained it, which `make test-all` compares with the present code.

This module does not import torch, so that a shipped snapshot can be copied quickly.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_file, hash_json, read_json
from slq.common.snapshots import write_manifest

# Increment by hand if an edit of pre-training is meant to change the weights. Keep it if the weights stay the same.
RECIPE = 1
INDEX, WEIGHTS = "index.json", "model.safetensors"


def make_snapshot(
    name: str, settings: dict[str, Any], data: Path, shipped: Path | None, out: Path, train: Callable[[], None]
) -> None:
    """Make the snapshot of a pre-trained model, and write its manifest last.

    The shipped snapshot is copied if it was made from the same settings, data and recipe; otherwise the model is
    trained from scratch. A message states which.

    Args:
        name: name of the backbone or encoder.
        settings: pre-training settings; the model is trained on the training split of their `dataset`.
        data: folder of the prepared datasets.
        shipped: folder of the shipped snapshots; None to always train from scratch.
        out: folder of the snapshot.
        train: function that trains the model from scratch and saves it in `out`.

    Raises:
        SlqError: the shipped weights do not match their hash in the index.
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
    """Hash the inputs of a model's pre-training: settings with their seed, data, and the recipe."""
    split = hash_file(data / settings["dataset"] / "train" / "manifest.json")  # has the hashes of the split's files
    return hash_json({"settings": dict(settings), "data": split, "recipe": RECIPE})


def _require_unchanged(weights: Path, sha256: str) -> None:
    """Check that shipped weights match their hash in the index."""
    if not weights.is_file() or hash_file(weights) != sha256:
        raise SlqError(
            f"{weights}: does not match its hash in {INDEX}; restore the file (git checkout), "
            "or train from scratch: snakemake ... --config pretrained=none"
        )
