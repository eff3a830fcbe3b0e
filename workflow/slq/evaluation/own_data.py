"""Evaluation of a run on a user's images and captions, beside the workflow: it touches none of its results."""

import os
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json_objects, write_json
from slq.datasets.splits import Split, check_items
from slq.evaluation.encode import embed_split
from slq.evaluation.rank_table import RetrievalVariant, build_variant_table
from slq.evaluation.retrieval import build_retrieval_ids, load_run
from slq.evaluation.retrieval_metrics import compute_metrics_with_intervals

PRINTED_DIRECTIONS = ("t2i", "i2t")  # the file has also i2t_strict, by own captions
CAPTIONS_FORM = '{"image": "a.jpg", "captions": ["a text", ...]}'


def evaluate_on_folder(
    settings: dict[str, Any],
    backbone_folder: Path,
    adapter_folder: Path,
    images: Path,
    captions: Path,
    batch_size: int,
    json_file: Path | None = None,
) -> dict[str, Any]:
    """Compute a run's recalls, with 95 % intervals, on images and captions of a user.

    Args:
        settings: the run's settings in training: family, dtype and prompt.
        images: the folder of the images.
        captions: a file with a line for each image: its name in the folder, and its captions.
        json_file: where to write the result, if anywhere.

    Raises:
        SlqError: a line or an image is at fault, or the batch is empty; the message names file and line, or image.
    """
    if batch_size < 1:
        raise SlqError(f"--batch {batch_size}: expected 1 or more")
    split = Split(captions.stem, read_captions(captions, images), images, sha256="")
    backbone, retriever = load_run(settings, backbone_folder, adapter_folder)
    embeddings = embed_split(retriever, backbone, split, settings["prompt"], batch_size)
    variant = RetrievalVariant("all")
    result = compute_metrics_with_intervals(
        build_variant_table(build_retrieval_ids(split), *embeddings, variant), variant
    )
    if json_file is not None:
        write_json(json_file, result)
    return result


def read_captions(path: Path, images: Path) -> list[dict[str, Any]]:
    """Read the items of a file of captions; an image's name is its id.

    Raises:
        SlqError: the file is missing or empty; a line lacks a field, or names no image of the folder, or one again.
    """
    if not path.is_file():
        raise SlqError(f"{path}: not found; expected a file with lines {CAPTIONS_FORM}")
    items = []
    for number, line in enumerate(read_json_objects(path, f"expected {CAPTIONS_FORM}"), start=1):
        name, texts = line.get("image"), line.get("captions")
        if not isinstance(name, str) or not isinstance(texts, list):
            raise SlqError(f"{path}:{number}: expected {CAPTIONS_FORM}")
        if not os.path.isfile(images / name):
            raise SlqError(f"{path}:{number}: there is no image {name} in {images}")
        items.append({"id": name, "image": name, "captions": texts})
    if not items:
        raise SlqError(f"{path}: holds no lines; expected one for each image, {CAPTIONS_FORM}")
    check_items(path, items)
    return items


def format_recalls(result: dict[str, Any]) -> str:
    """Format recalls for print, a line for each direction: `t2i  R@1 41.0 (36.2, 46.1)  R@5 …`."""
    lines = [f"{result['n']['images']} images, {result['n']['captions']} captions; in brackets the 95 % interval"]
    for direction in PRINTED_DIRECTIONS:
        recalls, intervals = result["metrics"][direction], result["ci95"][direction]
        cells = [f"{name} {recalls[name]:.1f} ({low:.1f}, {high:.1f})" for name, (low, high) in intervals.items()]
        lines.append("  ".join([direction, *cells]))
    return "\n".join(lines)
