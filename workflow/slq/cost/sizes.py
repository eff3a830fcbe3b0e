"""What a forecast is read from: the size of each set in config.yaml."""

from collections.abc import Mapping, Sequence
from typing import Any

from slq.cost.architecture import NotForecast

Settings = Mapping[str, Any]
COUNTED = ("images", "texts")  # of a set's size, by split


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
