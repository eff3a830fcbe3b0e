"""Answers so far: what a job of answering has finished, in scratch, where a kill or a rerun does not take it."""

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.files import read_lines, try_lock


class AnswersSoFar:
    """The finished batches of a set's answers, appended to a JSONL file that one process owns while it is entered.

    Batches are fixed by the order of the items. A batch that is not there as a whole, or a line that was torn, is cut
    off and made again, so that what is answered in the end never depends on where a job was killed.
    """

    def __init__(self, path: Path, ids: Sequence[str], batch_size: int) -> None:
        """`ids`: of all items, in order."""
        self.path, self.ids, self.batch_size = path, ids, batch_size
        self.lines: list[dict[str, Any]] = []

    def __enter__(self) -> "AnswersSoFar":
        """Own the file and read what is done.

        Raises:
            SlqError: another process owns it, or it holds something else than answers to the first items.
        """
        self._lock()
        with ExitStack() as unless_read:
            unless_read.callback(self.file.close)
            self._keep_whole_batches()
            unless_read.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Append a batch and see it on the disk.

        Raises:
            SlqError: it cannot be written, e.g. because the disk is full.
        """
        try:
            self.file.write("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode())
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise SlqError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.lines += lines

    def discard(self) -> None:
        """Remove the file, once the answers are where they are declared."""
        self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self.file = self.path.open("a+b")
            if not try_lock(self.file):
                self.file.close()
                raise SlqError(f"{self.path}: another process is adding answers to this file; wait for it, or stop it")
            # Its last owner may have discarded the file between the opening and the lock.
            if self.path.exists() and os.path.samestat(os.fstat(self.file.fileno()), self.path.stat()):
                return
            self.file.close()

    def _keep_whole_batches(self) -> None:
        self.file.seek(0)
        data = self.file.read()
        whole = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        done = len(whole) if len(whole) >= len(self.ids) else len(whole) // self.batch_size * self.batch_size
        self.file.truncate(sum(map(len, whole[:done])))
        self.lines = read_lines(self.path)
        if len(self.lines) > len(self.ids):
            raise SlqError(f"{self.path}: holds {len(self.lines)} answers to {len(self.ids)} items; delete it")
        for number, (line, expected) in enumerate(zip(self.lines, self.ids, strict=False), start=1):
            if line.get("id") != expected:
                raise SlqError(
                    f"{self.path}:{number}: answers item {line.get('id')!r} where {expected!r} comes; delete the file"
                )
