"""A source fetched: its parts brought, proved by the table and the lock, and listed in a manifest, written last.

A part is a repository of the hub, an archive by URL, or a person's folder. What it was when it was first fetched stands
in the source's lock, a JSON file that a person commits, with an entry for each address: a repository's `commit` and the
`sha256` of its files' hashes, an archive's `bytes` and `sha256`.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError, UnsoundError
from slq.common.files import alone, digest, read_json, sha256, write_json
from slq.common.snapshots import require_weights, write_manifest
from slq.sources.archive import check_room, unpack
from slq.sources.download import download, forget, size
from slq.sources.hub import Repository
from slq.sources.patterns import SNAPSHOT, check_count, supplied_files

Part = dict[str, Any]
Entry = dict[str, Any]  # of the lock; empty for what is not locked
STATE = ".fetch"  # in a source's folder: what is on its way, and which parts are done


def offline() -> bool:
    """Whether the environment says that no server is to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


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
    with alone(out / STATE / "owner", f"{out}: another process is fetching it; wait for it, or stop it"):
        lock = locks / f"{settings['name']}.json"
        done = [_Fetch(part, out, lock).done(offline) for part in settings["parts"]]
        files = {name: hashed for _, hashes in done for name, hashed in hashes.items()}
        _remove_others(out, set(files))
        if settings["weights"]:
            require_weights(out)
        os.sync()  # once for all files, before the manifest says that they are there
        parts = [{"from": address(part)} | entry for part, (entry, _) in zip(settings["parts"], done, strict=True)]
        write_manifest(out, {"name": settings["name"], "parts": parts}, files)


def address(part: Part) -> str:
    """What names a part, in messages and in the lock."""
    for kind in ("model", "dataset"):
        if kind in part:
            return f"{kind}:{part[kind]}@{part['revision']}"
    return str(part.get("archive") or part["supplied"])


@dataclass(frozen=True)
class _Fetch:
    """One part, on its way into the folder `out`: what brings it returns its entry in the lock, and the SHA-256 of its
    files by path.
    """

    part: Part
    out: Path
    lock: Path

    def done(self, offline: bool) -> tuple[Entry, dict[str, str]]:
        """Find it here, or bring it; nothing that is here whole is fetched again."""
        receipt = self.out / STATE / f"{digest(self.part)[:16]}.json"
        missing = self._missing(receipt)
        if missing and offline and "supplied" not in self.part:
            where = f"{address(self.part)}: {missing}, in {self.out}"
            raise SlqError(f"{where}, and this call is offline; fetch once with the network")
        if not missing:
            found = read_json(receipt)
            entry, files = found["entry"], found["files"]
        else:
            print(f"{address(self.part)}: {missing}", file=sys.stderr)
            (self.out / "manifest.json").unlink(missing_ok=True)
            receipt.unlink(missing_ok=True)
            entry, files = self._bring()
        if entry and self.locked is None:
            write_json(self.lock, self._entries() | {address(self.part): entry})
        if entry or "holds" in self.part:
            write_json(receipt, {"entry": entry, "files": files})
        if "archive" in self.part:
            forget(self._archive_file())  # of no use once it is noted that its files are there
        return entry, files

    @property
    def locked(self) -> Entry | None:
        """Its entry in the lock, if it has one."""
        return self._entries().get(address(self.part))

    def _entries(self) -> dict[str, Entry]:
        return read_json(self.lock) if self.lock.exists() else {}

    def _check_lock(self, found: Entry) -> Entry:
        """Return an entry, unless another one is locked."""
        if self.locked not in (None, found):
            raise UnsoundError(
                f"{address(self.part)}: has changed since it was locked: expected {_told(self.locked)}, found "
                f"{_told(found)}; if the change is meant, delete its entry in {self.lock}"
            )
        return found

    def _missing(self, receipt: Path) -> str:
        """Why it must be brought; empty if an earlier call did, and all of it is still there, byte for byte."""
        if not receipt.exists():
            return "not fetched yet"
        done = read_json(receipt)
        if self.locked not in (None, done["entry"]):
            return "fetched, but the lock names another version"
        for name, expected in done["files"].items():
            path = self.out / name
            if not path.is_file() or sha256(path) != expected:
                path.unlink(missing_ok=True)
                return f"{name} is missing or damaged"
        return ""

    def _bring(self) -> tuple[Entry, dict[str, str]]:
        if "archive" in self.part:
            return self._archive()
        return self._supplied() if "supplied" in self.part else self._repository()

    def _repository(self) -> tuple[Entry, dict[str, str]]:
        kind = "model" if "model" in self.part else "dataset"
        repository = Repository(kind, self.part[kind])
        commit = self.locked["commit"] if self.locked else repository.commit(self.part["revision"])
        files = repository.bring(commit, self.part.get("files", SNAPSHOT), self.part.get("count"), self.out)
        return self._check_lock({"commit": commit, "sha256": digest(files)}), files

    def _archive_file(self) -> Path:
        return self.out / STATE / self.part["archive"].rpartition("/")[2]

    def _archive(self) -> tuple[Entry, dict[str, str]]:
        file, where = self._archive_file(), address(self.part)
        expected = self.part.get("bytes") or (self.locked or {}).get("bytes", 0)
        check_room(self.out / STATE, max(expected - size(file), 0), f"for {where}")
        download(where, file)
        entry = {"bytes": size(file), "sha256": sha256(file)}
        try:
            _check_archive(self.part, file)
            self._check_lock(entry)
            return entry, unpack(file, self.out, self.part["files"], self.part.get("count"), where)
        except UnsoundError:
            forget(file)
            raise

    def _supplied(self) -> tuple[Entry, dict[str, str]]:
        """Copied, so that nothing later depends on the folder; not locked, as one person's is another's subset."""
        folder = Path(self.part["supplied"])
        if not folder.is_dir():
            how = self.part.get("obtain", "config.yaml says that the files lie there")
            raise SlqError(f"{folder}: no such folder; {how}")
        patterns = self.part.get("files", SNAPSHOT)
        names = supplied_files(folder, patterns)
        check_count(str(folder), names, patterns, self.part.get("count"))
        for name in names:
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copy2(folder / name, self.out / name)
            except OSError as error:
                raise SlqError(f"{folder / name}: cannot be copied to {self.out / name}: {error.strerror}") from error
        return {}, {name: sha256(self.out / name) for name in names}


def _told(entry: Entry | None) -> str:
    return ", ".join(f"{key} {str(value)[:16]}" for key, value in sorted((entry or {}).items()))


def _check_archive(part: Part, file: Path) -> None:
    """By the table: bytes and hash, where it has them."""
    again = "it was removed, fetch again; if that does not help, the server has another file"
    if size(file) != part.get("bytes", size(file)):
        raise UnsoundError(f"{address(part)}: has {size(file):,} bytes, expected {part['bytes']:,}; {again}")
    if "hash" in part:
        algorithm, _, expected = part["hash"].partition(":")
        found = sha256(file, algorithm)
        if found != expected:
            raise UnsoundError(f"{address(part)}: its {algorithm} is {found}, expected {expected}; {again}")


def _remove_others(out: Path, names: set[str]) -> None:
    """Remove what an earlier source left here: an old model.safetensors would be read before new shards, silently."""
    for path in out.rglob("*"):
        name = path.relative_to(out)
        ours = name.parts[0] in (STATE, ".cache", "manifest.json")
        if path.is_file() and not ours and name.as_posix() not in names:
            path.unlink()
