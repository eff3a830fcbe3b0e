"""Import of a dataset that a user supplies: it is checked and hashed, and its images stay where they are."""

from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.datasets.hub_columns import prepare_questions
from slq.datasets.splits import check_items, hash_images, image_paths, open_image, read_items, write_split


def import_local_split(
    name: str, split_name: str, kind: str, hub_layout: str, same_image: str, source: Path, out: Path
) -> None:
    """Write the prepared form of a local split into `out`.

    Args:
        hub_layout: a key of HUB_LAYOUTS: `source` is then a dataset repository of the hub as it is downloaded. If
            empty, `<source>/<split>/items.jsonl` is already in the prepared form: every item and image is checked, and
            a training split is compared with the val and test splits beside it, so that a leak is found before anything
            is trained.
        same_image: which lines of a retrieval dataset are one image (docs/own-data.md): `row`, `bytes`, or empty.

    Raises:
        SlqError: the first fault found, with file and line or id.
    """
    if hub_layout:
        prepare_questions(hub_layout, source, out, name, split_name)
        return
    folder = source / split_name
    items = read_items(folder / "items.jsonl", kind)
    check_items(folder, items)
    if split_name == "train":
        for sibling in ("val", "test"):
            other = source / sibling / "items.jsonl"
            if other.is_file():
                refuse_shared_ids(f"{name}/train", items, f"{name}/{sibling}", read_items(other, kind))
    for item in items:
        for path in image_paths(item):
            open_image(folder / path)
    if kind == "retrieval" and same_image != "row":
        items = deduplicate_images(name, folder, items, merge=same_image == "bytes")
    out.mkdir(parents=True, exist_ok=True)
    write_split(out, name, split_name, kind, items, root=folder)


def refuse_shared_ids(
    train_name: str, train: list[dict[str, Any]], other_name: str, other: list[dict[str, Any]]
) -> None:
    """Raise SlqError if ids of a val or test split are also in the training split of the same dataset."""
    ids = {item["id"] for item in train}
    shared = [item["id"] for item in other if item["id"] in ids]
    if shared:
        raise SlqError(
            f"{other_name}: {len(shared)} of {len(other)} ids are in the training split {train_name} "
            f"(first: {shared[0]!r}); remove them from it: a test of trained images measures nothing"
        )


def deduplicate_images(name: str, folder: Path, items: list[dict[str, Any]], merge: bool) -> list[dict[str, Any]]:
    """Return the items with each image once, under its first id, with the captions of all lines that have its bytes.

    Raises:
        SlqError: two lines have the same bytes, and `merge` does not say that they are one image.
    """
    hashes = hash_images(folder, items)
    item_by_hash: dict[str, dict[str, Any]] = {}
    for item in items:
        digest = hashes[item["image"]]
        if digest not in item_by_hash:
            item_by_hash[digest] = {**item, "captions": list(item["captions"])}
        elif merge:
            item_by_hash[digest]["captions"] += item["captions"]
        else:
            raise SlqError(
                f"{folder}: items {item_by_hash[digest]['id']!r} and {item['id']!r} show the same picture; say in "
                f"config.yaml what that means, datasets.{name}.same_image: bytes (one image, the captions of both) or "
                "row (two images)"
            )
    return list(item_by_hash.values())
