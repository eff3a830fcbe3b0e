"""What must hold of the items of a split, however it is prepared."""

from collections import Counter
from pathlib import Path
from typing import Any

from slq.data.prepared import image_paths, open_image
from slq.data.questions import pieces
from slq.errors import SlqError


def check_items(root: Path, items: list[dict[str, Any]]) -> None:
    """Unique ids, captions and questions with words, questions with an answer, markers that name images.

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
            if not item["answers"]:
                raise SlqError(f"{root}: item {item['id']!r} has no answer; 'answers' lists every accepted one")
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
