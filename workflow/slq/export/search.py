"""A folder of images searched by an export: its new images are embedded, the query is, and all are compared.

Images are embedded a batch at a time; their vectors are kept in one file, the index.
"""

import base64
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from slq.common.errors import SlqError
from slq.common.files import digest, is_text, read_json, write_bytes, write_text
from slq.datasets.image_modes import as_rgb
from slq.datasets.prepared import UNREADABLE
from slq.export.card import render
from slq.export.folder import load_export

Embed = Callable[[list[Image.Image]], np.ndarray]
PIXELS = 320  # the longest side of a thumbnail
SHARE = 10  # the index is written anew when this part of its vectors is new: ten times their bytes in all


def search(
    export: Path,
    scratch: Path,
    images: Path,
    query: str | Path,
    count: int,
    batch_size: int,
    sheet: Path | None,
) -> str:
    """The lines that a person reads, best first; a sheet of thumbnails is written beside the index, or to `sheet`.

    Args:
        export: its folder, from which code is run; query: a text, or the path of an image.

    Raises:
        SlqError: the export, the folder or the query cannot be read, or the query has no words or is longer than the
            positions that the backbone has.
    """
    check_call(query, count, batch_size)
    asked = query if isinstance(query, str) else open_image(query)
    manifest = read_json(export / "manifest.json")
    model = load_model(export, scratch)
    try:
        wanted = model.encode([asked])[0]  # before a folder of images is: one that is too long is told at once
    except ValueError as error:
        raise SlqError(str(error)) from error
    # The card tells of the vectors and does not change them.
    told = {name: sha256 for name, sha256 in manifest["files"].items() if name != "README.md"}
    folder = scratch / "search" / digest(told)[:16]
    index = Index.read(folder / "index.safetensors")
    found = embed_folder(images, index, lambda batch: model.encode(batch, batch_size=batch_size), batch_size)
    hits = [
        {"path": found.paths[item].relative_to(images).as_posix(), "cosine": cosine}
        for item, cosine in nearest(wanted, index.vectors, found.contents, count)
    ]
    out = sheet or folder / "sheet.html"
    write_sheet(asked, hits, images, manifest["source"]["run"], len(found.paths), out)
    lines = [f"{place:3}  {hit['cosine']:.4f}  {hit['path']}" for place, hit in enumerate(hits, start=1)]
    counts = f"{len(found.paths)} images searched, {found.embedded} of them embedded now"
    counts += f", {found.others} other files" if found.others else ""
    skipped = [f"left out: {line}" for line in found.unreadable]
    skipped += [f"{len(found.unreadable)} unreadable left out"] if skipped else []
    return "\n".join([*lines, "", *skipped, counts, f"sheet: {out}"])


def check_call(query: str | Path, count: int, batch_size: int) -> None:
    """Raise SlqError for a number below one, or a text without words, before a backbone is loaded."""
    for option, number in (("--top", count), ("--batch", batch_size)):
        if number < 1:
            raise SlqError(f"{option} {number}: expected 1 or more")
    if isinstance(query, str) and not (query.strip() and is_text(query)):
        raise SlqError(f"the query is {query!r}; expected a text with words, in UTF-8")


def load_model(export: Path, scratch: Path) -> Any:
    """Load an export; a base on the hub is taken from the backbones in scratch, if it is there.

    Raises:
        SlqError: it cannot be loaded.
    """
    try:
        return load_export(export, [path.parent for path in sorted(scratch.glob("backbones/*/manifest.json"))])
    except (OSError, ValueError, ImportError) as error:
        raise SlqError(f"{export}: cannot be loaded: {' '.join(str(error).split())}") from error


def nearest(
    query: np.ndarray, vectors: Mapping[Any, np.ndarray] | np.ndarray, contents: Sequence[Any], count: int
) -> list[tuple[int, float]]:
    """Find the `count` items most similar to a query, or all of fewer: number of the item and cosine, best first.

    Every vector is compared. Of items with one content, and of other equals in the list, the first comes first.

    Args:
        query: unit vector (d,), as those of `vectors`, by content; contents: of each item.
    """
    from sentence_transformers.util import dot_score, semantic_search

    distinct = list(dict.fromkeys(contents))
    gallery = torch.from_numpy(np.stack([vectors[content] for content in distinct]))
    (found,) = semantic_search(torch.from_numpy(query), gallery, top_k=count, score_function=dot_score)
    cosines = {distinct[int(hit["corpus_id"])]: hit["score"] for hit in found}
    hits = [(item, cosines[content]) for item, content in enumerate(contents) if content in cosines]
    return sorted(hits, key=lambda hit: -hit[1])[:count]


def open_image(path: Path) -> Image.Image:
    """Read an image as RGB.

    Raises:
        SlqError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return as_rgb(image)
    except UNREADABLE as error:
        raise SlqError(f"{path}: not a readable image ({error})") from error


def thumbnail(image: Image.Image) -> str:
    """A small JPEG of an RGB image, as a data URL."""
    small, file = image.copy(), io.BytesIO()
    small.thumbnail((PIXELS, PIXELS))
    small.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def write_sheet(
    query: str | Image.Image, hits: list[dict[str, Any]], images: Path, run: str, searched: int, out: Path
) -> None:
    """Write one page of HTML that needs nothing else: the query, then the hits from the most similar on."""
    text, picture = (query, None) if isinstance(query, str) else (None, thumbnail(query))
    drawn = [hit | {"picture": thumbnail(open_image(images / hit["path"]))} for hit in hits]
    page = render("sheet.html.j2", text=text, picture=picture, hits=drawn, run=run, searched=searched)
    write_text(out, page + "\n")


# ---- the index -------------------------------------------------------------------------------------------------------


@dataclass
class Index:
    """Unit vectors of images by what is in them, made by one export, of which the folder of the file has the name.

    Attributes:
        path: of the safetensors file: `vectors` (n, d) in float32, everything else in its metadata.
        vectors: by the SHA-256 of the image file.
        files: size, mtime in nanoseconds and SHA-256 of files by path: one that has both still is not read again.
    """

    path: Path
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    files: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Index":
        """Read what an earlier search has kept, if there is any.

        Raises:
            SlqError: the file is damaged.
        """
        if not path.exists():
            return cls(path)
        try:
            with safe_open(path, "numpy") as file:
                kept = json.loads(file.metadata()["index"])
                rows = file.get_tensor("vectors")
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            raise SlqError(f"{path}: not a readable index ({error}); remove it, and search again") from error
        files = {name: (size, time, content) for name, (size, time, content) in kept["files"].items()}
        return cls(path, dict(zip(kept["contents"], rows, strict=True)), files)

    def write(self) -> None:
        """Write the file whole, in place of the one before.

        Raises:
            SlqError: it cannot be written.
        """
        content = {"contents": list(self.vectors), "files": self.files}
        write_bytes(self.path, save({"vectors": np.stack(list(self.vectors.values()))}, {"index": json.dumps(content)}))


@dataclass
class Gallery:
    """A folder's images in order of their paths, and the SHA-256 of each.

    `unreadable`: a line for each file left out; `others`: how many files are no images by their names.
    """

    paths: list[Path] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    embedded: int = 0
    unreadable: list[str] = field(default_factory=list)
    others: int = 0


def images_below(folder: Path) -> tuple[list[Path], int]:
    """List the files below a folder that are images by their names, in the order of their paths, and count the others.

    A link that leads nowhere is a file: it is named among those that are left out.
    """
    files = sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names)
    suffixes = Image.registered_extensions()
    images = [path for path in files if path.suffix.lower() in suffixes]
    return images, len(files) - len(images)


def embed_folder(folder: Path, index: Index, embed: Embed, batch_size: int) -> Gallery:
    """Embed those images of a folder that are not in the index yet; images of equal bytes once.

    No more than a batch of images is held. After a kill the same call goes on behind what was written last.

    Args:
        embed: unit vectors (n, d) of so many RGB images.

    Raises:
        SlqError: there is no image that can be read.
    """
    if not folder.is_dir():
        raise SlqError(f"{folder}: no folder of images")
    found, noted, written = Gallery(), dict(index.files), len(index.vectors)
    waiting: dict[str, Image.Image] = {}

    def embed_waiting() -> None:
        nonlocal written
        if waiting:
            index.vectors |= zip(waiting, embed(list(waiting.values())), strict=True)
            found.embedded += len(waiting)
            waiting.clear()
        if len(index.vectors) - written > written // SHARE:
            index.write()
            written = len(index.vectors)

    images, found.others = images_below(folder)
    try:
        for path in tqdm(images, desc=folder.name, disable=None, file=sys.stderr):
            try:
                content, image = read_new(path, index)
            except UNREADABLE as error:
                found.unreadable.append(f"{path}: {error}")
                continue
            found.paths.append(path)
            found.contents.append(content)
            if image is not None:
                waiting[content] = image
            if len(waiting) == batch_size:
                embed_waiting()
        embed_waiting()
    finally:
        if index.vectors and (found.embedded or index.files != noted):
            index.write()
    if not found.paths:
        raise SlqError(f"{folder}: holds no readable image")
    return found


def read_new(path: Path, index: Index) -> tuple[str, Image.Image | None]:
    """Hash a file, unless its size and time are known; its SHA-256, and its image in RGB if that is to be embedded."""
    stat, name = path.stat(), str(path.resolve())
    size, time, content = index.files.get(name, (0, 0, ""))
    if (size, time) == (stat.st_size, stat.st_mtime_ns) and content in index.vectors:
        return content, None
    data = path.read_bytes()
    content = hashlib.sha256(data).hexdigest()
    image = None
    if content not in index.vectors:
        with Image.open(io.BytesIO(data)) as opened:
            image = as_rgb(opened)
    index.files[name] = (stat.st_size, stat.st_mtime_ns, content)
    return content, image
