"""One search: the folder's new images are embedded, the query is, and all are compared."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from slq.code import fingerprint
from slq.data.pictures import as_rgb
from slq.data.prepared import UNREADABLE
from slq.errors import SlqError
from slq.evaluation.embed import embed_messages
from slq.evaluation.run import load_run
from slq.files import digest, is_text, sha256
from slq.finished import Finished
from slq.models.prefix import Encoded, encode, message
from slq.search.images import index
from slq.search.nearest import nearest
from slq.search.sheet import Hit, write_sheet
from slq.search.store import Store

# Modules that make the vectors of a store.
EMBEDDING = ("slq.models.methods", "slq.evaluation.embed", "slq.search.images")


def search(
    run: Finished,
    scratch: Path,
    images: Path,
    query: str | Path,
    count: int,
    batch_size: int,
    skip_unreadable: bool,
    sheet: Path | None,
) -> str:
    """The lines that a person reads, best first; a sheet of thumbnails is written beside the store, or to `sheet`.

    Args:
        query: a text, or the path of an image.

    Raises:
        SlqError: the folder or the query cannot be read, the query has no words or is longer than the positions that
            the backbone has, or another search adds to the store.
    """
    check_call(query, count, batch_size)
    asked = query if isinstance(query, str) else open_query(query)
    backbone, retriever = load_run(run.settings, run.snapshot, run.weights)
    prompt = run.settings["prompt"]

    def prepare(content: str | Image.Image) -> Encoded:
        if isinstance(content, str):
            return encode(backbone, message(content, prompt["text"]))
        return encode(backbone, message(backbone.family.process(content), prompt["image"]))

    def embed(messages: Sequence[Encoded]) -> np.ndarray:
        return embed_messages(retriever, messages, batch_size)

    wanted = embed([prepare(asked)])[0]  # before a folder of images is: one that is too long is told at once
    with Store(scratch / "search" / store_key(run), backbone.width) as store:
        found = index(images, store, prepare, embed, batch_size, skip_unreadable)
        best = nearest(wanted, store.vectors(), found.rows, count)
    paths = [found.paths[item] for item, _ in best]
    hits = [
        Hit(path.relative_to(images).as_posix(), similarity, open_query(path))
        for path, (_, similarity) in zip(paths, best, strict=True)
    ]
    out = sheet or store.folder / "sheet.html"
    write_sheet(asked, hits, run.name, len(found.paths), out)
    lines = [f"{place:3}  {hit.similarity:.4f}  {hit.path}" for place, hit in enumerate(hits, start=1)]
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


def store_key(run: Finished) -> str:
    """Identity of a retriever: vectors of another adapter, backbone, prompt, precision or code are not compared."""
    weights = run.weights / "adapter.safetensors"
    settings = {key: run.settings[key] for key in ("family", "dtype", "prompt")}
    learned = {"adapter": sha256(weights) if weights.exists() else None, **run.adapter}
    code = fingerprint(*EMBEDDING, families=[settings["family"]])
    return digest({"run": learned, "settings": settings, "code": code})[:16]


def open_query(path: Path) -> Image.Image:
    """An image as RGB.

    Raises:
        SlqError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return as_rgb(image)
    except UNREADABLE as error:
        raise SlqError(f"{path}: not a readable image ({error})") from error
