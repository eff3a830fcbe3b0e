"""Vectors of images by what is in them: embedded once, kept in scratch, whole after a kill."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from slq.errors import SlqError
from slq.files import owned

ITEM = 4  # bytes of a float32


class Store:
    """Unit vectors of one retriever, one per content of a file, that one process owns while it is entered.

    `vectors.f32` holds rows (d,) of float32 one after another, `rows.jsonl` the SHA-256 of each, `files.jsonl` which
    file had which content, by path, size and time. All are appended to; a torn row is cut off and made again.

    Attributes:
        rows: number of the row of a content, by its SHA-256.
        files: SHA-256 of a file, by its path, size and mtime in nanoseconds.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width
        self.rows: dict[str, int] = {}
        self.files: dict[tuple[str, int, int], str] = {}
        self._held = ExitStack()

    def __enter__(self) -> "Store":
        """Own the folder and read what is there.

        Raises:
            SlqError: another process owns it, or it cannot be written.
        """
        with ExitStack() as stack:
            stack.enter_context(
                owned(self.folder / "owner", f"{self.folder}: another search adds to it; wait for it, or end it")
            )
            self._vectors, self._rows, self._files = (
                stack.enter_context((self.folder / name).open("a+b"))
                for name in ("vectors.f32", "rows.jsonl", "files.jsonl")
            )
            self._read()
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def add(self, contents: list[str], vectors: np.ndarray) -> None:
        """Append rows (n, d) and see them on the disk before their names: a name is never without its row."""
        self._append(self._vectors, np.ascontiguousarray(vectors, dtype="<f4").tobytes())
        self._append(self._rows, _lines(contents))
        for content in contents:
            self.rows[content] = len(self.rows)

    def note(self, files: dict[tuple[str, int, int], str]) -> None:
        """Remember which content files have."""
        self._append(self._files, _lines([*key, content] for key, content in files.items()))
        self.files |= files

    def vectors(self) -> np.ndarray:
        """All rows (n, d), float32, read from the file as they are needed."""
        if not self.rows:
            return np.empty((0, self.width), "<f4")
        return np.memmap(self.folder / "vectors.f32", "<f4", "r", shape=(len(self.rows), self.width))

    def _read(self) -> None:
        size = self.width * ITEM
        contents = _whole_lines(self._rows)
        whole = min(len(contents), os.fstat(self._vectors.fileno()).st_size // size)
        self._vectors.truncate(whole * size)
        self._rows.truncate(sum(len(line) for line in contents[:whole]))
        self.rows = {json.loads(line): number for number, line in enumerate(contents[:whole])}
        for line in _whole_lines(self._files):
            path, length, time, content = json.loads(line)
            self.files[path, length, time] = content

    def _append(self, file: IO[bytes], data: bytes) -> None:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise SlqError(f"{self.folder}: cannot be written: {error.strerror}") from error


def _lines(items: Any) -> bytes:
    return "".join(json.dumps(item) + "\n" for item in items).encode()


def _whole_lines(file: IO[bytes]) -> list[bytes]:
    """The lines of a file; what is left of a torn one at its end is cut off."""
    file.seek(0)
    data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    file.truncate(len(whole))
    return whole.splitlines(keepends=True)
