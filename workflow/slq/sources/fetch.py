"""Fetching of a source: its parts are fetched, verified by config.yaml and the lock, and listed in a final manifest.

A part is a repository of the hub, an archive by URL, or a user's folder. The source's lock records what each part was
when it was first fetched. It is a JSON file that a user commits, with an entry for each address: a repository's
`commit` and the `sha256` of its files' hashes, an archive's `bytes` and `sha256`.
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
LOCK_TYPES = {"bytes": int, "commit": str, "sha256": str}  # of the values of an entry
STATE_FOLDER = ".fetch"  # in a source's folder: partial downloads, and receipts of finished parts


def is_offline() -> bool:
    """Return whether the environment variable HF_HUB_OFFLINE forbids requests to servers."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def fetch_source(settings: dict[str, Any], out: Path, locks: Path) -> None:
    """Fetch a source into `out`, complete and verified, and write its manifest.json last.

    With HF_HUB_OFFLINE set, a part that is not in `out` is an error.

    Args:
        settings: `name`; `parts`, each with one of `model`, `dataset`, `archive`, `local_dir` (docs/data.md), the last
            with the `content_hash` of the folder; `weights`: whether it must be a snapshot that a model can be loaded
            from.
        locks: the folder of the locks, with a file for each source; a part without an entry there gets one.

    Raises:
        SlqError: another process is fetching it; a part cannot be fetched, or is not what config.yaml or the lock says.
    """
    with exclusive_lock(
        out / STATE_FOLDER / "owner", f"{out}: another process is fetching it; wait for it, or stop it"
    ):
        lock = locks / f"{settings['name']}.json"
        fetched_parts = [_PartFetch(part, out, lock).fetch_if_missing(is_offline()) for part in settings["parts"]]
        file_hashes = {name: hashed for _, hashes in fetched_parts for name, hashed in hashes.items()}
        _remove_stale_files(out, set(file_hashes))
        if settings["weights"]:
            require_weights(out)
        os.sync()  # once for all files, before the manifest says that they are there
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
    """The fetch of one part into the folder `out`.

    Its methods that fetch return the part's entry in the lock and the SHA-256 of its files by path.
    """

    part: SourcePart
    out: Path
    lock_file: Path

    def fetch_if_missing(self, offline: bool) -> tuple[LockEntry, dict[str, str]]:
        """Fetch the part unless it is complete in `out`, and return its lock entry and file hashes."""
        receipt = self.out / STATE_FOLDER / f"{hash_json(self.part)[:16]}.json"
        reason = self._why_missing(receipt)
        if reason and offline and "local_dir" not in self.part:
            where = f"{part_address(self.part)}: {reason}, in {self.out}"
            raise SlqError(f"{where}, and this call is offline; fetch once with the network")
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
            remove_download(self._archive_path())  # not needed once the receipt lists its files
        return entry, file_hashes

    @property
    def locked_entry(self) -> LockEntry | None:
        """The part's entry in the lock, if it has one."""
        return self._read_lock().get(part_address(self.part))

    def _read_lock(self) -> dict[str, LockEntry]:
        """Read the source's lock; empty if there is none.

        Raises:
            SlqError: it cannot be read, or holds something else than entries.
        """
        with wrap_content_errors(self.lock_file, "take it as it was committed, or delete it"):
            lock = {**read_json(self.lock_file)} if self.lock_file.exists() else {}
            for address in lock:
                require_type(str(self.lock_file), lock, address, dict)
                for key in lock[address]:
                    require_type(f"{self.lock_file}: {address}", lock[address], key, LOCK_TYPES[key])
        return lock

    def _check_lock(self, found: LockEntry) -> LockEntry:
        """Return an entry, unless the lock has a different one.

        Raises:
            VerificationError: the lock has a different entry.
        """
        if self.locked_entry not in (None, found):
            raise VerificationError(
                f"{part_address(self.part)}: has changed since it was locked: expected "
                f"{_format_entry(self.locked_entry)}, found {_format_entry(found)}; if the change is meant, delete its "
                f"entry in {self.lock_file}"
            )
        return found

    def _why_missing(self, receipt: Path) -> str:
        """Return why the part must be fetched.

        The reason is empty if an earlier call fetched the part and every file is still there, byte for byte.
        """
        if not receipt.exists():
            return "not fetched yet"
        record = read_json(receipt)
        if self.locked_entry not in (None, record["entry"]):
            return "fetched, but the lock names another version"
        for name, expected in record["files"].items():
            path = self.out / name
            if not path.is_file() or hash_file(path) != expected:
                path.unlink(missing_ok=True)
                return f"{name} is missing or damaged"
        return ""

    def _fetch(self) -> tuple[LockEntry, dict[str, str]]:
        """Fetch the part, whatever its kind."""
        if "archive" in self.part:
            return self._fetch_archive()
        return self._copy_local_files() if "local_dir" in self.part else self._fetch_repository()

    def _fetch_repository(self) -> tuple[LockEntry, dict[str, str]]:
        """Fetch a repository of the hub at its locked commit, or else at the commit of its revision."""
        kind = "model" if "model" in self.part else "dataset"
        repository = HubRepository(kind, self.part[kind])
        commit = (self.locked_entry or {}).get("commit") or repository.resolve_commit(self.part["revision"])
        file_hashes = repository.fetch_files(
            commit, self.part.get("files", SNAPSHOT_PATTERNS), self.part.get("count"), self.out
        )
        return self._check_lock({"commit": commit, "sha256": hash_json(file_hashes)}), file_hashes

    def _archive_path(self) -> Path:
        """Return the file into which the archive is downloaded."""
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
        """Copy the files of a user's folder, so that nothing later depends on it.

        They are not locked, as one user's folder may be a subset of another's.
        """
        folder = Path(self.part["local_dir"])
        if not folder.is_dir():
            instructions = self.part.get("instructions", "config.yaml says that the files lie there")
            raise SlqError(f"{folder}: no such folder; {instructions}")
        patterns = self.part.get("files", SNAPSHOT_PATTERNS)
        skipped: dict[Path, str] = {}
        names = list_local_files(folder, patterns, skipped)
        for path, reason in skipped.items():
            if any(may_hold(path.relative_to(folder).as_posix(), pattern) for pattern in patterns):
                raise SlqError(f"{printable(path)}: {reason}; mend it, or remove it: the source is copied whole")
        require_file_count(str(folder), names, patterns, self.part.get("count"))
        if foreign := [name for name in names if printable(name) != name]:
            raise SlqError(f"{folder / printable(foreign[0])}: its name is not UTF-8; rename it")
        for name in names:
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copy2(folder / name, self.out / name)
            except OSError as error:
                raise SlqError(f"{folder / name}: cannot be copied to {self.out / name}: {error.strerror}") from error
        return {}, {name: hash_file(self.out / name) for name in names}


def _format_entry(entry: LockEntry | None) -> str:
    """Format a lock entry for messages, with its values shortened."""
    return ", ".join(f"{key} {str(value)[:16]}" for key, value in sorted((entry or {}).items()))


def _check_archive(part: SourcePart, file: Path) -> None:
    """Check an archive's bytes and hash against config.yaml, where it has them."""
    hint = "it was removed, fetch again; if that does not help, the server has another file"
    if file_size(file) != part.get("bytes", file_size(file)):
        raise VerificationError(
            f"{part_address(part)}: has {file_size(file):,} bytes, expected {part['bytes']:,}; {hint}"
        )
    if "hash" in part:
        algorithm, _, expected = part["hash"].partition(":")
        found = hash_file(file, algorithm)
        if found != expected:
            raise VerificationError(f"{part_address(part)}: its {algorithm} is {found}, expected {expected}; {hint}")


def _remove_stale_files(out: Path, current_names: set[str]) -> None:
    """Remove files that an earlier source left here.

    An old model.safetensors, for example, would silently be read in place of new shards.
    """
    for path in out.rglob("*"):
        name = path.relative_to(out)
        is_internal = name.parts[0] in (STATE_FOLDER, ".cache", "manifest.json")
        if path.is_file() and not is_internal and name.as_posix() not in current_names:
            path.unlink()
