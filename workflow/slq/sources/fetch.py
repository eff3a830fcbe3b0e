"""A source fetched: its parts brought and proved, then listed in a manifest that is written last."""

import os
import sys
from pathlib import Path
from typing import Any

from slq.data.snapshots import require_weights, write_manifest
from slq.errors import SlqError
from slq.files import digest, owned, read_json, sha256, write_json
from slq.sources.download import forget
from slq.sources.kinds import Found, Part, address, bring
from slq.sources.locks import Lock

STATE = ".fetch"  # in a source's folder: what is on its way, and which parts are done


def fetch_source(settings: dict[str, Any], out: Path, locks: Path, offline: bool) -> None:
    """Bring a source into `out`, whole and proved, or say what is wrong; its manifest.json is written last.

    Args:
        settings: `name`; `parts`, each with one of `model`, `dataset`, `archive`, `supplied` (docs/data.md), the last
            with what the folder `holds`; `weights`: whether it must be a snapshot that a model can be loaded from.
        locks: folder of the locks, a file for each source; a part without an entry there gets one.
        offline: ask no server: a part that is not here is an error.

    Raises:
        SlqError: another process is at it; a part cannot be had, or is not what the table or the lock says.
    """
    with owned(out / STATE / "owner", f"{out}: another process is fetching it; wait for it, or stop it"):
        lock = Lock(locks / f"{settings['name']}.json")
        done = [_part(part, out, lock, offline) for part in settings["parts"]]
        files = {name: digest for found in done for name, digest in found.files.items()}
        _remove_others(out, set(files))
        if settings["weights"]:
            require_weights(out)
        os.sync()  # once for all files, before the manifest says that they are there
        parts = [{"from": address(part)} | found.entry for part, found in zip(settings["parts"], done, strict=True)]
        write_manifest(out, {"name": settings["name"], "parts": parts}, files)


def _part(part: Part, out: Path, lock: Lock, offline: bool) -> Found:
    """A part that is here, or is brought; nothing that is here whole is fetched again."""
    receipt = out / STATE / f"{digest(part)[:16]}.json"
    where = address(part)
    missing = _missing(receipt, out, lock[where])
    if missing and offline and "supplied" not in part:
        raise SlqError(f"{where}: {missing}, in {out}, and this call is offline; fetch once with the network")
    if not missing:
        found = Found(**read_json(receipt))
    else:
        print(f"{where}: {missing}", file=sys.stderr)
        (out / "manifest.json").unlink(missing_ok=True)
        receipt.unlink(missing_ok=True)
        found = bring(part, out, out / STATE, lock)
    if found.entry:
        lock.add(where, found.entry)
    if found.entry or "holds" in part:
        write_json(receipt, {"entry": found.entry, "files": found.files})
    if found.spent:
        forget(found.spent)
    return found


def _missing(receipt: Path, out: Path, locked: dict[str, Any] | None) -> str:
    """Why a part must be brought; empty if an earlier call did, and all of it is still there, byte for byte."""
    if not receipt.exists():
        return "not fetched yet"
    done = read_json(receipt)
    if locked not in (None, done["entry"]):
        return "fetched, but the lock names another version"
    for name, expected in done["files"].items():
        path = out / name
        if not path.is_file() or sha256(path) != expected:
            path.unlink(missing_ok=True)
            return f"{name} is missing or damaged"
    return ""


def _remove_others(out: Path, names: set[str]) -> None:
    """Remove what an earlier source left here: an old model.safetensors would be read before new shards, silently."""
    for path in out.rglob("*"):
        name = path.relative_to(out)
        ours = name.parts[0] in (STATE, ".cache", "manifest.json")
        if path.is_file() and not ours and name.as_posix() not in names:
            path.unlink()
