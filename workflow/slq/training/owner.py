"""One owner of a run at a time: a second trainer waits for the first, and stops if that takes long."""

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from slq.errors import SlqError
from slq.files import try_lock

PATIENCE = 300  # seconds: what a killed workflow has left behind often ends by then; below the limits of collectives


@contextmanager
def sole_owner(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Own a run's folder in scratch, as soon as no other process does.

    Raises:
        SlqError: the folder cannot be written, or another process owned it longer than `patience` (s).
    """
    path = folder / "owner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise SlqError(
            f"{folder}: cannot be written: {error.strerror}; `scratch` in config.yaml names the folder for it"
        ) from error
    with file:
        wait_for(file, path, patience)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def wait_for(file: IO[str], path: Path, patience: float) -> None:
    """Take the lock, as soon as it is free."""
    end = time.monotonic() + patience
    waited = False
    while not try_lock(file):
        owner = path.read_text(encoding="utf-8") or "another process"
        if time.monotonic() >= end:
            raise SlqError(f"{path.parent}: {owner} trains this run; wait for it, or end it")
        if not waited:
            print(f"slq: waiting: {owner} trains this run ({path.parent})", file=sys.stderr, flush=True)
        waited = True
        time.sleep(min(1.0, patience / 10))
