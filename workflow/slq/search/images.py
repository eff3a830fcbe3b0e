"""The images of a folder, embedded into a store a batch at a time."""

import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from slq.data.pictures import as_rgb
from slq.data.prepared import UNREADABLE
from slq.errors import SlqError
from slq.search.store import Store

Prepare = Callable[[Image.Image], Any]
Embed = Callable[[list[Any]], np.ndarray]


@dataclass
class Indexed:
    """What became of a folder: its images and their rows in the store, in order of their paths."""

    paths: list[Path] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    embedded: int = 0
    unreadable: list[str] = field(default_factory=list)
    others: int = 0  # files that are no images by their names


def index(
    folder: Path, store: Store, prepare: Prepare, embed: Embed, batch_size: int, skip_unreadable: bool
) -> Indexed:
    """Embed what of a folder is not in the store yet; images of equal bytes once.

    No more than a batch of prepared images is held. After a kill the same call goes on behind the last batch.

    Args:
        prepare: an image as `embed` takes it; embed: unit vectors (n, d) of so many.

    Raises:
        SlqError: there is no image, or one cannot be read and `skip_unreadable` is off.
    """
    if not folder.is_dir():
        raise SlqError(f"{folder}: no folder of images")
    found, contents = Indexed(), []
    pending: dict[str, Any] = {}
    seen: dict[tuple[str, int, int], str] = {}

    def flush() -> None:
        if pending:
            store.add(list(pending), embed(list(pending.values())))
            found.embedded += len(pending)
            pending.clear()
        if seen:
            store.note(seen)
            seen.clear()

    for path in tqdm(list(image_files(folder, found)), desc=folder.name, disable=None, file=sys.stderr):
        try:
            content, image = look(path, store, pending)
        except UNREADABLE as error:
            if not skip_unreadable:
                flush()
                raise SlqError(
                    f"{path}: not a readable image ({error}); mend or remove it, or leave such files out with "
                    "--skip-unreadable"
                ) from error
            found.unreadable.append(f"{path}: {error}")
            continue
        found.paths.append(path)
        contents.append(content)
        key = identity(path)
        if key not in store.files:
            seen[key] = content
        if image is not None:
            pending[content] = prepare(image)
        if len(pending) == batch_size:
            flush()
    flush()
    if not found.paths:
        raise SlqError(f"{folder}: holds no readable image")
    found.rows = [store.rows[content] for content in contents]
    return found


def look(path: Path, store: Store, pending: dict[str, Any]) -> tuple[str, Image.Image | None]:
    """The content of a file, and its image if that is to be embedded."""
    content = store.files.get(identity(path))
    if content in store.rows or content in pending:
        return str(content), None
    data = path.read_bytes()
    content = hashlib.sha256(data).hexdigest()
    if content in store.rows or content in pending:
        return content, None
    with Image.open(io.BytesIO(data)) as image:
        return content, as_rgb(image)


def identity(path: Path) -> tuple[str, int, int]:
    """What tells that a file has not changed, without reading it."""
    stat = path.stat()
    return str(path.resolve()), stat.st_size, stat.st_mtime_ns


def image_files(folder: Path, found: Indexed) -> Iterator[Path]:
    """Files that are images by their names, of subfolders too, in order; the others are counted."""
    Image.init()
    names = set(Image.registered_extensions())
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if Path(name).suffix.lower() in names:
                yield Path(root, name)
            else:
                found.others += 1
