"""Lists of images with captions as their makers publish them, read into items of the prepared form.

Images stay where they lie: an item's path starts from the folder of the source.
"""

import json
import re
import reprlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from slq.common.errors import SlqError
from slq.datasets.id_lists import Item

UNUSED = {"tokens", "license", "coco_url", "date_captured"}  # dropped as they are read: a list of COCO's is 150 MB
PHOTO = re.compile(r"/(\d+)_[^/]*$")  # the number of a photo in the address of its file at Flickr


def karpathy_items(source: Path, how: Mapping[str, Any]) -> Iterator[Item]:
    """Of a `dataset_*.json` of Karpathy's the images whose split is one of `how["of"]`, in the file's order.

    An image is named by its COCO id where it has one, else by its file's name; it lies in `how["images"]` or where
    the list says.

    Raises:
        SlqError: the file is not of this form, or a name in `how["of"]` is of no image.
    """
    file = source / how["file"]
    there: set[str] = set()
    for number, entry in enumerate(_entries(file, "images")):
        where = f"{file}: images[{number}]"
        there.add(_text(entry, "split", where))
        if entry["split"] not in how["of"]:
            continue
        name = _text(entry, "filename", where)
        folder = how.get("images") or _text(entry, "filepath", where)
        yield {
            "id": _karpathy_id(entry, where),
            "image": f"{folder}/{name}",
            "captions": [_text(sentence, "raw", where).strip() for sentence in _list(entry, "sentences", where)],
        }
    if absent := [name for name in how["of"] if name not in there]:
        raise SlqError(
            f"{file}: no image is of the split '{absent[0]}', which `of` in config.yaml names; there are "
            f"{', '.join(sorted(there)) or 'none'}"
        )


def _karpathy_id(entry: Any, where: str) -> str:
    return str(entry["cocoid"] if "cocoid" in entry else PurePosixPath(_text(entry, "filename", where)).stem)


def listed_ids(form: str, files: Iterable[Path]) -> set[str]:
    """The ids of all images in lists of a form, of whichever split; `captions_*.json` of COCO's may be among them."""
    found = set()
    for file in files:
        for number, entry in enumerate(_entries(file, "images")):
            coco = form == "coco" or "split" not in entry
            found.add(str(entry["id"]) if coco else _karpathy_id(entry, f"{file}: images[{number}]"))
    return found


def coco_items(source: Path, how: Mapping[str, Any]) -> Iterator[Item]:
    """Of a `captions_*.json` of COCO's all images, in the file's order, which lie in `how["images"]`."""
    file = source / how["file"]
    captions: dict[int, list[str]] = defaultdict(list)
    for number, note in enumerate(_entries(file, "annotations")):
        captions[note["image_id"]].append(_text(note, "caption", f"{file}: annotations[{number}]").strip())
    for number, entry in enumerate(_entries(file, "images")):
        name = _text(entry, "file_name", f"{file}: images[{number}]")
        yield {"id": str(entry["id"]), "image": f"{how['images']}/{name}", "captions": captions[entry["id"]]}


FORMS: dict[str, Callable[[Path, Mapping[str, Any]], Iterable[Item]]] = {"karpathy": karpathy_items, "coco": coco_items}


def photo_numbers(files: Iterable[Path]) -> dict[str, str]:
    """By COCO id, the number of the photo at Flickr that the image is, from `captions_*.json` files of COCO's."""
    numbers = {}
    for file in files:
        for number, entry in enumerate(_entries(file, "images")):
            address = _text(entry, "flickr_url", f"{file}: images[{number}]")
            if found := PHOTO.search(address):
                numbers[str(entry["id"])] = found[1]
    return numbers


def _entries(file: Path, key: str) -> list[dict[str, Any]]:
    """The list under a key of a JSON file.

    Raises:
        SlqError: the file cannot be read, is not JSON, or has no such list.
    """
    try:
        content = json.loads(file.read_bytes(), object_pairs_hook=_used)
    except OSError as error:
        raise SlqError(f"{file}: cannot be read: {error.strerror}; fetch its source again") from error
    except ValueError as error:
        raise SlqError(f"{file}: not valid JSON ({error}); fetch its source again") from error
    return _list(content, key, str(file))


def _used(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key not in UNUSED}


def _text(entry: Any, key: str, where: str) -> str:
    return _value(entry, key, where, str, "text")


def _list(entry: Any, key: str, where: str) -> list[Any]:
    return _value(entry, key, where, list, "list")


def _value(entry: Any, key: str, where: str, kind: type, expected: str) -> Any:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        found = reprlib.repr(value)
        raise SlqError(f"{where}: '{key}' must be a {expected}, found {found}; is it the file that config.yaml names?")
    return value
