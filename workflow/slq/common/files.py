"""Small files, which are written completely or not at all, and read with errors that name the file."""

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
SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")  # half of a surrogate pair in JSON


def one_line(error: Exception) -> str:
    """Return the message of a library's error in one line, or the name of its class if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def wrap_read_errors(path: Path) -> Iterator[None]:
    """Convert errors of reading a file to an SlqError that names the file, and the line if it is not valid UTF-8."""
    try:
        yield
    except OSError as error:
        raise SlqError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SlqError(f"{path}:{line}: cannot be read: {error}; save it as UTF-8") from error
    except ValueError as error:  # an invalid file name
        raise SlqError(f"{path}: cannot be read: {error}") from error


def read_text(path: Path) -> str:
    """Read a UTF-8 file with unchanged newlines, without a byte-order mark."""
    with wrap_read_errors(path):
        return path.read_bytes().decode("utf-8-sig")


@contextmanager
def wrap_write_errors(path: Path) -> Iterator[None]:
    """Convert errors of writing a file or folder to an SlqError that names it."""
    try:
        yield
    except OSError as error:
        raise SlqError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: under a temporary name next to `path`, flushed to the disk, then renamed.

    If the file cannot be written, for example because the disk is full, an existing file at `path` is unchanged.
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
    """Write a text as UTF-8 with `write_bytes`, with unchanged newlines; a lone surrogate is an error."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SlqError(f"{path}: cannot be written: {error}") from error
    write_bytes(path, data)


def write_json(path: Path, obj: Any) -> None:
    """Write JSON in a form that is easy to diff: sorted keys, two-space indent, a newline at the end.

    Raises:
        SlqError: `obj` contains NaN or an infinity, which JSON cannot represent, or the file cannot be written.
    """
    try:
        text = json.dumps(obj, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise SlqError(f"{path}: not written: {error}") from error
    write_text(path, text + "\n")


def parse_json(text: str, location: str, advice: str = REMAKE, hook: PairsHook | None = None) -> Any:
    """Parse JSON.

    Args:
        text: the JSON text.
        location: file, or file and line, for messages.
        advice: advice for the message if the text is not JSON.
        hook: `object_pairs_hook` of `json.loads`.

    Raises:
        SlqError: the text is not JSON, or contains a lone surrogate.
    """
    try:
        content = json.loads(text, object_pairs_hook=hook)
    except (ValueError, RecursionError) as error:
        raise SlqError(f"{location}: not valid JSON ({error}); {advice}") from error
    if SURROGATE_ESCAPE.search(text):
        require_utf8(content, location)
    return content


def require_utf8(content: Any, location: str) -> None:
    """Check that a JSON-like value can be encoded in UTF-8, that is, has no lone surrogate.

    Escapes in JSON and in Python can represent a lone surrogate.
    """
    try:
        json.dumps(content, ensure_ascii=False, default=str, skipkeys=True).encode("utf-8")
    except UnicodeEncodeError as error:
        excerpt = error.object[max(error.start - 20, 0) : error.start + 20]
        raise SlqError(
            f"{location}: contains half a character, {excerpt!r}; write the whole character, or remove it"
        ) from error


def read_json(path: Path) -> Any:
    """Read the content of a JSON file."""
    return parse_json(read_text(path), str(path))


def write_jsonl(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, with sorted keys."""
    write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a JSONL file that this package has written."""
    return list(read_json_objects(path, REMAKE))


def read_json_objects(path: Path, advice: str = "expected an object in every line") -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file, which has one object per line.

    Args:
        path: the file.
        advice: advice for the message if a line is not a JSON object.

    Raises:
        SlqError: the file cannot be read, or a line is not a JSON object, has a key twice, or contains a lone
            surrogate; the message names the line.
    """
    for number, line in enumerate(read_text_lines(path), start=1):
        item = parse_json(line, f"{path}:{number}", advice, reject_duplicate_keys)
        if not isinstance(item, dict):
            raise SlqError(f"{path}:{number}: not a JSON object, found {item!r}; {advice}")
        yield item


def read_text_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file, split only at line feeds, because a text may contain separators such as U+2028.

    A carriage return before a line feed, as in Windows files, is removed.
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
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return found


def read_csv(path: Path) -> tuple[Any, list[tuple[dict[str, str], int]]]:
    """Read the column names of a CSV file, and its rows, each with its line number."""
    reader = csv.DictReader(StringIO(read_text(path), newline=""))
    try:
        return reader.fieldnames, [(row, reader.line_num) for row in reader]
    except csv.Error as error:
        raise SlqError(f"{path}:{reader.line_num}: not valid CSV ({error})") from error


def read_csv_rows(path: Path, columns: list[str]) -> list[tuple[dict[str, str], int]]:
    """Read the rows of a CSV file, each with its line number; the file must have exactly these columns."""
    names, rows = read_csv(path)
    if names != columns:
        raise SlqError(f"{path}: columns are {names}; expected {columns}")
    for row, line in rows:
        if None in row or None in row.values():
            raise SlqError(f"{path}:{line}: expected {len(columns)} fields; quote a field that contains a comma")
    return rows


def walk_files(folder: Path, skipped: dict[Path, str], ancestors: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the regular files below a folder, following links, in arbitrary order.

    A link to one of its own parent folders is not followed.

    Args:
        folder: the folder.
        skipped: receives each path that cannot be followed, with the reason: a broken link, an unreadable folder.
        ancestors: resolved parent folders, for recursive calls.
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
    """Return a path as valid UTF-8 text; a byte of the name that is not UTF-8 is written as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def wrap_parquet_errors(path: Path, advice: str) -> Iterator[None]:
    """Convert errors of pyarrow and pandas for an unreadable parquet file to an SlqError that names the file."""
    try:
        yield
    # These classes include pyarrow's own errors; ArrowInvalid, for example, is a ValueError.
    except (OSError, ValueError, TypeError, LookupError, NotImplementedError, OverflowError, MemoryError) as error:
        raise SlqError(f"{path}: not a readable parquet file ({one_line(error)}); {advice}") from error


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Compute the hash of a file in hexadecimal, by default its SHA-256; `algorithm` may be any of hashlib's."""
    with wrap_read_errors(path), open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def hash_json(content: Any) -> str:
    """Compute the SHA-256 of a JSON-like value; it does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file; return whether this succeeded, or another process holds the lock.

    The kernel releases the lock when the process ends, even if the process is killed.

    Raises:
        SlqError: the file system does not support locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise SlqError(f"{file.name}: cannot be locked: {error.strerror}; use a disk that supports locks") from error
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
    """Hold a lock file that only one process can hold at a time.

    If another process holds the lock, raise an error with the `refusal_message`, or wait if it is empty. The kernel
    releases the lock when the process ends.
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
