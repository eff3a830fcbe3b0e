"""Preparation of a split from a fetched source; its counts are checked, and images are not copied."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.datasets.annotations import ANNOTATION_READERS, read_flickr_photo_ids, read_image_ids
from slq.datasets.hub_columns import prepare_questions
from slq.datasets.id_lists import Item, filter_items, refuse_test_images, require_expected_counts
from slq.datasets.splits import check_items, image_paths, write_split


def prepare_split(settings: dict[str, Any], source: Path, out: Path) -> None:
    """Write the prepared form of a split of a source to `out`, with the image hashes from the source's manifest.

    Args:
        settings: `dataset`, `split`, `listing` (the split's entry in `datasets.<dataset>.splits`), and either
            `hub_layout`, or `annotation_format`, `id_namespace`, `flickr_id_files` and `allow_leak`; also
            `listing_files`, the annotation files of all images in the source, if the split has id lists.
        source: folder of the source.
        out: folder of the prepared split.

    Raises:
        SlqError: the source does not match config.yaml, an id list filters nothing, or a training split contains
            published test images.
    """
    name, split_name, split_config = settings["dataset"], settings["split"], settings["listing"]
    if settings.get("hub_layout"):
        prepare_questions(
            settings["hub_layout"], source, out, name, split_name, split_config, read_source_commits(source)
        )
        return
    annotation_format = settings["annotation_format"]
    listing_files = [source / file for file in settings.get("listing_files", [])]
    items = filter_items(
        f"datasets.{name}.splits.{split_name}",
        ANNOTATION_READERS[annotation_format](source, split_config),
        split_config,
        lambda: read_image_ids(annotation_format, listing_files),
    )
    add_flickr_photo_ids(items, settings, source)
    check_items(source / split_config["file"], items)
    require_numeric_ids(name, settings["id_namespace"], items)
    require_expected_counts(name, split_name, items, split_config)
    if not items:
        raise SlqError(
            f"{name}/{split_name}: {source / split_config['file']} has no image of this split "
            f"(datasets.{name}.splits.{split_name})"
        )
    if split_name == "train" and not settings["allow_leak"]:
        refuse_test_images(name, settings["id_namespace"], items)
    image_hashes = read_image_hashes(items, source)
    out.mkdir(parents=True, exist_ok=True)
    write_split(out, name, split_name, "retrieval", items, source, image_hashes, settings["id_namespace"])


def read_source_commits(source: Path) -> list[dict[str, str]]:
    """Return the hub repositories that a source was fetched from, each with its commit."""
    manifest = source / "manifest.json"  # a user's folder of the hub's files has no manifest
    parts = read_json(manifest)["source"].get("parts", []) if manifest.is_file() else []
    return [{"from": part["from"], "commit": part["commit"]} for part in parts if "commit" in part]


def require_numeric_ids(name: str, id_namespace: str | None, items: list[Item]) -> None:
    """Check that ids in a numeric namespace (COCO's or Flickr's) are whole numbers without leading zeros.

    The leak checks compare ids as text and would miss an id in another form.
    """
    for item in items if id_namespace else []:
        if not item["id"].isdecimal() or item["id"] != str(int(item["id"])):
            raise SlqError(
                f"{name}: the id {item['id']!r} is not a number of {id_namespace}, as datasets.{name}.id_namespace in "
                "config.yaml requires: use an annotation file that has these numbers, or remove id_namespace"
            )


def add_flickr_photo_ids(items: list[Item], settings: Mapping[str, Any], source: Path) -> None:
    """Add the Flickr photo number, as `photo`, to each item for which it is known.

    The ids of Flickr30K are Flickr photo numbers; for other datasets, annotation files list the numbers.
    """
    if settings["id_namespace"] == "flickr":
        photo_ids = {item["id"]: item["id"] for item in items}
    else:
        photo_ids = read_flickr_photo_ids(source / file for file in settings["flickr_id_files"])
        if settings["flickr_id_files"] and items and not any(item["id"] in photo_ids for item in items):
            raise SlqError(
                f"{source}: {', '.join(settings['flickr_id_files'])} list the Flickr photo of none of the "
                f"{len(items):,} images; name the files that list them (datasets.{settings['dataset']}.flickr_id_files "
                "in config.yaml)"
            )
    for item in items:
        if item["id"] in photo_ids:
            item["photo"] = photo_ids[item["id"]]


def read_image_hashes(items: list[Item], source: Path) -> dict[str, str]:
    """Read the SHA-256 of every image from the source's manifest, which has the hashes that were verified by the fetch.

    Raises:
        SlqError: the source lacks an image.
    """
    hashes = read_json(source / "manifest.json")["files"]
    paths = [path for item in items for path in image_paths(item)]
    missing = [path for path in paths if path not in hashes]
    if missing:
        raise SlqError(
            f"{source}: {len(missing):,} of {len(paths):,} images in its annotation file are missing (first: "
            f"{missing[0]}); fetch the whole source, or name the right folder (datasets.*.splits.*.images in "
            "config.yaml)"
        )
    return {path: hashes[path] for path in paths}
