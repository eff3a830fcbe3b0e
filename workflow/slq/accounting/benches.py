"""Bench files: steps that were timed before a run, what a forecast is calibrated by."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.files import read_json

SCHEMA = 1


def read_benches(settings: Mapping[str, Any], results: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """`bench.json` of each backbone and method that has one, in any of the seeds' folders the first.

    Raises:
        SlqError: a file is of another schema.
    """
    found = {}
    for backbone in settings["backbones"]:
        for method in settings["methods"]:
            folder = results / settings["preset"] / backbone["name"] / method
            paths = [folder / f"seed{seed}" / "bench.json" for seed in settings["seeds"]]
            for path in [path for path in paths if path.exists()][:1]:
                bench = read_json(path)
                if bench.get("schema") != SCHEMA:
                    raise SlqError(f"{path}: schema is {bench.get('schema')!r}; expected {SCHEMA}: make it again")
                found[backbone["name"], method] = bench
    return found
