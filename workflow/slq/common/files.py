"""Small files: written completely or not at all, and read with errors that name the file."""

import csv
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from slq.common.errors import SlqError


@contextmanager
def wrap_read_errors(path: Path) -> Iterator[None]:
    """Raise an SlqError that names the file if it cannot be read or is not encoded in UTF-8."""
    try:
        yield
    except OSError as error:
        raise SlqError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SlqError(f"{path}: cannot be read: {error}; save it as UTF-8") from error


@contextmanager
def wrap_write_errors(path: Path) -> Iterator[None]:
    """Raise an SlqError that names the file or folder if it cannot be written."""
    try:
        yield
    except OSError as error:
        raise SlqError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: under a temporary name beside `path`, flushed to the disk, then renamed.

    Raises:
        SlqError: the file cannot be written, e.g. because the disk is full; an existing file at `path` is then
            unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with wrap_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 with `write_bytes`, with its line ends unchanged."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, obj: Any) -> None:
    """Write JSON that a person can diff: sorted keys, two-space indent, a newline at the end.

    Raises:
        SlqError: `obj` holds NaN or an infinity, which JSON cannot represent, or the file cannot be written.
    """
    try:
        text = json.dumps(obj, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise SlqError(f"{path}: not written: {error}") from error
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read the content of a JSON file.

    Raises:
        SlqError: the file is missing, unreadable, or not JSON.
    """
    with wrap_read_errors(path):
        data = path.read_bytes()
    try:
        return json.loads(data)
    except ValueError as error:
        raise SlqError(f"{path}: not valid JSON ({error}); delete it and make it again") from error


def write_jsonl(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, keys sorted."""
    write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a JSONL file.

    Raises:
        SlqError: the file cannot be read, or a line is no JSON object.
    """
    with wrap_read_errors(path):
        data = path.read_bytes()
    try:
        lines = [json.loads(line) for line in data.splitlines()]
    except ValueError as error:
        raise SlqError(f"{path}: a line is not valid JSON ({error}); delete it and make it again") from error
    for number, content in enumerate(lines, start=1):
        if not isinstance(content, dict):
            raise SlqError(f"{path}:{number}: expected a JSON object")
    return lines


def read_text_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file, split at line feeds only: a text may hold other line separators, such as U+2028.

    Raises:
        SlqError: the file cannot be read, or is in another encoding.
    """
    with wrap_read_errors(path):
        text = path.read_text(encoding="utf-8")
    return text.removesuffix("\n").split("\n") if text else []


def reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object from its pairs, as `object_pairs_hook` of `json.loads`.

    Raises:
        ValueError: a key occurs twice, which JSON allows.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def is_utf8_encodable(content: Any) -> bool:
    """Return whether a JSON-like value can be encoded in UTF-8; a lone surrogate, which JSON can represent, cannot."""
    try:
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_csv_rows(path: Path, columns: list[str]) -> list[tuple[dict[str, str], int]]:
    """Read the rows of a CSV file with exactly these columns, each with its line number.

    Raises:
        SlqError: the file cannot be read, has other columns, or a row has more or fewer fields.
    """
    with wrap_read_errors(path), open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != columns:
            raise SlqError(f"{path}: columns are {reader.fieldnames}; expected {columns}")
        rows = [(row, reader.line_num) for row in reader]
    for row, line in rows:
        if None in row or None in row.values():
            raise SlqError(f"{path}:{line}: not {len(columns)} fields; a comma within one needs quotes around it")
    return rows


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal, or another hash that hashlib offers (`algorithm`).

    Published hashes may be of another kind than SHA-256.

    Raises:
        SlqError: the file is missing or unreadable.
    """
    with wrap_read_errors(path), open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def hash_json(content: Any) -> str:
    """Compute the SHA-256 of a JSON-like value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file and return True, or return False if another process holds the lock.

    The kernel releases the lock when its process ends, even if it is killed.

    Raises:
        SlqError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise SlqError(f"{file.name}: cannot be locked: {error.strerror}; take a disk that has locks") from error
    return True


def fsync_path(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_lock(path: Path, refusal_message: str = "") -> Iterator[None]:
    """Hold a lock file that only one process can hold at a time, and wait for it unless `refusal_message` is given.

    The kernel releases the lock when its process ends.

    Raises:
        SlqError: the file cannot be opened for writing, or a `refusal_message` is given and another process holds the
            lock.
    """
    with wrap_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115 - closed below
    with file:
        if not try_lock(file):
            if refusal_message:
                raise SlqError(refusal_message)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
