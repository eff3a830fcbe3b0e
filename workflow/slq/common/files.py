"""Small files: written completely or not at all, and read with errors that name the file."""

import csv
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import IO, Any

from slq.common.errors import SlqError

PairsHook = Callable[[list[tuple[str, Any]]], Any]
REMAKE = "delete it and make it again"
SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")  # half a character in JSON, which another half should follow


def one_line(error: Exception) -> str:
    """Return the message of a library's error in one line; of an error without a message its class."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def wrap_read_errors(path: Path) -> Iterator[None]:
    """Raise an SlqError that names the file if it cannot be read, and the line if that is not encoded in UTF-8."""
    try:
        yield
    except OSError as error:
        raise SlqError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SlqError(f"{path}:{line}: cannot be read: {error}; save it as UTF-8") from error
    except ValueError as error:  # a name that no file can have
        raise SlqError(f"{path}: cannot be read: {error}") from error


def read_text(path: Path) -> str:
    """Read a UTF-8 file with its line ends unchanged, without a byte-order mark.

    Raises:
        SlqError: the file cannot be read, or is in another encoding (the message names the first such line).
    """
    with wrap_read_errors(path):
        return path.read_bytes().decode("utf-8-sig")


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
    """Write a text as UTF-8 with `write_bytes`, with its line ends unchanged; half a character is an error as well."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SlqError(f"{path}: cannot be written: {error}") from error
    write_bytes(path, data)


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


def parse_json(text: str, location: str, advice: str = REMAKE, hook: PairsHook | None = None) -> Any:
    """Parse JSON.

    Args:
        location: the file, or its line, for messages.
        advice: what to do about text that is no JSON, for the message.
        hook: `object_pairs_hook` of `json.loads`.

    Raises:
        SlqError: the text is not JSON, or holds half a character.
    """
    try:
        content = json.loads(text, object_pairs_hook=hook)
    except (ValueError, RecursionError) as error:
        raise SlqError(f"{location}: not valid JSON ({error}); {advice}") from error
    if SURROGATE_ESCAPE.search(text):
        require_utf8(content, location)
    return content


def require_utf8(content: Any, location: str) -> None:
    """Check that a JSON-like value can be encoded in UTF-8.

    Raises:
        SlqError: it holds a lone surrogate, which escapes of JSON and Python can represent; the message shows it.
    """
    try:
        json.dumps(content, ensure_ascii=False, default=str, skipkeys=True).encode("utf-8")
    except UnicodeEncodeError as error:
        excerpt = error.object[max(error.start - 20, 0) : error.start + 20]
        raise SlqError(f"{location}: holds half a character, {excerpt!r}; write it whole, or leave it out") from error


def read_json(path: Path) -> Any:
    """Read the content of a JSON file.

    Raises:
        SlqError: the file is missing, unreadable, or not JSON.
    """
    return parse_json(read_text(path), str(path))


def write_jsonl(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, keys sorted."""
    write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a JSONL file of ours; errors are those of `read_json_objects`."""
    return list(read_json_objects(path, REMAKE))


def read_json_objects(path: Path, advice: str = "expected an object in every line") -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file, one a line.

    Args:
        advice: what to do about a line that is none, for the message.

    Raises:
        SlqError: the file cannot be read, or a line is no object, has a key twice, or has text that cannot be encoded;
            the message names file and line.
    """
    for number, line in enumerate(read_text_lines(path), start=1):
        item = parse_json(line, f"{path}:{number}", advice, reject_duplicate_keys)
        if not isinstance(item, dict):
            raise SlqError(f"{path}:{number}: not a JSON object, found {item!r}; {advice}")
        yield item


def read_text_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file, split at line feeds only: a text may hold other line separators, such as U+2028.

    A carriage return before a line feed, as Windows writes it, belongs to no line.

    Raises:
        SlqError: the file cannot be read, or is in another encoding.
    """
    text = read_text(path).replace("\r\n", "\n")
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


def read_csv(path: Path) -> tuple[Any, list[tuple[dict[str, str], int]]]:
    """Read the names of a CSV file's columns, and its rows, each with its line number.

    Raises:
        SlqError: the file cannot be read.
    """
    reader = csv.DictReader(StringIO(read_text(path), newline=""))
    try:
        return reader.fieldnames, [(row, reader.line_num) for row in reader]
    except csv.Error as error:
        raise SlqError(f"{path}:{reader.line_num}: not valid CSV ({error})") from error


def read_csv_rows(path: Path, columns: list[str]) -> list[tuple[dict[str, str], int]]:
    """Read the rows of a CSV file with exactly these columns, each with its line number.

    Raises:
        SlqError: the file cannot be read, has other columns, or a row has more or fewer fields.
    """
    names, rows = read_csv(path)
    if names != columns:
        raise SlqError(f"{path}: columns are {names}; expected {columns}")
    for row, line in rows:
        if None in row or None in row.values():
            raise SlqError(f"{path}:{line}: not {len(columns)} fields; a comma within one needs quotes around it")
    return rows


def walk_files(folder: Path, skipped: dict[Path, str], ancestors: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the regular files below a folder, following links, in no order.

    A link to one of the folders that it is in is not followed again.

    Args:
        skipped: receives the reason by path of what cannot be followed: a link to nothing, an unreadable folder.
    """
    resolved = folder.resolve()
    if resolved in ancestors:
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                path, is_link = folder / entry.name, entry.is_symlink()
                if os.path.isdir(path) if is_link else entry.is_dir():
                    yield from walk_files(path, skipped, (*ancestors, resolved))
                elif os.path.isfile(path) if is_link else entry.is_file():
                    yield path
                else:
                    skipped[path] = "no regular file" if os.path.exists(path) else "a link to nothing"
    except OSError as error:
        skipped[folder] = f"cannot be read: {error.strerror}"


def printable(path: Path | str) -> str:
    """Return a path as text that any file can hold: bytes of a name that are not UTF-8 as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def wrap_parquet_errors(path: Path, advice: str) -> Iterator[None]:
    """Raise an SlqError that names the file for what pyarrow and pandas raise if it is no parquet that can be read."""
    try:
        yield
    # pyarrow's own errors are among these: ArrowInvalid is a ValueError.
    except (OSError, ValueError, TypeError, LookupError, NotImplementedError, OverflowError, MemoryError) as error:
        raise SlqError(f"{path}: not a readable parquet file ({one_line(error)}); {advice}") from error


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
