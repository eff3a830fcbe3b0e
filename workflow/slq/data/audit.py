"""What must hold before anything is trained: sets as they should be, and no test item in the training set."""

from collections import Counter
from pathlib import Path
from typing import Any

from slq.data.prepared import Split, image_paths, open_image, read_split
from slq.data.questions import pieces
from slq.errors import SlqError

SCHEMA = 2  # of an audit


def check_items(root: Path, items: list[dict[str, Any]]) -> None:
    """Unique ids, captions and questions with words, markers that name images.

    Raises:
        SlqError: the first fault, with the id and the file.
    """
    twice = [name for name, count in Counter(item["id"] for item in items).items() if count > 1]
    if twice:
        raise SlqError(f"{root}: id {twice[0]!r} occurs more than once ({len(twice)} such ids); ids name one item each")
    for item in items:
        captions = item.get("captions", [item.get("question")])
        if not captions or not all(isinstance(text, str) and text.strip() for text in captions):
            raise SlqError(f"{root}: item {item['id']!r} has an empty caption; every caption needs words")
        if "question" in item:
            try:
                pieces(item)
            except SlqError as error:
                raise SlqError(f"{root}: {error}") from error


def check_images(root: Path, items: list[dict[str, Any]]) -> None:
    """Decode every image of the items.

    Raises:
        SlqError: the first that is missing, truncated, or not an image.
    """
    for item in items:
        for path in image_paths(item):
            open_image(root / path)


def refuse_shared_ids(
    train_name: str, train: list[dict[str, Any]], other_name: str, other: list[dict[str, Any]]
) -> None:
    """Raise SlqError if items of a val or test split are in the training split of the same set."""
    ids = {item["id"] for item in train}
    shared = [item["id"] for item in other if item["id"] in ids]
    if shared:
        raise SlqError(
            f"{other_name}: {len(shared)} of {len(other)} ids are in the training split {train_name} "
            f"(first: {shared[0]!r}); remove them from it: a test of trained images measures nothing"
        )


def seen_in_training(train: Split, other: Split) -> list[str]:
    """Ids of the items of `other` that show a picture of `train`: a file with the same bytes, under whatever name."""
    pictures = set(train.files.values())
    return [item["id"] for item in other.items if pictures & {other.files[path] for path in image_paths(item)}]


def overlap(train: Split, other: Split) -> dict[str, int]:
    """How many items of `other` are in `train`, by id (where both are of one set) and by caption."""
    ids = {item["id"] for item in train.items} if train.name == other.name else set()
    captions = {caption for item in train.items for caption in item["captions"]}
    return {
        "ids": sum(item["id"] in ids for item in other.items),
        "captions": sum(any(text in captions for text in item.get("captions", [])) for item in other.items),
    }


def audit(data: Path, train_set: str, retrieval_sets: list[str], retention_sets: list[str]) -> dict[str, Any]:
    """Check every split that a preset uses and return what was found.

    Raises:
        SlqError: a fault in a split, or test or val ids in the training split.
    """
    train = read_split(data, train_set, "train")
    others = [(train_set, "val"), *((name, "test") for name in [*retrieval_sets, *retention_sets])]
    check_items(train.root, train.items)
    found: dict[str, Any] = {f"{train_set}/train": {"items": len(train.items), "sha256": train.sha256}}
    for name, split in others:
        other = read_split(data, name, split)
        check_items(other.root, other.items)
        if name == train_set:
            refuse_shared_ids(f"{name}/train", train.items, f"{name}/{split}", other.items)
        found[f"{name}/{split}"] = {
            "items": len(other.items),
            "sha256": other.sha256,
            "in_train": overlap(train, other),
            "leaked": seen_in_training(train, other),
        }
    return {"schema": SCHEMA, "splits": found}
