"""Fetching of a source.

A source has parts: a repository on the hub, an archive at a URL, or a user's folder. Each part is fetched and verified
against config.yaml and the lock. The manifest, which is written last, lists the files of all parts.

The lock records the version of each part when it was first fetched. It is a JSON file that the user commits, with an
entry for each address. The entry of a repository has its `commit` and the `sha256` of its files' hashes; the entry of
an archive has its `bytes` and `sha256`.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError, VerificationError
from slq.common.files import exclusive_lock, hash_file, hash_json, printable, read_json, write_json
from slq.common.schema import require_type, wrap_content_errors
from slq.common.snapshots import require_weights, write_manifest
from slq.sources.archive import require_disk_space, unpack
from slq.sources.download import download, file_size, remove_download
from slq.sources.hub import HubRepository
from slq.sources.patterns import SNAPSHOT_PATTERNS, list_local_files, may_hold, require_file_count

SourcePart = dict[str, Any]
LockEntry = dict[str, Any]  # a part's entry in the lock; empty for a part that is not locked
LOCK_TYPES = {"bytes": int, "commit": str, "sha256": str}  # types of an entry's values, by key
STATE_FOLDER = ".fetch"  # subfolder of a source's folder, for partial downloads and the receipts of finished parts


def is_offline() -> bool:
    """Return whether the environment variable HF_HUB_OFFLINE forbids requests to servers."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def fetch_source(settings: dict[str, Any], out: Path, locks: Path) -> None:
    """Fetch and verify all parts of a source into `out`, and write manifest.json last.

    If HF_HUB_OFFLINE is set, a part that is not in `out` is an error.

    Args:
        settings: `name`; `parts`, each with one of `model`, `dataset`, `archive`, `local_dir` (docs/data.md), and with
            the `content_hash` of the folder for `local_dir`; `weights`: whether the source must be a snapshot from
            which a model can be loaded; `small`, optional: whether a model's weights are left out.
        out: folder of the source.
        locks: folder of the locks, with a file for each source; an entry is added for each part that lacks one.

    Raises:
        SlqError: another process is fetching the source, or a part cannot be fetched or does not match config.yaml or
            the lock.
    """
    with exclusive_lock(
        out / STATE_FOLDER / "owner", f"{out}: another process is fetching this source; wait for it, or stop it"
    ):
        lock = locks / f"{settings['name']}.json"
        small = settings.get("small", False)
        fetched_parts = [
            _PartFetch(part, out, lock, small).fetch_if_missing(is_offline()) for part in settings["parts"]
        ]
        file_hashes = {name: hashed for _, hashes in fetched_parts for name, hashed in hashes.items()}
        _remove_stale_files(out, set(file_hashes))
        if settings["weights"]:
            require_weights(out)
        os.sync()  # once for all files, before the manifest declares them complete
        parts = [
            {"from": part_address(part)} | entry
            for part, (entry, _) in zip(settings["parts"], fetched_parts, strict=True)
        ]
        write_manifest(out, {"name": settings["name"], "parts": parts}, file_hashes)


def part_address(part: SourcePart) -> str:
    """Return the address that identifies a part in messages and in the lock."""
    for kind in ("model", "dataset"):
        if kind in part:
            return f"{kind}:{part[kind]}@{part['revision']}"
    return str(part.get("archive") or part["local_dir"])


@dataclass(frozen=True)
class _PartFetch:
    """Fetch of one part into the folder `out`.

    Each method that fetches returns the part's lock entry and the SHA-256 of its files by path.

    Attributes:
        small: whether a repository's weights are left out. The lock entry then uses their hashes in the hub's index.
    """

    part: SourcePart
    out: Path
    lock_file: Path
    small: bool = False

    def fetch_if_missing(self, offline: bool) -> tuple[LockEntry, dict[str, str]]:
        """Fetch the part unless it is complete in `out`, and return its lock entry and file hashes."""
        receipt = self.out / STATE_FOLDER / f"{hash_json(self.part)[:16]}.json"
        reason = self._why_missing(receipt)
        if reason and offline and "local_dir" not in self.part:
            where = f"{part_address(self.part)}: {reason}, in {self.out}"
            raise SlqError(f"{where}, and this command is offline (HF_HUB_OFFLINE); fetch once with network access")
        if not reason:
            record = read_json(receipt)
            entry, file_hashes = record["entry"], record["files"]
        else:
            print(f"{part_address(self.part)}: {reason}", file=sys.stderr)
            (self.out / "manifest.json").unlink(missing_ok=True)
            receipt.unlink(missing_ok=True)
            entry, file_hashes = self._fetch()
        if entry and self.locked_entry is None:
            write_json(self.lock_file, self._read_lock() | {part_address(self.part): entry})
        if entry or "content_hash" in self.part:
            write_json(receipt, {"entry": entry, "files": file_hashes})
        if "archive" in self.part:
            remove_download(self._archive_path())  # not needed any more once the receipt lists the unpacked files
        return entry, file_hashes

    @property
    def locked_entry(self) -> LockEntry | None:
        """Entry of the part in the lock; None if it has none."""
        return self._read_lock().get(part_address(self.part))

    def _read_lock(self) -> dict[str, LockEntry]:
        """Read the source's lock and check its types; return an empty lock if the file does not exist."""
        with wrap_content_errors(self.lock_file, "restore the committed file, or delete it"):
            lock = {**read_json(self.lock_file)} if self.lock_file.exists() else {}
            for address in lock:
                require_type(str(self.lock_file), lock, address, dict)
                for key in lock[address]:
                    require_type(f"{self.lock_file}: {address}", lock[address], key, LOCK_TYPES[key])
        return lock

    def _check_lock(self, found: LockEntry) -> LockEntry:
        """Return the entry of a fetched part.

        Raises:
            VerificationError: the lock has a different entry.
        """
        if self.locked_entry not in (None, found):
            raise VerificationError(
                f"{part_address(self.part)}: has changed since it was locked: expected "
                f"{_format_entry(self.locked_entry)}, found {_format_entry(found)}; to accept the change, delete its "
                f"entry in {self.lock_file}"
            )
        return found

    def _why_missing(self, receipt: Path) -> str:
        """Return the reason why the part must be fetched.

        The reason is empty if the part was fetched earlier and every file still matches its hash.
        """
        if not receipt.exists():
            return "not fetched yet"
        record = read_json(receipt)
        if self.locked_entry not in (None, record["entry"]):
            return "fetched, but the lock has another version"
        for name, expected in record["files"].items():
            path = self.out / name
            if not path.is_file() or hash_file(path) != expected:
                path.unlink(missing_ok=True)
                return f"{name} is missing or damaged"
        return ""

    def _fetch(self) -> tuple[LockEntry, dict[str, str]]:
        """Fetch the part, by its kind."""
        if "archive" in self.part:
            return self._fetch_archive()
        return self._copy_local_files() if "local_dir" in self.part else self._fetch_repository()

    def _fetch_repository(self) -> tuple[LockEntry, dict[str, str]]:
        """Fetch a repository on the hub at its locked commit, or else at the current commit of its revision."""
        kind = "model" if "model" in self.part else "dataset"
        repository = HubRepository(kind, self.part[kind])
        commit = (self.locked_entry or {}).get("commit") or repository.resolve_commit(self.part["revision"])
        file_hashes = repository.fetch_files(
            commit, self.part.get("files", SNAPSHOT_PATTERNS), self.part.get("count"), self.out, self.small
        )
        entry = self._check_lock({"commit": commit, "sha256": hash_json(file_hashes)})
        return entry, {name: digest for name, digest in file_hashes.items() if (self.out / name).is_file()}

    def _archive_path(self) -> Path:
        """Return the path to which the archive is downloaded."""
        return self.out / STATE_FOLDER / self.part["archive"].rpartition("/")[2]

    def _fetch_archive(self) -> tuple[LockEntry, dict[str, str]]:
        """Download an archive, verify it and unpack it; remove it if the verification fails."""
        file, where = self._archive_path(), part_address(self.part)
        expected = self.part.get("bytes") or (self.locked_entry or {}).get("bytes", 0)
        require_disk_space(self.out / STATE_FOLDER, max(expected - file_size(file), 0), f"for {where}")
        download(where, file)
        entry = {"bytes": file_size(file), "sha256": hash_file(file)}
        try:
            _check_archive(self.part, file)
            self._check_lock(entry)
            return entry, unpack(file, self.out, self.part["files"], self.part.get("count"), where)
        except VerificationError:
            remove_download(file)
            raise

    def _copy_local_files(self) -> tuple[LockEntry, dict[str, str]]:
        """Copy the files of a user's folder, so that later jobs do not depend on the folder.

        The files are not locked, because users may have different subsets of the same data.
        """
        folder = Path(self.part["local_dir"])
        if not folder.is_dir():
            instructions = self.part.get("instructions", "config.yaml expects the files there")
            raise SlqError(f"{folder}: no such folder; {instructions}")
        patterns = self.part.get("files", SNAPSHOT_PATTERNS)
        skipped: dict[Path, str] = {}
        names = list_local_files(folder, patterns, skipped)
        for path, reason in skipped.items():
            if any(may_hold(path.relative_to(folder).as_posix(), pattern) for pattern in patterns):
                raise SlqError(
                    f"{printable(path)}: {reason}; repair or remove it, because the whole source must be copied"
                )
        require_file_count(str(folder), names, patterns, self.part.get("count"))
        if foreign := [name for name in names if printable(name) != name]:
            raise SlqError(f"{folder / printable(foreign[0])}: the file name is not UTF-8; rename the file")
        for name in names:
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copy2(folder / name, self.out / name)
            except OSError as error:
                raise SlqError(f"{folder / name}: cannot be copied to {self.out / name}: {error.strerror}") from error
        return {}, {name: hash_file(self.out / name) for name in names}


def _format_entry(entry: LockEntry | None) -> str:
    """Format a lock entry for a message, with shortened values."""
    return ", ".join(f"{key} {str(value)[:16]}" for key, value in sorted((entry or {}).items()))


def _check_archive(part: SourcePart, file: Path) -> None:
    """Check the size and hash of an archive if config.yaml has them."""
    hint = "it was removed; fetch it again; if the error persists, the server has another file"
    if file_size(file) != part.get("bytes", file_size(file)):
        raise VerificationError(f"{part_address(part)}: {file_size(file):,} bytes, expected {part['bytes']:,}; {hint}")
    if "hash" in part:
        algorithm, _, expected = part["hash"].partition(":")
        found = hash_file(file, algorithm)
        if found != expected:
            raise VerificationError(f"{part_address(part)}: its {algorithm} is {found}, expected {expected}; {hint}")


def _remove_stale_files(out: Path, current_names: set[str]) -> None:
    """Remove files of an earlier version of the source.

    An old model.safetensors, for example, would silently be read instead of new shards.
    """
    for path in out.rglob("*"):
        name = path.relative_to(out)
        is_internal = name.parts[0] in (STATE_FOLDER, ".cache", "manifest.json")
        if path.is_file() and not is_internal and name.as_posix() not in current_names:
            path.unlink()
