"""What a forecast is read from: the size of each set in config.yaml, and steps that `slq bench run` timed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slq.accounting.architecture import NotForecast
from slq.errors import SlqError
from slq.files import read_json

Settings = Mapping[str, Any]
COUNTED = ("images", "texts")  # of a set's size, by split
SCHEMA = 1  # of bench.json


def size_of(entry: Settings, split: str, counted: Sequence[str] = COUNTED) -> Settings:
    """The size of a set that has the counts of a split.

    Raises:
        NotForecast: config.yaml leaves it out, or one of them.
    """
    if missing := missing_size(entry, split, counted):
        raise NotForecast(f"config: {missing} is missing; a forecast needs it before the set is there")
    size: Settings = entry["size"]
    return size


def missing_size(entry: Settings, split: str, counted: Sequence[str] = COUNTED) -> str:
    """The first key of a set's size that config.yaml leaves out and a forecast needs; empty if it has all."""
    size, key = entry["size"], f"sets.{entry['name']}.size"
    if not size:
        return key
    return next((f"{key}.{kind}.{split}" for kind in counted if split not in size.get(kind, {})), "")


def read_benches(settings: Settings, results: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Read `bench.json` of each backbone and method that has one, in any of the seeds' folders the first.

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
