"""The kinds of a source's part, one function each: a repository of the hub, an archive by URL, a person's folder."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.errors import SlqError, UnsoundError
from slq.files import digest as digest_of
from slq.files import file_digest, sha256
from slq.sources.archive import check_room, unpack
from slq.sources.download import download, forget, size
from slq.sources.hub import Repository
from slq.sources.locks import Lock
from slq.sources.patterns import SNAPSHOT, check_count, supplied_files

Part = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What a part has brought.

    entry: what the lock should have; empty for what is not locked
    files: the SHA-256 of every file by its path
    spent: the archive that they came from, of no use once it is noted that they are there
    """

    entry: dict[str, Any]
    files: dict[str, str]
    spent: Path | None = None


def address(part: Part) -> str:
    """What names a part, in messages and in the lock."""
    for kind in ("model", "dataset"):
        if kind in part:
            return f"{kind}:{part[kind]}@{part['revision']}"
    return str(part.get("archive") or part["supplied"])


def bring(part: Part, out: Path, state: Path, lock: Lock) -> Found:
    """Bring a part's files into `out` and prove them, by the table and by the lock.

    Args:
        state: folder for what is on its way.

    Raises:
        SlqError: it cannot be had, or is not what it should be.
    """
    function = next(function for kind, function in KINDS.items() if kind in part)
    return function(part, out, state, lock)


def _repository(part: Part, out: Path, _: Path, lock: Lock) -> Found:
    kind = "model" if "model" in part else "dataset"
    repository = Repository(kind, part[kind])
    locked = lock[address(part)]
    commit = locked["commit"] if locked else repository.commit(part["revision"])
    files = repository.bring(commit, part.get("files", SNAPSHOT), part.get("count"), out)
    entry = {"commit": commit, "sha256": digest_of(files)}
    lock.check(address(part), entry)
    return Found(entry, files)


def _archive(part: Part, out: Path, state: Path, lock: Lock) -> Found:
    file = state / part["archive"].rpartition("/")[2]
    expected = part.get("bytes") or (lock[address(part)] or {}).get("bytes", 0)
    check_room(state, max(expected - size(file), 0), f"for {address(part)}")
    download(part["archive"], file)
    entry = {"bytes": size(file), "sha256": sha256(file)}
    try:
        _check_archive(part, file, entry)
        lock.check(address(part), entry)
        files = unpack(file, out, part["files"], part.get("count"), address(part))
    except UnsoundError:
        forget(file)
        raise
    return Found(entry, files, spent=file)


def _check_archive(part: Part, file: Path, entry: dict[str, Any]) -> None:
    """By the table: bytes and hash, where it has them."""
    again = "it was removed, fetch again; if that does not help, the server has another file"
    if entry["bytes"] != part.get("bytes", entry["bytes"]):
        raise UnsoundError(f"{address(part)}: has {entry['bytes']:,} bytes, expected {part['bytes']:,}; {again}")
    if "hash" in part:
        algorithm, _, expected = part["hash"].partition(":")
        found = file_digest(file, algorithm)
        if found != expected:
            raise UnsoundError(f"{address(part)}: its {algorithm} is {found}, expected {expected}; {again}")


def _supplied(part: Part, out: Path, _: Path, __: Lock) -> Found:
    """Copied, so that nothing later depends on the folder; not locked, as one person's is another's subset."""
    folder = Path(part["supplied"])
    if not folder.is_dir():
        raise SlqError(f"{folder}: no such folder; {part.get('obtain', 'config.yaml says that the files lie there')}")
    patterns = part.get("files", SNAPSHOT)
    names = supplied_files(folder, patterns)
    check_count(str(folder), names, patterns, part.get("count"))
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(folder / name, out / name)
        except OSError as error:
            raise SlqError(f"{folder / name}: cannot be copied to {out / name}: {error.strerror}") from error
    return Found({}, {name: sha256(out / name) for name in names})


KINDS: dict[str, Callable[[Part, Path, Path, Lock], Found]] = {
    "model": _repository,
    "dataset": _repository,
    "archive": _archive,
    "supplied": _supplied,
}
