"""Image search in a folder with an exported retriever.

A search embeds the query and the images that are not in the index yet, and compares the query with every image. The
index is one file with the embeddings of all images of earlier searches.
"""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save

from slq.common.errors import SlqError
from slq.common.files import (
    hash_file,
    hash_json,
    one_line,
    printable,
    read_json,
    walk_files,
    write_bytes,
    write_text,
)
from slq.common.progress import Progress
from slq.common.schema import wrap_content_errors
from slq.common.tensors import wrap_safetensors_errors
from slq.datasets.splits import UnreadableImageError, decode_image, open_image
from slq.export.card import render_template
from slq.export.folder import load_export

EmbedImages = Callable[[list[Image.Image]], np.ndarray]
THUMBNAIL_PIXELS = 320  # the longest side of a thumbnail
# The index is rewritten whenever it has grown by a tenth. All writes together then amount to about ten times its size.
REWRITE_DIVISOR = 10


def search_images(
    export_folder: Path,
    scratch: Path,
    image_folder: Path,
    query: str | Path,
    top_k: int,
    batch_size: int,
    sheet_path: Path | None,
) -> str:
    """Search a folder of images, write a sheet of thumbnails, and return the result lines, best hit first.

    Args:
        export_folder: the export; its code is run.
        scratch: folder that stores the index and may contain the export's base model.
        image_folder: the images to search.
        query: a text, or the path of an image.
        top_k: number of hits.
        batch_size: images embedded at once.
        sheet_path: file to write the sheet to; None for a file next to the index.
    """
    check_arguments(query, top_k, batch_size)
    query_input = query if isinstance(query, str) else open_image(query, "search with another")
    manifest = read_export_manifest(export_folder)
    model = load_local_export(export_folder, scratch)
    try:
        # The query is embedded before the images, so that a query that is too long is refused at once.
        query_embedding = model.encode([query_input])[0]
    except ValueError as error:
        raise SlqError(str(error)) from error
    folder = scratch / "search" / hash_json(manifest["embedding_files"])[:16]
    index = Index.read(folder / "index.safetensors")
    gallery = embed_folder(image_folder, index, lambda batch: model.encode(batch, batch_size=batch_size), batch_size)
    hits = [
        {"file": (file := gallery.paths[item]), "path": printable(file.relative_to(image_folder)), "cosine": cosine}
        for item, cosine in top_k_items(query_embedding, index.vectors, gallery.content_hashes, top_k)
    ]
    out = sheet_path or folder / "sheet.html"
    write_contact_sheet(query_input, hits, manifest["run"], len(gallery.paths), out)
    lines = [f"{place:3}  {hit['cosine']:.4f}  {hit['path']}" for place, hit in enumerate(hits, start=1)]
    counts = f"{len(gallery.paths)} images searched, {gallery.num_embedded} of them newly embedded"
    counts += f", {gallery.num_other_files} other files" if gallery.num_other_files else ""
    skipped = [f"skipped: {line}" for line in gallery.unreadable]
    skipped += [f"{len(gallery.unreadable)} unreadable skipped"] if skipped else []
    return "\n".join([*lines, "", *skipped, counts, f"sheet: {printable(out)}"])


def check_arguments(query: str | Path, top_k: int, batch_size: int) -> None:
    """Check that both numbers are positive and that a text query has words, before a backbone is loaded."""
    for option, number in (("--top", top_k), ("--batch", batch_size)):
        if number < 1:
            raise SlqError(f"{option} {number}: expected 1 or more")
    if isinstance(query, str) and not (query.strip() and query == query.encode("utf-8", "ignore").decode()):
        raise SlqError(f"the query is {query!r}; expected a text with at least one word, in UTF-8")


def read_export_manifest(export: Path) -> dict[str, Any]:
    """Read an export's manifest: the name of its `run`, and the hashes of its `embedding_files`.

    The `embedding_files` are all files except the model card.

    Raises:
        SlqError: the manifest cannot be read, or a file does not match its hash. Weights are not hashed here.
    """
    path = export / "manifest.json"
    content = read_json(path)
    with wrap_content_errors(path, "export the run again"):
        run, files = content["source"]["run"], {**content["files"]}
    files.pop("README.md", None)  # does not change the embeddings
    for name, sha256 in files.items():
        if not name.endswith(".safetensors") and hash_file(export / name) != sha256:
            raise SlqError(f"{export / name}: does not match its hash in {path}; export the run again")
    return {"run": run, "embedding_files": files}


def load_local_export(export: Path, scratch: Path) -> Any:
    """Load an export; use a base model in scratch, if it is there, instead of downloading it from the hub."""
    try:
        return load_export(export, [path.parent for path in sorted(scratch.glob("backbones/*/manifest.json"))])
    except Exception as error:  # the libraries that load it may raise any error
        raise SlqError(f"{export}: cannot be loaded: {one_line(error)}") from error


def top_k_items(
    query: np.ndarray, vectors: Mapping[Any, np.ndarray] | np.ndarray, contents: Sequence[Any], top_k: int
) -> list[tuple[int, float]]:
    """Find the items most similar to a query; return their indices and cosines, best first.

    The search is exact. Ties, such as items with the same content, keep the order of `contents`.

    Args:
        query: unit vector (d,).
        vectors: unit vectors (d,) by content key.
        contents: content key of each item.
        top_k: number of items; if there are fewer, all are returned.
    """
    from sentence_transformers.util import dot_score, semantic_search

    distinct = list(dict.fromkeys(contents))
    gallery_vectors = torch.from_numpy(np.stack([vectors[content] for content in distinct]))
    (found,) = semantic_search(torch.from_numpy(query), gallery_vectors, top_k=top_k, score_function=dot_score)
    cosines = {distinct[int(hit["corpus_id"])]: hit["score"] for hit in found}
    hits = [(item, cosines[content]) for item, content in enumerate(contents) if content in cosines]
    return sorted(hits, key=lambda hit: -hit[1])[:top_k]


def thumbnail_data_url(image: Image.Image) -> str:
    """Encode a thumbnail of an RGB image as a data URL, in JPEG."""
    small, buffer = image.copy(), io.BytesIO()
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def write_contact_sheet(
    query: str | Image.Image, hits: list[dict[str, Any]], run: str, num_searched: int, out: Path
) -> None:
    """Write one self-contained HTML page with the query and the hits, best first."""
    text, picture = (query, None) if isinstance(query, str) else (None, thumbnail_data_url(query))
    hits_with_pictures = [hit | {"picture": thumbnail_data_url(open_image(hit["file"]))} for hit in hits]
    page = render_template(
        "sheet.html.j2", text=text, picture=picture, hits=hits_with_pictures, run=run, searched=num_searched
    )
    write_text(out, page + "\n")


# ---- the index -------------------------------------------------------------------------------------------------------


@dataclass
class Index:
    """Embeddings of images by content, all computed by one export.

    Each export has its own folder, named after a hash of the export.

    Attributes:
        path: the safetensors file, with `vectors` (n, d) in float32; its metadata stores everything else.
        vectors: unit vectors (d,) by the SHA-256 of the image file.
        file_stats: size, mtime in nanoseconds and SHA-256 of each image file, by path. A file whose size and mtime are
            unchanged is not read again.
    """

    path: Path
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    file_stats: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Index":
        """Read the index of earlier searches; return an empty index if the file does not exist."""
        if not path.exists():
            return cls(path)
        with wrap_safetensors_errors(path, "remove it and search again"), safe_open(path, "numpy") as file:
            index_json = json.loads(file.metadata()["index"])
            vectors = dict(zip(index_json["contents"], file.get_tensor("vectors"), strict=True))
            file_stats = {name: (size, time, content) for name, (size, time, content) in index_json["files"].items()}
        return cls(path, vectors, file_stats)

    def write(self) -> None:
        """Write the whole index, replacing the file."""
        content = {"contents": list(self.vectors), "files": self.file_stats}
        write_bytes(self.path, save({"vectors": np.stack(list(self.vectors.values()))}, {"index": json.dumps(content)}))


@dataclass
class Gallery:
    """Images of a folder, sorted by path.

    Attributes:
        paths: readable images.
        content_hashes: SHA-256 of each image file, in the order of `paths`.
        num_embedded: number of images that this search has embedded.
        unreadable: a message for each image file, folder or link that is skipped because it cannot be read.
        num_other_files: number of files without the suffix of an image format.
    """

    paths: list[Path] = field(default_factory=list)
    content_hashes: list[str] = field(default_factory=list)
    num_embedded: int = 0
    unreadable: list[str] = field(default_factory=list)
    num_other_files: int = 0


def list_images(folder: Path, skipped: dict[Path, str]) -> tuple[list[Path], int]:
    """List the files below a folder that have an image suffix, sorted by path, and count all other files.

    Args:
        folder: the folder.
        skipped: receives the folders and links that cannot be followed, as in `walk_files`.
    """
    files = sorted(walk_files(folder, skipped))
    suffixes = Image.registered_extensions()
    images = [path for path in files if path.suffix.lower() in suffixes]
    return images, len(files) - len(images)


def embed_folder(folder: Path, index: Index, embed_images: EmbedImages, batch_size: int) -> Gallery:
    """Embed the images of a folder that are not in the index yet; images with equal bytes are embedded once.

    At most one batch of images is in memory. If the process is killed, the same call resumes from the last index that
    was written.

    Args:
        folder: the images.
        index: the index; new embeddings are added to it and to its file.
        embed_images: function from n RGB images to unit vectors (n, d).
        batch_size: images embedded at once.
    """
    if not folder.is_dir():
        raise SlqError(f"{folder}: not a folder; expected a folder of images")
    gallery, known_stats, num_written = Gallery(), dict(index.file_stats), len(index.vectors)
    pending: dict[str, Image.Image] = {}

    def embed_pending() -> None:
        """Embed the pending images, and write the index if enough vectors are new."""
        nonlocal num_written
        if pending:
            index.vectors |= zip(pending, embed_images(list(pending.values())), strict=True)
            gallery.num_embedded += len(pending)
            pending.clear()
        if len(index.vectors) - num_written > num_written // REWRITE_DIVISOR:
            index.write()
            num_written = len(index.vectors)

    skipped: dict[Path, str] = {}
    images, gallery.num_other_files = list_images(folder, skipped)
    gallery.unreadable += [f"{printable(path)}: {reason}" for path, reason in sorted(skipped.items())]
    try:
        for path in Progress(images, desc=folder.name):
            try:
                content, image = read_if_new(path, index)
            except (OSError, UnreadableImageError) as error:
                gallery.unreadable.append(f"{printable(path)}: {error}")
                continue
            gallery.paths.append(path)
            gallery.content_hashes.append(content)
            if image is not None:
                pending[content] = image
            if len(pending) == batch_size:
                embed_pending()
        embed_pending()
    finally:
        if index.vectors and (gallery.num_embedded or index.file_stats != known_stats):
            index.write()
    if not gallery.paths:
        raise SlqError(f"{folder}: contains no readable image")
    return gallery


def read_if_new(path: Path, index: Index) -> tuple[str, Image.Image | None]:
    """Hash an image file, unless the index knows its size and mtime, and decode it if its embedding is missing.

    Returns:
        The SHA-256 of the file, and its image in RGB or None if the index already has the embedding.
    """
    stat, name = path.stat(), str(path.resolve())
    size, time, content = index.file_stats.get(name, (0, 0, ""))
    if (size, time) == (stat.st_size, stat.st_mtime_ns) and content in index.vectors:
        return content, None
    data = path.read_bytes()
    content = hashlib.sha256(data).hexdigest()
    image = None
    if content not in index.vectors:
        image, _ = decode_image(data)
    index.file_stats[name] = (stat.st_size, stat.st_mtime_ns, content)
    return content, image
