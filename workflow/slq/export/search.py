"""A folder of images searched by an export: its new images are embedded, the query is, and all are compared."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from slq.data.pictures import as_rgb
from slq.data.prepared import UNREADABLE
from slq.errors import SlqError
from slq.export.agreement import load_export
from slq.export.card import render
from slq.export.index import Index, embed_folder
from slq.files import digest, is_text, read_json, write_text

PIXELS = 320  # the longest side of a thumbnail


def search(
    export: Path,
    scratch: Path,
    images: Path,
    query: str | Path,
    count: int,
    batch_size: int,
    skip_unreadable: bool,
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
    identity = digest({name: sha256 for name, sha256 in manifest["files"].items() if name != "README.md"})
    folder = scratch / "search" / identity[:16]
    index = Index.read(folder / "index.safetensors", identity)
    found = embed_folder(
        images, index, lambda batch: model.encode(batch, batch_size=batch_size), batch_size, skip_unreadable
    )
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
    text = query if isinstance(query, str) else None
    picture = None if isinstance(query, str) else thumbnail(query)
    drawn = [hit | {"picture": thumbnail(open_image(images / hit["path"]))} for hit in hits]
    page = render("sheet.html.j2", text=text, picture=picture, hits=drawn, run=run, searched=searched)
    write_text(out, page + "\n")
