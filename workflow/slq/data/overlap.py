"""Which items of one split show an image of another: by number, by photo, by bytes, by look."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from slq.data.prepared import Split, image_paths
from slq.data.prints import alike

Pairs = set[tuple[int, int]]  # numbers of items: in the training split, in the other
KINDS = ("ids", "photos", "bytes", "alike")


def overlaps(train: Split, train_prints: np.ndarray, other: Split, other_prints: np.ndarray) -> dict[str, Pairs]:
    """By kind, the pairs of items that show one image.

    `ids`: an id in both, where the ids of both sets are numbers of the same. `photos`: a number at Flickr in both.
    `bytes`: a file in both. `alike`: prints within a distance (`slq.data.prints`).

    Args:
        train_prints, other_prints: of the files of each split, in order.
    """
    shared = train.numbering == other.numbering
    return {
        "ids": _pairs(train, other, lambda _, item: [item["id"]]) if shared else set(),
        "photos": _pairs(train, other, lambda _, item: [item["photo"]] if "photo" in item else []),
        "bytes": _pairs(train, other, lambda split, item: [split.files[path] for path in image_paths(item)]),
        "alike": _alike(train, train_prints, other, other_prints),
    }


def repeated(split: Split, prints: np.ndarray | None = None) -> dict[str, int]:
    """How many items show an image that an earlier one shows: by bytes, and, with their prints, by look."""
    bytes_of = _pairs(split, split, lambda one, item: [one.files[path] for path in image_paths(item)])
    found = (
        {"bytes": bytes_of} if prints is None else {"bytes": bytes_of, "alike": _alike(split, prints, split, prints)}
    )
    return {kind: len({other for one, other in pairs if one < other}) for kind, pairs in found.items()}


def _pairs(train: Split, other: Split, keys: Callable[[Split, dict[str, Any]], Iterable[str]]) -> Pairs:
    """Items with a key in common."""
    places: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(train.items):
        for key in keys(train, item):
            places[key].append(number)
    return {
        (place, number)
        for number, item in enumerate(other.items)
        for key in keys(other, item)
        for place in places.get(key, ())
    }


def _alike(train: Split, train_prints: np.ndarray, other: Split, other_prints: np.ndarray) -> Pairs:
    """Items with files whose prints are alike."""
    trained, tested = _items_of_files(train), _items_of_files(other)
    pairs = alike(train_prints, other_prints)
    return {(one, two) for file, their in pairs for one in trained[file] for two in tested[their]}


def _items_of_files(split: Split) -> list[list[int]]:
    """Of each file of a split, in order, the numbers of the items that show it."""
    shown: dict[str, list[int]] = {path: [] for path in split.files}
    for number, item in enumerate(split.items):
        for path in image_paths(item):
            shown[path].append(number)
    return list(shown.values())
