"""The prepared form of a split (docs/own-data.md): written once, read by training and evaluation."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from slq.common.errors import SlqError, TextError
from slq.common.files import hash_file, one_line, read_json, read_json_objects, write_json, write_text
from slq.common.schema import require_schema, require_type
from slq.datasets.image_conversion import as_rgb
from slq.datasets.questions import MAX_OPTIONS, question_segments

SCHEMA = 3
ITEM_FIELDS = {
    "retrieval": {"id": str, "image": str, "captions": list},
    "retention": {"id": str, "images": list, "question": str, "options": list, "answers": list, "type": str},
}
MEND_IMAGE = "mend it, or take it out"
# Some cameras and editors write more than the megabyte of compressed text that Pillow reads beside a PNG's pixels.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


@dataclass(frozen=True)
class Split:
    """A split in memory.

    Attributes:
        items: in evaluation order.
        root: the folder that the items' image paths are relative to.
        sha256: the split's identity.
        image_hashes: the SHA-256 of every image, by its path.
        id_namespace: what its ids are numbers of; the dataset itself, unless several datasets share them.
        source_commits: the repositories of the hub that it was fetched from, each with its commit.
        split_name: train, val or test; empty for a user's images, which are in no dataset.
    """

    name: str
    items: list[dict[str, Any]]
    root: Path
    sha256: str
    image_hashes: Mapping[str, str] = field(default_factory=dict)
    id_namespace: str = ""
    source_commits: Sequence[Mapping[str, str]] = ()
    split_name: str = ""

    @property
    def caption_ids(self) -> list[str]:
        """The id of each caption (T,), in the order of the items: `<image>#<n>` for the n-th caption of an image."""
        return [f"{item['id']}#{n}" for item in self.items for n in range(len(item["captions"]))]

    @property
    def caption_to_image(self) -> np.ndarray:
        """The image index of each caption (T,)."""
        return np.repeat(np.arange(len(self.items)), [len(item["captions"]) for item in self.items])

    def open(self, path: str) -> Image.Image:
        """Decode an image of the split, as RGB.

        Raises:
            SlqError: as in `open_image`, or the image's bytes are not those that the split's identity was computed
                from.
        """
        return open_image(self.root / path, lambda: self._exclusion_advice(path), self.image_hashes.get(path))

    @contextmanager
    def naming_items(self) -> Iterator[None]:
        """Add to a TextError the name of the split, and the id of the item that has the text."""
        try:
            yield
        except TextError as error:
            for item in self.items:
                if error.text and any(error.text in text for text in item.get("captions") or [item["question"]]):
                    message = f"{self.name}: item {item['id']!r}: {error}"
                    raise TextError(message, error.text) from error
            raise

    def _exclusion_advice(self, path: str) -> str:
        """Say how to leave out an image whose bytes are as they came: a source's, as others are opened before."""
        if not self.split_name:
            return MEND_IMAGE
        items = [item for item in self.items if path in image_paths(item)]
        lowered = {"items": len(items), "captions": sum(len(item.get("captions", ())) for item in items)}
        counts = " and ".join(f"{key} by {count}" for key, count in lowered.items() if count)
        return (
            f"its source has it so, and fetching again brings the same: write its id, {items[0]['id']}, into a file, "
            f"name the file in datasets.{self.name}.splits.{self.split_name}.exclude_ids, and there lower {counts} and "
            "take ids_sha256 out"
        )


class UnreadableImageError(SlqError):
    """Bytes that are no image that can be used; the message is the reason alone."""


def decode_image(data: bytes) -> tuple[Image.Image, str]:
    """Decode an image completely, as RGB (`as_rgb`), and return it with the name of its format.

    Raises:
        UnreadableImageError: it is truncated, not an image, or of an unsupported kind.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            return as_rgb(image), str(image.format)
    except UnidentifiedImageError as error:  # its message would name the buffer of the bytes, which is no file
        raise UnreadableImageError("of no format that PIL reads") from error
    except Exception as error:  # for damaged bytes, Pillow's decoders raise errors of any kind
        raise UnreadableImageError(one_line(error)) from error


def open_image(
    path: Path, remedy: str | Callable[[], str] = MEND_IMAGE, expected_sha256: str | None = None
) -> Image.Image:
    """Decode an image completely, as RGB (`as_rgb`).

    Args:
        remedy: what to do about an image that cannot be read, for the message; a function says so of one that exists.
        expected_sha256: the SHA-256 of its bytes, if known; the check takes 2 % of the decoding time.

    Raises:
        SlqError: the image is missing, truncated, not an image, of an unsupported kind, or has other bytes.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        advice = "make its dataset again" if callable(remedy) else remedy
        raise SlqError(f"{path}: not a readable image ({error}); {advice}") from error
    found = hashlib.sha256(data).hexdigest() if expected_sha256 else None
    if found != expected_sha256:
        raise SlqError(
            f"{path}: not the image that its dataset was prepared with (sha256 {found}, expected {expected_sha256}); a "
            "local dataset is prepared anew by the next call of snakemake, a fetched one mended by --forcerun "
            "fetch_source, a synthetic one by --forcerun make_synthetic_split"
        )
    try:
        return decode_image(data)[0]
    except UnreadableImageError as error:
        advice = remedy() if callable(remedy) else remedy
        raise SlqError(f"{path}: not a readable image ({error}); {advice}") from error


def write_split(
    out: Path,
    name: str,
    split_name: str,
    kind: str,
    items: Sequence[dict[str, Any]],
    root: Path | None = None,
    image_hashes: dict[str, str] | None = None,
    id_namespace: str | None = None,
    source_commits: Sequence[Mapping[str, str]] = (),
) -> None:
    """Write items.jsonl and, last, the manifest with the hash of every file.

    Args:
        root: the folder that the items' image paths are relative to, if not `out` itself (images are not copied).
        image_hashes: the SHA-256 of every image, by its path, if known; else every image is read.
        id_namespace: what the ids are numbers of, if another dataset's ids may be numbers of the same thing.
        source_commits: the repositories of the hub that it is from, each with its commit; not part of its identity.
    """
    write_text(out / "items.jsonl", "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    image_root = root or out
    image_hashes = hash_images(image_root, items) if image_hashes is None else image_hashes
    identity_hash = hashlib.sha256(hash_file(out / "items.jsonl").encode())
    for path, digest in sorted(image_hashes.items()):
        identity_hash.update(f"{path} {digest}".encode())
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "dataset": name,
        "split": split_name,
        "kind": kind,
        "root": os.path.relpath(root.resolve(), out.resolve()) if root else ".",
        "id_namespace": id_namespace,
        "items": len(items),
        "sha256": identity_hash.hexdigest(),
        "files": image_hashes,
    }
    if source_commits:
        manifest["origin"] = list(source_commits)
    if kind == "retrieval":
        manifest["captions"] = sum(len(item["captions"]) for item in items)
    write_json(out / "manifest.json", manifest)


def hash_images(root: Path, items: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Compute the SHA-256 of every image file of the items, by its path."""
    return {path: hash_file(root / path) for item in items for path in image_paths(item)}


def image_paths(item: dict[str, Any]) -> list[str]:
    """Return the image paths of a retrieval or retention item."""
    return item["images"] if "images" in item else [item["image"]]


def read_split(data: Path, name: str, split_name: str) -> Split:
    """Read a split that has its manifest.

    Raises:
        SlqError: there is no manifest, or it is of another schema.
    """
    folder = data / name / split_name
    manifest = read_json(folder / "manifest.json")
    require_schema(folder / "manifest.json", manifest, SCHEMA, "prepare it again")
    items = read_items(folder / "items.jsonl", manifest["kind"])
    id_namespace = manifest["id_namespace"] or name
    root, source_commits = folder / manifest["root"], manifest.get("origin", ())
    return Split(name, items, root, manifest["sha256"], manifest["files"], id_namespace, source_commits, split_name)


def read_items(path: Path, kind: str) -> list[dict[str, Any]]:
    """Read the items of a JSONL file and check the fields that their kind must have.

    Raises:
        SlqError: an item is at fault; the message names the file, the line, the field and what was expected.
    """
    if not path.is_file():
        raise SlqError(f"{path}: not found; docs/own-data.md describes the form of a dataset")
    items = []
    for number, item in enumerate(read_json_objects(path), start=1):
        for key, type_ in ITEM_FIELDS[kind].items():
            require_type(f"{path}:{number}", item, key, type_)
        items.append(item)
    if not items:
        raise SlqError(f"{path}: holds no items")
    return items


def check_items(root: Path, items: list[dict[str, Any]]) -> None:
    """Check that ids are unique, captions and questions have words, questions have answers, and markers name images.

    Raises:
        SlqError: the first fault, with the id and the file.
    """
    duplicate_ids = [name for name, count in Counter(item["id"] for item in items).items() if count > 1]
    if duplicate_ids:
        raise SlqError(
            f"{root}: id {duplicate_ids[0]!r} occurs more than once ({len(duplicate_ids)} such ids); ids name one item "
            "each"
        )
    for item in items:
        captions = item.get("captions", [item.get("question")])
        if not captions or not all(isinstance(text, str) and text.strip() for text in captions):
            raise SlqError(f"{root}: item {item['id']!r} has an empty caption; every caption needs words")
        if "question" in item:
            if not item["answers"]:
                raise SlqError(f"{root}: item {item['id']!r} has no answer; 'answers' lists every accepted one")
            if len(item["options"]) > MAX_OPTIONS:
                raise SlqError(f"{root}: item {item['id']!r} has more than {MAX_OPTIONS} options, which are lettered")
            try:
                question_segments(item)
            except SlqError as error:
                raise SlqError(f"{root}: {error}") from error
