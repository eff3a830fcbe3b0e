"""A split of a fetched source in the prepared form: its own ids, its images where they lie, its counts as expected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.data.checks import check_items
from slq.data.columns import prepare_questions
from slq.data.expected import require_expected
from slq.data.forms import FORMS, Item, photo_numbers
from slq.data.ids import id_list, refuse_test_images
from slq.data.prepared import image_paths, write_split
from slq.errors import SlqError
from slq.files import read_json


def prepare_split(settings: dict[str, Any], source: Path, out: Path) -> None:
    """Write the prepared form of a split of a source into `out`; the source's manifest proves the images.

    Args:
        settings: `set`, `split`, `how` (of `sets.<set>.splits`), and either `columns`, or `form`, `numbering`, `photos`
            and `allow_leak`.

    Raises:
        SlqError: the source does not hold what config.yaml says, or a training split holds published test images.
    """
    name, split, how = settings["set"], settings["split"], settings["how"]
    if settings.get("columns"):
        prepare_questions(settings["columns"], source, out, name, split, how)
        return
    items = selected(FORMS[settings["form"]](source, how), how)
    number_photos(items, settings, source)
    check_items(source / how["file"], items)
    require_expected(name, split, items, how)
    if split == "train" and not settings["allow_leak"]:
        refuse_test_images(name, settings["numbering"], items)
    files = proved_files(items, source)
    out.mkdir(parents=True, exist_ok=True)
    write_split(out, name, split, "retrieval", items, source, files, settings["numbering"])


def selected(items: Any, how: Mapping[str, Any]) -> list[Item]:
    """The items with an id in every list of `only` and in none of `without`."""
    only = [set(id_list(name)) for name in how.get("only", [])]
    without = {one for name in how.get("without", []) for one in id_list(name)}
    return [item for item in items if item["id"] not in without and all(item["id"] in ids for ids in only)]


def number_photos(items: list[Item], settings: Mapping[str, Any], source: Path) -> None:
    """Give each item its `photo`, the number at Flickr, where it is known: Flickr30K's ids are these numbers."""
    if settings["numbering"] == "flickr":
        numbers = {item["id"]: item["id"] for item in items}
    else:
        numbers = photo_numbers(source / file for file in settings["photos"])
    for item in items:
        if item["id"] in numbers:
            item["photo"] = numbers[item["id"]]


def proved_files(items: list[Item], source: Path) -> dict[str, str]:
    """The SHA-256 of every image, as the fetch proved it.

    Raises:
        SlqError: the source holds no such file.
    """
    hashes = read_json(source / "manifest.json")["files"]
    paths = [path for item in items for path in image_paths(item)]
    missing = [path for path in paths if path not in hashes]
    if missing:
        raise SlqError(
            f"{source}: {len(missing):,} of {len(paths):,} images that its list names are not in it (first: "
            f"{missing[0]}); fetch it whole, or name the right folder (sets.*.splits.*.images in config.yaml)"
        )
    return {path: hashes[path] for path in paths}
