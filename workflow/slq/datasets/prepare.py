"""Preparation of a split of a fetched source: ids from the source, images left in place, counts checked."""

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
    """Write the prepared form of a split of a source into `out`, with the image hashes of the source's manifest.

    Args:
        settings: `dataset`, `split`, `listing` (of `datasets.<dataset>.splits`), and either `hub_layout`, or
            `annotation_format`, `id_namespace`, `flickr_id_files`, `allow_leak` and, if the split has id lists,
            `listing_files`, all files that list the source's images.

    Raises:
        SlqError: the source does not hold what config.yaml says, an id list filters nothing, or a training split holds
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
            f"{name}/{split_name}: no image is in {source / split_config['file']} of this split "
            f"(datasets.{name}.splits.{split_name})"
        )
    if split_name == "train" and not settings["allow_leak"]:
        refuse_test_images(name, settings["id_namespace"], items)
    image_hashes = read_image_hashes(items, source)
    out.mkdir(parents=True, exist_ok=True)
    write_split(out, name, split_name, "retrieval", items, source, image_hashes, settings["id_namespace"])


def read_source_commits(source: Path) -> list[dict[str, str]]:
    """Return the repositories of the hub that a source was fetched from, each with its commit."""
    manifest = source / "manifest.json"  # absent when questions come from any folder of the hub's files
    parts = read_json(manifest)["source"].get("parts", []) if manifest.is_file() else []
    return [{"from": part["from"], "commit": part["commit"]} for part in parts if "commit" in part]


def require_numeric_ids(name: str, id_namespace: str | None, items: list[Item]) -> None:
    """Check that ids in a numeric namespace (COCO's or Flickr's) are written as plain whole numbers.

    Ids in another form would pass every guard that compares them.

    Raises:
        SlqError: an id is not; the message names the first.
    """
    for item in items if id_namespace else []:
        if not item["id"].isdecimal() or item["id"] != str(int(item["id"])):
            raise SlqError(
                f"{name}: the id {item['id']!r} is no number of {id_namespace}, and datasets.{name}.id_namespace in "
                "config.yaml says that ids are: read the dataset from a list that has them, or take id_namespace out"
            )


def add_flickr_photo_ids(items: list[Item], settings: Mapping[str, Any], source: Path) -> None:
    """Add to each item its Flickr photo number, as `photo`, where it is known: Flickr30K's ids are these numbers.

    Raises:
        SlqError: the files that should list the numbers have none for these images.
    """
    if settings["id_namespace"] == "flickr":
        photo_ids = {item["id"]: item["id"] for item in items}
    else:
        photo_ids = read_flickr_photo_ids(source / file for file in settings["flickr_id_files"])
        if settings["flickr_id_files"] and items and not any(item["id"] in photo_ids for item in items):
            raise SlqError(
                f"{source}: {', '.join(settings['flickr_id_files'])} tell the photo of none of the {len(items):,} "
                f"images; name the files that list them (datasets.{settings['dataset']}.flickr_id_files in config.yaml)"
            )
    for item in items:
        if item["id"] in photo_ids:
            item["photo"] = photo_ids[item["id"]]


def read_image_hashes(items: list[Item], source: Path) -> dict[str, str]:
    """Read the SHA-256 of every image from the source's manifest, which lists the hashes that the fetch verified.

    Raises:
        SlqError: the source lacks an image.
    """
    hashes = read_json(source / "manifest.json")["files"]
    paths = [path for item in items for path in image_paths(item)]
    missing = [path for path in paths if path not in hashes]
    if missing:
        raise SlqError(
            f"{source}: {len(missing):,} of {len(paths):,} images that its list names are not in it (first: "
            f"{missing[0]}); fetch it whole, or name the right folder (datasets.*.splits.*.images in config.yaml)"
        )
    return {path: hashes[path] for path in paths}
