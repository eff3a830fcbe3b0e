"""What is expensive to make is made once for all workers of a run of the suite."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Make a folder in the first worker that asks for it, and give every worker a copy of its own.

    Args:
        make: is called with a folder that does not exist; what it raises fails the tests of this worker, and the next
            worker tries again.

    Returns:
        The worker's folder: it may be changed, and no other worker notices. Times of files are those of the original.
    """
    own = factory.getbasetemp()
    common = own.parent if own.name.startswith("popen-") else own  # workers of pytest-xdist have a folder each in it
    original = common / f"{name}-made-once"
    with FileLock(common / f"{name}.lock"):
        if not original.exists():
            started = common / f"{name}-started"
            shutil.rmtree(started, ignore_errors=True)
            make(started)
            started.rename(original)
    return shutil.copytree(original, own / f"{name}-copy", symlinks=True)
