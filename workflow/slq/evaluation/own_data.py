"""Evaluation of a run on a user's own images and captions, outside the workflow and without effect on its results."""

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

PRINTED_DIRECTIONS = ("t2i", "i2t")  # the JSON file also contains i2t_strict, the rank of each caption of an image
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
    """Compute a run's recalls, with 95 % confidence intervals, on a user's images and captions.

    Args:
        settings: settings of the run's training: family, dtype and prompt.
        images: folder of the images.
        captions: file with one JSON object per line and image (CAPTIONS_FORM): file name in the folder, and captions.
        json_file: file to write the result to; None to write no file.
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
    """Read the items of a captions file; the file name of an image is its id.

    Raises:
        SlqError: the file is missing or empty, or a line lacks a field, or repeats an image or names a missing one.
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
        raise SlqError(f"{path}: is empty; expected one line per image, {CAPTIONS_FORM}")
    check_items(path, items)
    return items


def format_recalls(result: dict[str, Any]) -> str:
    """Format recalls for printing, one line per direction: `t2i  R@1 41.0 (36.2, 46.1)  R@5 …`."""
    lines = [f"{result['n']['images']} images, {result['n']['captions']} captions; in brackets the 95 % interval"]
    for direction in PRINTED_DIRECTIONS:
        recalls, intervals = result["metrics"][direction], result["ci95"][direction]
        cells = [f"{name} {recalls[name]:.1f} ({low:.1f}, {high:.1f})" for name, (low, high) in intervals.items()]
        lines.append("  ".join([direction, *cells]))
    return "\n".join(lines)
