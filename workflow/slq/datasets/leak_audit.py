"""Audit before training: checks that every split is valid, and that no test image is in the training split."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from slq.common.errors import SlqError
from slq.common.files import write_json, write_text
from slq.datasets.image_fingerprints import compute_split_fingerprints, find_near_duplicates
from slq.datasets.splits import Split, check_items, image_paths, read_split

SCHEMA = 4  # schema version of an audit file
ItemPairs = set[tuple[int, int]]  # (index of an item in the training split, index of an item in the other split)
LEAK_KINDS = ("ids", "photos", "bytes", "alike")


def audit(settings: dict[str, Any], data: Path, work: Path, num_threads: int, out: Path) -> None:
    """Check every split that a preset uses, and write the findings to `out`.

    Args:
        settings: train_dataset, retrieval_datasets, knowledge_datasets, retention_datasets, allow_leak.
        data: folder of the prepared datasets.
        work: scratch folder, for image fingerprints and the list of ids to exclude.
        num_threads: number of threads that decode images.
        out: audit file.

    Raises:
        SlqError: a split is invalid, or the training split contains images of another split and `allow_leak` is not
            set.
    """
    name = settings["train_dataset"]
    train, train_fingerprints, summary = _load_checked_split(data, name, "train", work, num_threads)
    splits = {f"{name}/train": summary}
    leaks: dict[str, dict[str, ItemPairs]] = {}
    captions = {caption for item in train.items for caption in item["captions"]}
    test_datasets = [*settings["retrieval_datasets"], *settings["knowledge_datasets"], *settings["retention_datasets"]]
    for other_name, split_name in [(name, "val"), *((test_dataset, "test") for test_dataset in test_datasets)]:
        other, fingerprints, summary = _load_checked_split(data, other_name, split_name, work, num_threads)
        shared = find_overlaps(train, train_fingerprints, other, fingerprints)
        leaked_indices = {number for kind in LEAK_KINDS for _, number in shared[kind]}
        in_train = {kind: len({number for _, number in shared[kind]}) for kind in LEAK_KINDS}
        in_train["captions"] = sum(any(text in captions for text in item.get("captions", [])) for item in other.items)
        splits[f"{other_name}/{split_name}"] = {
            **summary,
            "repeated": count_duplicates(other, fingerprints),
            "in_train": in_train,
            "leaked": [other.items[number]["id"] for number in sorted(leaked_indices)],
        }
        # Val is used only to select learning rates and epochs. Shared ids with val are a mistake, but other kinds of
        # overlap are only reported.
        blocking_kinds = LEAK_KINDS if split_name == "test" else ("ids",)
        leaks[f"{other_name}/{split_name}"] = {kind: shared[kind] for kind in blocking_kinds if shared[kind]}
    if not settings["allow_leak"]:
        refuse_leaks(train, leaks, splits, work)
    write_json(out, {"schema": SCHEMA, "allow_leak": settings["allow_leak"], "splits": splits})


def _load_checked_split(
    data: Path, name: str, split_name: str, work: Path, threads: int
) -> tuple[Split, np.ndarray, dict[str, Any]]:
    """Load a split and check its items and images; return it with its image fingerprints and a summary."""
    split = read_split(data, name, split_name)
    check_items(split.root, split.items)
    fingerprints = compute_split_fingerprints(split, work, threads)
    return split, fingerprints, {"items": len(split.items), "sha256": split.sha256, "repeated": count_duplicates(split)}


def refuse_leaks(
    train: Split, leaks: dict[str, dict[str, ItemPairs]], splits: dict[str, dict[str, Any]], work: Path
) -> None:
    """Refuse a training split that overlaps with other splits, and write the ids to exclude to a file under `work`.

    Args:
        train: the training split.
        leaks: for each other split, the pairs of overlapping items by kind.
        splits: audit record of each split.
        work: scratch folder.
    """
    messages = []
    for other, shared in leaks.items():
        if shared:
            kinds = ", ".join(f"{kind} {splits[other]['in_train'][kind]:,}" for kind in shared)
            messages.append(f"{len(splits[other]['leaked']):,} of {splits[other]['items']:,} of {other} ({kinds})")
    if not messages:
        return
    train_indices = {number for shared in leaks.values() for pairs in shared.values() for number, _ in pairs}
    id_list_file = work / "leaks" / f"{train.name}.txt"
    write_text(id_list_file, "".join(f"{train.items[number]['id']}\n" for number in sorted(train_indices)))
    raise SlqError(
        f"{train.name}/train contains test images: {'; '.join(messages)}; the ids of its {len(train_indices):,} images "
        f"are listed in {id_list_file}: exclude them (for a fetched source, keep a copy of the list and name it in "
        f"datasets.{train.name}.splits.train.exclude_ids), or set allow_leak: true in the preset, "
        "which the tables then state"
    )


def find_overlaps(
    train: Split, train_fingerprints: np.ndarray, other: Split, other_fingerprints: np.ndarray
) -> dict[str, ItemPairs]:
    """Find the pairs of items that show the same image, by kind of evidence.

    - `ids`: the same id, if both datasets have the same id namespace.
    - `photos`: the same Flickr photo number.
    - `bytes`: identical image files.
    - `alike`: near-duplicate image fingerprints (`slq.datasets.image_fingerprints`).

    Args:
        train: the training split.
        train_fingerprints: fingerprints of the image files of `train`, in order.
        other: the other split.
        other_fingerprints: fingerprints of the image files of `other`, in order.
    """
    same_id_namespace = train.id_namespace == other.id_namespace
    return {
        "ids": _pairs_with_shared_key(train, other, lambda _, item: [item["id"]]) if same_id_namespace else set(),
        "photos": _pairs_with_shared_key(train, other, lambda _, item: [item["photo"]] if "photo" in item else []),
        "bytes": _pairs_with_shared_key(
            train, other, lambda split, item: [split.image_hashes[path] for path in image_paths(item)]
        ),
        "alike": _near_duplicate_pairs(train, train_fingerprints, other, other_fingerprints),
    }


def count_duplicates(split: Split, fingerprints: np.ndarray | None = None) -> dict[str, int]:
    """Count the items whose image repeats that of an earlier item: by bytes and, if given, by fingerprints."""
    same_bytes = _pairs_with_shared_key(
        split, split, lambda one, item: [one.image_hashes[path] for path in image_paths(item)]
    )
    found = {"bytes": same_bytes} | (
        {} if fingerprints is None else {"alike": _near_duplicate_pairs(split, fingerprints, split, fingerprints)}
    )
    return {kind: len({other for one, other in pairs if one < other}) for kind, pairs in found.items()}


def _pairs_with_shared_key(
    train: Split, other: Split, keys_of: Callable[[Split, dict[str, Any]], Iterable[str]]
) -> ItemPairs:
    """Return the pairs of items that share a key."""
    train_indices: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(train.items):
        for key in keys_of(train, item):
            train_indices[key].append(number)
    return {
        (train_index, number)
        for number, item in enumerate(other.items)
        for key in keys_of(other, item)
        for train_index in train_indices.get(key, ())
    }


def _near_duplicate_pairs(
    train: Split, train_fingerprints: np.ndarray, other: Split, other_fingerprints: np.ndarray
) -> ItemPairs:
    """Return the pairs of items whose images have near-duplicate fingerprints."""
    train_items, other_items = _item_indices_by_file(train), _item_indices_by_file(other)
    file_pairs = find_near_duplicates(train_fingerprints, other_fingerprints)
    return {
        (one, two) for file, other_file in file_pairs for one in train_items[file] for two in other_items[other_file]
    }


def _item_indices_by_file(split: Split) -> list[list[int]]:
    """Return, for each image file of a split in order, the indices of the items that use it."""
    indices: dict[str, list[int]] = {path: [] for path in split.image_hashes}
    for number, item in enumerate(split.items):
        for path in image_paths(item):
            indices[path].append(number)
    return list(indices.values())
