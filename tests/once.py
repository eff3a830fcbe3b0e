"""Expensive folders that are made once for all workers of a test run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Make a folder in the first worker that needs it, and give each worker its own copy.

    Args:
        make: called with a folder that does not exist. An exception fails the tests of this worker, and the next
            worker tries again.

    Returns:
        The worker's own copy, which it may change. File times are those of the original.
    """
    own = factory.getbasetemp()
    common = own.parent if own.name.startswith("popen-") else own  # each worker of pytest-xdist has a subfolder
    original = common / f"{name}-made-once"
    with FileLock(common / f"{name}.lock"):
        if not original.exists():
            started = common / f"{name}-started"
            shutil.rmtree(started, ignore_errors=True)
            make(started)
            started.rename(original)
    return shutil.copytree(original, own / f"{name}-copy", symlinks=True)
