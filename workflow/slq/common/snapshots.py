"""Snapshots of backbones and other sources, which are complete if they have a manifest.json with their hash."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_file, read_json, write_json
from slq.common.schema import wrap_content_errors

SCHEMA = 1


def write_manifest(folder: Path, source: dict[str, Any], files: Mapping[str, str] | None = None) -> None:
    """Write manifest.json with the SHA-256 of every file, which marks the folder as complete.

    Args:
        folder: folder of the snapshot.
        source: origin of the files.
        files: hashes by path; if None, every file in the folder is hashed.
    """
    if files is None:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
        files = {str(path.relative_to(folder)): hash_file(path) for path in paths}
    identity_hash = hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in sorted(files.items())).encode())
    write_json(
        folder / "manifest.json",
        {"schema": SCHEMA, "source": source, "sha256": identity_hash.hexdigest(), "files": dict(files)},
    )


def snapshot_sha256(folder: Path) -> str:
    """Read the SHA-256 of a snapshot from its manifest."""
    with wrap_content_errors(folder / "manifest.json", "fetch or make the snapshot again"):
        return read_json(folder / "manifest.json")["sha256"]


def require_weights(folder: Path) -> None:
    """Check that a folder is a model snapshot with config.json and safetensors weights."""
    if not (folder / "config.json").is_file():
        raise SlqError(f"{folder}: expected a model snapshot, found no config.json; fetch the backbone again")
    if not any(folder.glob("*.safetensors")):
        raise SlqError(
            f"{folder}: contains config.json but no *.safetensors; add weights in this format, as no other is read"
        )
