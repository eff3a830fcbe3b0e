"""Dataset sizes in config.yaml, from which a forecast is computed."""

from collections.abc import Mapping, Sequence
from typing import Any

from slq.cost.architecture import UnknownCostError

Settings = Mapping[str, Any]
COUNT_KEYS = ("images", "texts")  # keys of a dataset's size, each with one count per split


def require_dataset_size(entry: Settings, split: str, count_keys: Sequence[str] = COUNT_KEYS) -> Settings:
    """Return the size of a dataset, after checking that it has the counts of a split.

    Raises:
        UnknownCostError: config.yaml lacks the size or one of the counts.
    """
    if missing := find_missing_size(entry, split, count_keys):
        raise UnknownCostError(f"config: {missing} is missing; a forecast needs it, as the dataset may not exist yet")
    size: Settings = entry["size"]
    return size


def find_missing_size(entry: Settings, split: str, count_keys: Sequence[str] = COUNT_KEYS) -> str:
    """Find the first key of a dataset's size that a forecast needs and config.yaml lacks; empty if none is missing."""
    size, key = entry["size"], f"datasets.{entry['name']}.size"
    if not size:
        return key
    return next((f"{key}.{kind}.{split}" for kind in count_keys if split not in size.get(kind, {})), "")
