"""The images of a folder, embedded a batch at a time; their vectors are kept in one file."""

import hashlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from slq.data.pictures import as_rgb
from slq.data.prepared import UNREADABLE
from slq.errors import SlqError
from slq.files import write_bytes

Embed = Callable[[list[Image.Image]], np.ndarray]
SHARE = 10  # the file is written anew when this part of its vectors is new: ten times their bytes in all


@dataclass
class Index:
    """Unit vectors of images by what is in them, made by one export.

    Attributes:
        path: of the safetensors file: `vectors` (n, d) in float32, everything else in its metadata.
        export: identity of the export.
        vectors: by the SHA-256 of the image file.
        files: size, mtime in nanoseconds and SHA-256 of files by path: one that has both still is not read again.
    """

    path: Path
    export: str
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    files: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, export: str) -> "Index":
        """Read what an earlier search has kept, if there is any.

        Raises:
            SlqError: the file is damaged, or belongs to another export.
        """
        if not path.exists():
            return cls(path, export)
        try:
            with safe_open(path, "numpy") as file:
                kept = json.loads(file.metadata()["index"])
                rows = file.get_tensor("vectors")
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            raise SlqError(f"{path}: not a readable index ({error}); remove it, and search again") from error
        if kept["export"] != export:
            raise SlqError(f"{path}: holds vectors of another export; remove it, and search again")
        files = {name: (size, time, content) for name, (size, time, content) in kept["files"].items()}
        return cls(path, export, dict(zip(kept["contents"], rows, strict=True)), files)

    def write(self) -> None:
        """Write the file whole, in place of the one before.

        Raises:
            SlqError: it cannot be written.
        """
        content = {"export": self.export, "contents": list(self.vectors), "files": self.files}
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


def embed_folder(folder: Path, index: Index, embed: Embed, batch_size: int, skip_unreadable: bool) -> Gallery:
    """Embed those images of a folder that are not in the index yet; images of equal bytes once.

    No more than a batch of images is held. After a kill the same call goes on behind what was written last.

    Args:
        embed: unit vectors (n, d) of so many RGB images.

    Raises:
        SlqError: there is no image, or one cannot be read and `skip_unreadable` is off.
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

    Image.init()
    suffixes, files = set(Image.registered_extensions()), sorted(path for path in folder.rglob("*") if path.is_file())
    images = [path for path in files if path.suffix.lower() in suffixes]
    found.others = len(files) - len(images)
    try:
        for path in tqdm(images, desc=folder.name, disable=None, file=sys.stderr):
            try:
                content, image = read_new(path, index)
            except UNREADABLE as error:
                if not skip_unreadable:
                    raise SlqError(
                        f"{path}: not a readable image ({error}); mend or remove it, or leave such files out with "
                        "--skip-unreadable"
                    ) from error
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
