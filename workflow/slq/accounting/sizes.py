"""How much a set holds, as config.yaml says it: what a forecast needs of it, and what is left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from slq.accounting.architecture import NotForecast, read_architecture
from slq.accounting.memory import BYTES, GB

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


def download(settings: Settings) -> tuple[float, float]:
    """GB of the backbones that are fetched, and of the sets."""
    models = sum(
        read_architecture(backbone["architecture"]).weights * BYTES["bfloat16"]
        for backbone in settings["backbones"]
        if backbone["fetched"]
    )
    sets: Sequence[Settings] = [settings["train_set"], *settings["retrieval_sets"], *settings["retention_sets"]]
    by_name = {entry["name"]: entry["size"].get("disk_gb", 0.0) for entry in sets}
    return models / GB, sum(by_name.values())
