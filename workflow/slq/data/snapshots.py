"""Backbone snapshots: fetched from a hub or adopted from a folder, proved complete, identified by a manifest."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.files import read_json, sha256, write_json

SCHEMA = 1
WANTED = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]  # never pickles, never code


def write_manifest(folder: Path, source: dict[str, Any]) -> None:
    """Write manifest.json with the sha256 of every file: its presence means that the snapshot is complete."""
    files = {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and ".cache" not in path.parts
    }
    identity = hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in files.items()).encode())
    write_json(
        folder / "manifest.json",
        {"schema": SCHEMA, "source": source, "sha256": identity.hexdigest(), "files": files},
    )


def identity(folder: Path) -> str:
    """sha256 of a snapshot, from its manifest."""
    return read_json(folder / "manifest.json")["sha256"]


def require_weights(folder: Path) -> None:
    """Raise SlqError unless the folder looks like a snapshot with safetensors weights."""
    if not (folder / "config.json").is_file():
        raise SlqError(f"{folder}: expected a model snapshot, found no config.json; fetch the backbone again")
    if not any(folder.glob("*.safetensors")):
        raise SlqError(
            f"{folder}: holds config.json but no *.safetensors; put the weights beside it (other formats are not read)"
        )


def fetch_snapshot(settings: dict[str, Any], out: Path) -> None:
    """Bring a backbone's snapshot into `out`: from `hub` (repository, revision) or from a `local` folder.

    Raises:
        SlqError: the hub cannot be reached or has no such revision; the folder is no snapshot with weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    if "local" in settings:
        folder = Path(settings["local"])
        if not folder.is_dir():
            raise SlqError(f"{folder}: no such folder; config says that backbone {settings['backbone']} lies there")
        require_weights(folder)
        names = {path.name for pattern in WANTED for path in folder.glob(pattern)}
        for name in names:
            shutil.copy2(folder / name, out / name)
        source = {"local": str(folder)}
    else:
        names, source = download(settings["hub"]["repository"], settings["hub"]["revision"], out)
    remove_others(out, names)
    require_weights(out)
    write_manifest(out, source)


def remove_others(out: Path, names: set[str]) -> None:
    """Remove what an earlier snapshot left here: an old model.safetensors would be read before new shards, silently."""
    for path in out.iterdir():
        if path.is_file() and path.name not in names:
            path.unlink()


def download(repository: str, revision: str, out: Path) -> tuple[set[str], dict[str, str]]:
    """Download a snapshot's wanted files and return their names, and where exactly they came from."""
    from huggingface_hub import HfApi, errors, snapshot_download

    # A refused connection is an error of the HTTP library below, httpx or httpx2 by the client's version.
    unreachable: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        info = HfApi().model_info(repository, revision=revision)
        snapshot_download(repository, revision=info.sha, allow_patterns=WANTED, local_dir=out)
    except (unreachable, errors.LocalEntryNotFoundError, OSError) as error:
        raise SlqError(f"{repository}@{revision}: not fetched ({error}); check the network, or log in") from error
    names = {sibling.rfilename for sibling in info.siblings or []}
    return names, {"repository": repository, "revision": revision, "commit": str(info.sha)}
