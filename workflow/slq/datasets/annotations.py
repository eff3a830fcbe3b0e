"""Readers of published annotation files with images and captions, in the formats of Karpathy and COCO.

They yield items of a prepared split. Images are not copied: an item's path is relative to the folder of the source.
"""

import re
import reprlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import parse_json, read_text
from slq.datasets.id_lists import Item

# Keys that are dropped while parsing, to save memory; Karpathy's file for COCO has 150 MB.
UNUSED_KEYS = {"tokens", "license", "coco_url", "date_captured"}
FLICKR_PHOTO_ID = re.compile(r"/(\d+)_[^/]*$")  # the photo number in the URL of a Flickr file


def read_karpathy_items(source: Path, split_config: Mapping[str, Any]) -> Iterator[Item]:
    """Yield the images of one of Karpathy's `dataset_*.json` files, in the file's order.

    Only images of the splits in `split_config["source_splits"]` are yielded. An image's id is its COCO id, or else the
    stem of its file name. Its file is in the folder `split_config["images"]`, or else in the folder that the annotation
    names.

    Raises:
        SlqError: the file has another format, or no image is in one of the `source_splits`.
    """
    file = source / split_config["file"]
    found_splits: set[str] = set()
    for number, entry in enumerate(_read_entries(file, "images")):
        where = f"{file}: images[{number}]"
        found_splits.add(_require_text(entry, "split", where))
        if entry["split"] not in split_config["source_splits"]:
            continue
        name = _require_text(entry, "filename", where)
        folder = split_config.get("images") or _require_text(entry, "filepath", where)
        yield {
            "id": _karpathy_id(entry, where),
            "image": f"{folder}/{name}",
            "captions": [
                _require_text(sentence, "raw", where).strip() for sentence in _require_list(entry, "sentences", where)
            ],
        }
    if absent := [name for name in split_config["source_splits"] if name not in found_splits]:
        raise SlqError(
            f"{file}: no image is in the split '{absent[0]}' of `source_splits` in config.yaml; the file's splits are: "
            f"{', '.join(sorted(found_splits)) or 'none'}"
        )


def _karpathy_id(entry: Any, where: str) -> str:
    """Return an image's COCO id, or else the stem of its file name."""
    if "cocoid" in entry:
        return _require_id(entry, "cocoid", where)
    return PurePosixPath(_require_text(entry, "filename", where)).stem


def read_image_ids(annotation_format: str, files: Iterable[Path]) -> set[str]:
    """Return the ids of all images in annotation files, of all splits.

    The files have the given format; among them may be COCO's `captions_*.json` files.
    """
    found = set()
    for file in files:
        for number, entry in enumerate(_read_entries(file, "images")):
            where, is_karpathy = f"{file}: images[{number}]", annotation_format == "karpathy" and "split" in entry
            found.add(_karpathy_id(entry, where) if is_karpathy else _require_id(entry, "id", where))
    return found


def read_coco_items(source: Path, split_config: Mapping[str, Any]) -> Iterator[Item]:
    """Yield all images of one of COCO's `captions_*.json` files, in the file's order.

    The image files are in the folder `split_config["images"]`.
    """
    file = source / split_config["file"]
    captions: dict[str, list[str]] = defaultdict(list)
    for number, annotation in enumerate(_read_entries(file, "annotations")):
        where = f"{file}: annotations[{number}]"
        captions[_require_id(annotation, "image_id", where)].append(_require_text(annotation, "caption", where).strip())
    for number, entry in enumerate(_read_entries(file, "images")):
        where = f"{file}: images[{number}]"
        name, image_id = _require_text(entry, "file_name", where), _require_id(entry, "id", where)
        yield {"id": image_id, "image": f"{split_config['images']}/{name}", "captions": captions[image_id]}


ANNOTATION_READERS: dict[str, Callable[[Path, Mapping[str, Any]], Iterable[Item]]] = {
    "karpathy": read_karpathy_items,
    "coco": read_coco_items,
}


def read_flickr_photo_ids(files: Iterable[Path]) -> dict[str, str]:
    """Read the Flickr photo number of each image from COCO's `captions_*.json` files; return them by COCO id."""
    photo_ids = {}
    for file in files:
        for number, entry in enumerate(_read_entries(file, "images")):
            where = f"{file}: images[{number}]"
            if found := FLICKR_PHOTO_ID.search(_require_text(entry, "flickr_url", where)):
                photo_ids[_require_id(entry, "id", where)] = found[1]
    return photo_ids


def _read_entries(file: Path, key: str) -> list[dict[str, Any]]:
    """Read the list under a key of a JSON file."""
    if not file.is_file():
        raise SlqError(f"{file}: not found; fetch its source again, or name another file in config.yaml")
    content = parse_json(read_text(file), str(file), "fetch its source again", _drop_unused_keys)
    return _require_list(content, key, str(file))


def _drop_unused_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a dictionary from the pairs whose key is not in UNUSED_KEYS."""
    return {key: value for key, value in pairs if key not in UNUSED_KEYS}


def _require_text(entry: Any, key: str, where: str) -> str:
    """Return the text under a key of an entry."""
    return _require_type(entry, key, where, str, "text")


def _require_id(entry: Any, key: str, where: str) -> str:
    """Return the id under a key of an entry, a number or a text, as text."""
    return str(_require_type(entry, key, where, int | str, "number"))


def _require_list(entry: Any, key: str, where: str) -> list[dict[str, Any]]:
    """Return the list of objects under a key of an entry."""
    found = _require_type(entry, key, where, list, "list")
    for number, one in enumerate(found):
        if not isinstance(one, dict):
            raise SlqError(f"{where}: '{key}[{number}]' must be an object, found {reprlib.repr(one)}")
    return found


def _require_type(entry: Any, key: str, where: str, required_type: Any, expected: str) -> Any:
    """Return the value under a key of an entry, which must be a dictionary; check the value's type."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, required_type):
        found = reprlib.repr(value)
        raise SlqError(
            f"{where}: '{key}' must be a {expected}, found {found}; check that config.yaml names the right file"
        )
    return value
