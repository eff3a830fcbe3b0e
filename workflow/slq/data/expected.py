"""What a split must hold, as config.yaml says: another version of a set is not taken for the set."""

from collections.abc import Callable, Mapping
from typing import Any

from slq.data.ids import hash_ids
from slq.errors import SlqError

Items = list[dict[str, Any]]
COUNTED: dict[str, tuple[str, Callable[[Items], int | str]]] = {
    "items": ("images or questions", len),
    "captions": ("captions", lambda items: sum(len(item["captions"]) for item in items)),
    "options": ("questions with options", lambda items: sum(bool(item["options"]) for item in items)),
    "types": ("types of questions", lambda items: len({item["type"] for item in items})),
    "ids_sha256": ("the SHA-256 of its ids in order", lambda items: hash_ids(item["id"] for item in items)),
}


def require_expected(name: str, split: str, items: Items, asked: Mapping[str, Any]) -> None:
    """Compare a split with those of the keys of `COUNTED` that `asked` has, `sets.<set>.splits.<split>` in config.yaml.

    Raises:
        SlqError: the first that differs, with both values.
    """
    for key, (what, count) in COUNTED.items():
        if key in asked and (found := count(items)) != asked[key]:
            raise SlqError(
                f"{name}/{split}: {what}: {found}, expected {asked[key]} (sets.{name}.splits.{split}.{key} in "
                "config.yaml); the source holds another version of the set: find out which, and say there what it "
                "holds if you mean it"
            )
