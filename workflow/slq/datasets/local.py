"""Import of a dataset that a user supplies, which is checked and hashed; its images are not copied."""

from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.datasets.hub_columns import prepare_questions
from slq.datasets.splits import check_items, hash_images, image_paths, open_image, read_items, write_split


def import_local_split(
    name: str, split_name: str, kind: str, hub_layout: str, same_image: str, source: Path, out: Path
) -> None:
    """Check a local split and write its prepared form to `out`.

    Without a `hub_layout`, `<source>/<split>/items.jsonl` must already have the prepared form. The ids of a training
    split are then compared with those of the val and test splits next to it, so that a leak is found before training.

    Args:
        name: name of the dataset.
        split_name: name of the split.
        kind: `retrieval` or `retention`.
        hub_layout: a key of HUB_LAYOUTS if `source` is an unchanged dataset repository of the hub; otherwise empty.
        same_image: how lines of a retrieval dataset share an image (docs/own-data.md): `row`, `bytes`, or
            empty.
        source: folder of the dataset.
        out: folder of the prepared split.
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
    """Refuse a training split that shares ids with the val or test split of the same dataset."""
    ids = {item["id"] for item in train}
    shared = [item["id"] for item in other if item["id"] in ids]
    if shared:
        raise SlqError(
            f"{other_name}: {len(shared)} of {len(other)} ids are in the training split {train_name} "
            f"(first: {shared[0]!r}); remove them from the training split, or test scores would be meaningless"
        )


def deduplicate_images(name: str, folder: Path, items: list[dict[str, Any]], merge: bool) -> list[dict[str, Any]]:
    """Merge items with identical image files into one item, with the first id and all captions.

    Raises:
        SlqError: two items have identical image files, and `merge` is not set.
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
                f"{folder}: items {item_by_hash[digest]['id']!r} and {item['id']!r} have identical image files; set in "
                f"config.yaml datasets.{name}.same_image: bytes (one image with the captions of both) or "
                "row (two images)"
            )
    return list(item_by_hash.values())
