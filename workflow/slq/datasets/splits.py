"""Prepared splits (docs/own-data.md): their files, which training and evaluation read, and the decoding of images."""

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
# Pillow reads at most a megabyte of each compressed text in a PNG; some cameras and editors write more.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


@dataclass(frozen=True)
class Split:
    """Split of a dataset, in memory.

    Attributes:
        name: name of the dataset.
        items: items in evaluation order.
        root: folder that the items' image paths are relative to.
        sha256: hash of the items and their images, which identifies the split.
        image_hashes: SHA-256 of every image, by path.
        id_namespace: namespace of the ids: the dataset's name, unless several datasets share a namespace.
        source_commits: hub repositories that the split was fetched from, each with its commit.
        split_name: train, val or test; empty for a user's images that are not in a dataset.
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
        """Id of each caption (T,), in the order of the items: `<image>#<n>` for caption n of an image, from 0."""
        return [f"{item['id']}#{n}" for item in self.items for n in range(len(item["captions"]))]

    @property
    def caption_to_image(self) -> np.ndarray:
        """Image index of each caption (T,)."""
        return np.repeat(np.arange(len(self.items)), [len(item["captions"]) for item in self.items])

    def open(self, path: str) -> Image.Image:
        """Decode an image of the split as RGB, after checking its hash."""
        return open_image(self.root / path, lambda: self._exclusion_advice(path), self.image_hashes.get(path))

    @contextmanager
    def naming_items(self) -> Iterator[None]:
        """Add the name of the split and the id of the item with the text to a TextError."""
        try:
            yield
        except TextError as error:
            for item in self.items:
                if error.text and any(error.text in text for text in item.get("captions") or [item["question"]]):
                    message = f"{self.name}: item {item['id']!r}: {error}"
                    raise TextError(message, error.text) from error
            raise

    def _exclusion_advice(self, path: str) -> str:
        """Return advice on how to exclude an unreadable image whose hash is correct.

        Such an image comes from a fetched source, because the images of other datasets are opened when they are
        prepared.
        """
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
    """Error for bytes that are not a usable image; the message contains only the reason."""


def decode_image(data: bytes) -> tuple[Image.Image, str]:
    """Decode a whole image as RGB (`as_rgb`), and return it with the name of its format.

    Raises:
        UnreadableImageError: the image is truncated, not an image, or of an unsupported kind.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            return as_rgb(image), str(image.format)
    except UnidentifiedImageError as error:  # its own message names a buffer, not the file
        raise UnreadableImageError("not in a format that PIL reads") from error
    except Exception as error:  # Pillow's decoders may raise any error for damaged bytes
        raise UnreadableImageError(one_line(error)) from error


def open_image(
    path: Path, remedy: str | Callable[[], str] = MEND_IMAGE, expected_sha256: str | None = None
) -> Image.Image:
    """Read and decode a whole image as RGB (`as_rgb`).

    Args:
        path: path of the image.
        remedy: advice for the message if the image cannot be read. A function is called only if the file exists.
        expected_sha256: SHA-256 of the file, if known; checking it takes 2 % of the decoding time.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
        advice = "make its dataset again" if callable(remedy) else remedy
        raise SlqError(f"{path}: not a readable image ({error}); {advice}") from error
    found = hashlib.sha256(data).hexdigest() if expected_sha256 else None
    if found != expected_sha256:
        raise SlqError(
            f"{path}: the image has changed since its dataset was prepared (sha256 {found}, expected "
            f"{expected_sha256}); to prepare the dataset again, run snakemake: a local dataset needs no option, a "
            "fetched one --forcerun fetch_source, a synthetic one --forcerun make_synthetic_split"
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
    """Write items.jsonl and then the manifest, which has the hash of every image.

    Args:
        out: folder of the split.
        name: name of the dataset.
        split_name: name of the split.
        kind: `retrieval` or `retention`.
        items: items of the split.
        root: folder that the items' image paths are relative to, if it is not `out`; images are not copied.
        image_hashes: SHA-256 of every image, by path; if None, every image is read.
        id_namespace: namespace of the ids, if other datasets may share it.
        source_commits: hub repositories that the split comes from, each with its commit; they do not change the
            split's hash.
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
    """Compute the SHA-256 of every image file of the items, by path."""
    return {path: hash_file(root / path) for item in items for path in image_paths(item)}


def image_paths(item: dict[str, Any]) -> list[str]:
    """Return the image paths of a retrieval or retention item."""
    return item["images"] if "images" in item else [item["image"]]


def read_split(data: Path, name: str, split_name: str) -> Split:
    """Read a prepared split."""
    folder = data / name / split_name
    manifest = read_json(folder / "manifest.json")
    require_schema(folder / "manifest.json", manifest, SCHEMA, "prepare it again")
    items = read_items(folder / "items.jsonl", manifest["kind"])
    id_namespace = manifest["id_namespace"] or name
    root, source_commits = folder / manifest["root"], manifest.get("origin", ())
    return Split(name, items, root, manifest["sha256"], manifest["files"], id_namespace, source_commits, split_name)


def read_items(path: Path, kind: str) -> list[dict[str, Any]]:
    """Read the items of a JSONL file, and check that they have the required fields of their kind."""
    if not path.is_file():
        raise SlqError(f"{path}: not found; docs/own-data.md describes the format of a dataset")
    items = []
    for number, item in enumerate(read_json_objects(path), start=1):
        for key, type_ in ITEM_FIELDS[kind].items():
            require_type(f"{path}:{number}", item, key, type_)
        items.append(item)
    if not items:
        raise SlqError(f"{path}: contains no items; expected one item per line")
    return items


def check_items(root: Path, items: list[dict[str, Any]]) -> None:
    """Check unique ids, non-empty captions and questions, answers of questions, and markers that refer to images."""
    duplicate_ids = [name for name, count in Counter(item["id"] for item in items).items() if count > 1]
    if duplicate_ids:
        raise SlqError(
            f"{root}: id {duplicate_ids[0]!r} occurs more than once ({len(duplicate_ids)} such ids); every item needs "
            "its own id"
        )
    for item in items:
        captions = item.get("captions", [item.get("question")])
        if not captions or not all(isinstance(text, str) and text.strip() for text in captions):
            raise SlqError(f"{root}: item {item['id']!r} has an empty caption; every caption needs at least one word")
        if "question" in item:
            if not item["answers"]:
                raise SlqError(f"{root}: item {item['id']!r} has no answer; 'answers' must list all accepted answers")
            if len(item["options"]) > MAX_OPTIONS:
                raise SlqError(f"{root}: item {item['id']!r} has more than {MAX_OPTIONS} options, one per letter")
            try:
                question_segments(item)
            except SlqError as error:
                raise SlqError(f"{root}: {error}") from error
