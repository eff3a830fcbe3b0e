"""What must hold before anything is trained: sets as they should be, and no test item in the training set."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from slq.common.errors import SlqError
from slq.common.files import write_json, write_text
from slq.datasets.image_fingerprints import alike, prints_of
from slq.datasets.prepared import Split, check_items, image_paths, read_split

SCHEMA = 3  # of an audit
Pairs = set[tuple[int, int]]  # numbers of items: in the training split, in the other
KINDS = ("ids", "photos", "bytes", "alike")


def audit(settings: dict[str, Any], data: Path, work: Path, threads: int, out: Path) -> None:
    """Check every split that a preset uses and write what was found.

    Args:
        settings: of the rule: train_set, retrieval_sets, knowledge_sets, retention_sets, allow_leak.
        work: scratch folder, for prints of images and the list of what to leave out.

    Raises:
        SlqError: a fault in a split, or a training split that holds images of the others, unless `allow_leak`.
    """
    name = settings["train_set"]
    train, train_prints, found = _look(data, name, "train", work, threads)
    splits = {f"{name}/train": found}
    leaks: dict[str, dict[str, Pairs]] = {}
    captions = {caption for item in train.items for caption in item["captions"]}
    tested = [*settings["retrieval_sets"], *settings["knowledge_sets"], *settings["retention_sets"]]
    for other_name, part in [(name, "val"), *((test_set, "test") for test_set in tested)]:
        other, prints, found = _look(data, other_name, part, work, threads)
        shared = overlaps(train, train_prints, other, prints)
        leaked = {number for kind in KINDS for _, number in shared[kind]}
        in_train = {kind: len({number for _, number in shared[kind]}) for kind in KINDS}
        in_train["captions"] = sum(any(text in captions for text in item.get("captions", [])) for item in other.items)
        splits[f"{other_name}/{part}"] = {
            **found,
            "repeated": repeated(other, prints),
            "in_train": in_train,
            "leaked": [other.items[number]["id"] for number in sorted(leaked)],
        }
        # Val chooses rates and epochs: the same numbers are a mistake, and what looks alike is only reported.
        stopping = KINDS if part == "test" else ("ids",)
        leaks[f"{other_name}/{part}"] = {kind: shared[kind] for kind in stopping if shared[kind]}
    if not settings["allow_leak"]:
        refuse_leaks(train, leaks, splits, work)
    write_json(out, {"schema": SCHEMA, "allow_leak": settings["allow_leak"], "splits": splits})


def _look(data: Path, name: str, part: str, work: Path, threads: int) -> tuple[Split, np.ndarray, dict[str, Any]]:
    """A split whose items and images are sound, the prints of its images, and what there is to say of it alone."""
    split = read_split(data, name, part)
    check_items(split.root, split.items)
    prints = prints_of(split, work, threads)
    return split, prints, {"items": len(split.items), "sha256": split.sha256, "repeated": repeated(split)}


def refuse_leaks(
    train: Split, leaks: dict[str, dict[str, Pairs]], splits: dict[str, dict[str, Any]], work: Path
) -> None:
    """Stop with the numbers of a training split's overlap with others; the ids to leave out are written under `work`.

    Args:
        leaks: pairs by kind, by the other split.

    Raises:
        SlqError: there are some.
    """
    told = []
    for other, shared in leaks.items():
        if shared:
            kinds = ", ".join(f"{kind} {splits[other]['in_train'][kind]:,}" for kind in shared)
            told.append(f"{len(splits[other]['leaked']):,} of {splits[other]['items']:,} of {other} ({kinds})")
    if not told:
        return
    numbers = {number for shared in leaks.values() for pairs in shared.values() for number, _ in pairs}
    listed = work / "leaks" / f"{train.name}.txt"
    write_text(listed, "".join(f"{train.items[number]['id']}\n" for number in sorted(numbers)))
    raise SlqError(
        f"{train.name}/train holds what is tested: {'; '.join(told)}; its {len(numbers):,} images are in {listed}, by "
        "id: leave them out (of a source: keep a copy of the list and name it in "
        f"sets.{train.name}.splits.train.without), or say allow_leak: true in the preset, which the tables then state"
    )


def overlaps(train: Split, train_prints: np.ndarray, other: Split, other_prints: np.ndarray) -> dict[str, Pairs]:
    """By kind, the pairs of items that show one image.

    `ids`: an id in both, where the ids of both sets are numbers of the same. `photos`: a number at Flickr in both.
    `bytes`: a file in both. `alike`: prints within a distance (`slq.datasets.image_fingerprints`).

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
    found = {"bytes": bytes_of} | ({} if prints is None else {"alike": _alike(split, prints, split, prints)})
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
