"""What a forecast is read from: the size of each dataset in config.yaml."""

from collections.abc import Mapping, Sequence
from typing import Any

from slq.cost.architecture import UnknownCostError

Settings = Mapping[str, Any]
COUNT_KEYS = ("images", "texts")  # of a dataset's size, by split


def require_dataset_size(entry: Settings, split: str, count_keys: Sequence[str] = COUNT_KEYS) -> Settings:
    """The size of a dataset that has the counts of a split.

    Raises:
        UnknownCostError: config.yaml leaves it out, or one of them.
    """
    if missing := find_missing_size(entry, split, count_keys):
        raise UnknownCostError(f"config: {missing} is missing; a forecast needs it before the dataset is there")
    size: Settings = entry["size"]
    return size


def find_missing_size(entry: Settings, split: str, count_keys: Sequence[str] = COUNT_KEYS) -> str:
    """The first key of a dataset's size that config.yaml leaves out and a forecast needs; empty if it has all."""
    size, key = entry["size"], f"datasets.{entry['name']}.size"
    if not size:
        return key
    return next((f"{key}.{kind}.{split}" for kind in count_keys if split not in size.get(kind, {})), "")
