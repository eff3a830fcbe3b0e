"""Stand-in for the functions of all jobs: logs the start and end of a job, and makes empty outputs.

A test copies it into a copy of the package (`put_stand_in`). All other code, from rule to exit status, is unchanged.
"""

import os
import sys
import time
from pathlib import Path

from slq.common.errors import SlqError


def run_stand_in(**arguments: object) -> None:
    """Make the outputs of a job, found by the names of its paths; fail if STAND_IN_FAILS names the job."""
    job, paths = sys.argv[1], {name: value for name, value in arguments.items() if isinstance(value, Path)}
    log(f"begin {job}")
    time.sleep(0.5)
    log(f"end {job}")
    if job == os.environ.get("STAND_IN_FAILS"):
        raise SlqError(f"{job}: it is wrong")
    for path in outputs(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch()


def log(what: str) -> None:
    with open("calls.txt", "a") as file:
        file.write(f"{what}\n")


def outputs(paths: dict[str, Path]) -> list[Path]:
    files = [path for name, path in paths.items() if name.endswith("_file")]
    files += [path / "adapter.json" for name, path in paths.items() if name == "adapter_folder"]
    files += [path if path.suffix else path / "manifest.json" for name, path in paths.items() if name == "out"]
    return files
