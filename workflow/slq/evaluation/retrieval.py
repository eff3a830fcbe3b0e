"""Evaluation of one run on all its retrieval datasets, from adapter to metrics files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slq.common.errors import SlqError
from slq.common.events import EventLog, current_plan
from slq.common.files import hash_file, hash_json, write_bytes, write_json, write_jsonl
from slq.common.snapshots import snapshot_sha256
from slq.datasets.splits import Split, read_split
from slq.evaluation.encode import embed_split
from slq.evaluation.rank_table import RetrievalIds, RetrievalVariant, build_variant_table
from slq.evaluation.ranks import best_positive_ranks
from slq.evaluation.retrieval_metrics import SCHEMA as RETRIEVAL_SCHEMA
from slq.evaluation.retrieval_metrics import compute_retrieval_metrics, gallery_hash
from slq.methods.adapter import ADAPTER_WEIGHTS, load_retriever
from slq.models.backbone import Backbone, pick_device

NUM_EXAMPLE_QUERIES = 6  # number of captions per dataset whose top images are stored for inspection
NUM_TOP_IMAGES = 5  # number of images stored per caption


def load_run(settings: dict[str, Any], backbone_folder: Path, adapter_folder: Path) -> tuple[Backbone, Any]:
    """Load a run's backbone and its trained retriever."""
    backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
    return backbone, load_retriever(backbone, adapter_folder, snapshot_sha256(backbone_folder))


def evaluate_retrieval(
    settings: dict[str, Any], backbone_folder: Path, adapter_folder: Path, data: Path, out: Path, events_file: Path
) -> None:
    """Evaluate the test split of every retrieval dataset; write metrics, ranks and a few retrieval examples."""
    events = EventLog.for_next_attempt(adapter_folder / "events" / events_file.name)
    with events.span("init"):
        backbone, retriever = load_run(settings, backbone_folder, adapter_folder)
    datasets = [(entry, *read_split_and_variants(data, entry)) for entry in settings["datasets"]]
    for entry, split, variants in datasets:
        name = entry["name"]
        with events.span("eval", dataset=name):
            image_embeddings, text_embeddings, caption_to_image = embed_split(
                retriever, backbone, split, settings["prompt"], settings["batch_size"]
            )
            retrieval_ids = build_retrieval_ids(split)
            tables = [
                build_variant_table(retrieval_ids, image_embeddings, text_embeddings, caption_to_image, variant)
                for variant in variants
            ]
            table = pd.concat(tables, ignore_index=True)
            ranks = best_positive_ranks(
                text_embeddings, image_embeddings, caption_to_image, np.arange(len(image_embeddings))
            )
        examples = build_retrieval_examples(
            split.items, retrieval_ids.caption_ids, image_embeddings, text_embeddings, caption_to_image, ranks
        )
        write_jsonl(out / f"{name}.top.jsonl", examples)
        write_retrieval_results(
            out, entry, table, variants, input_hashes(settings, backbone_folder, adapter_folder, split)
        )
    events.publish(events_file)


def write_retrieval_results(
    out: Path, entry: dict[str, Any], table: pd.DataFrame, variants: Sequence[RetrievalVariant], inputs: dict[str, str]
) -> None:
    """Write the ranks of a dataset in all its variants, and the metrics computed from the ranks.

    Args:
        entry: the dataset's `name`, and `table_variant`, the variant that tables print.
        inputs: hashes of the inputs that the ranks were computed from.
    """
    metrics = compute_retrieval_metrics(table, variants, entry["table_variant"])
    ranks_path = out / f"{entry['name']}.ranks.parquet"
    write_bytes(ranks_path, table.to_parquet(index=False))
    hashes = inputs | {"gallery": gallery_hash(table), "ranks": hash_file(ranks_path)}
    write_json(
        out / f"{entry['name']}.json", {"schema": RETRIEVAL_SCHEMA, **metrics, "plan": current_plan(), "inputs": hashes}
    )


def build_retrieval_ids(split: Split) -> RetrievalIds:
    """Build the ids of a split's images and captions, in the order of `embed_split`."""
    return RetrievalIds([item["id"] for item in split.items], split.caption_ids, split.caption_to_image)


def read_split_and_variants(data: Path, entry: dict[str, Any]) -> tuple[Split, list[RetrievalVariant]]:
    """Read the test split of a retrieval dataset and its variants; check that the images divide into all folds."""
    split = read_split(data, entry["name"], "test")
    variants = [RetrievalVariant(**one) for one in entry["variants"]]
    for variant in variants:
        if variant.fold is not None and len(split.items) % variant.fold:
            raise SlqError(
                f"{entry['name']}/test: {len(split.items)} images cannot be divided into folds of {variant.fold} "
                f"images; change datasets.{entry['name']}.variants.{variant.name}.fold in config.yaml"
            )
    return split, variants


def input_hashes(settings: dict[str, Any], backbone_folder: Path, adapter_folder: Path, split: Split) -> dict[str, str]:
    """Hash the inputs that the metrics of a split depend on: equal hashes imply equal metrics.

    Of the settings, `datasets` is excluded, because other datasets of the same job do not affect a split's metrics.
    """
    return {
        "adapter": adapter_hash(adapter_folder),
        "backbone": snapshot_sha256(backbone_folder),
        "dataset": split.sha256,
        "settings": hash_json({key: value for key, value in settings.items() if key != "datasets"}),
    }


def adapter_hash(adapter_folder: Path) -> str:
    """Hash the trained weights of a run, or its adapter.json if the run has no trained weights."""
    weights = adapter_folder / ADAPTER_WEIGHTS
    return hash_file(weights if weights.is_file() else adapter_folder / "adapter.json")


# ---- retrieval examples ----


def evenly_spaced_indices(count: int) -> np.ndarray:
    """Return the indices of six captions, evenly spaced over `count` captions (all, if there are fewer than six)."""
    num_indices = min(count, NUM_EXAMPLE_QUERIES)
    return np.arange(num_indices) * count // num_indices


def top_k_images(queries: np.ndarray, image_embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the five most similar images of each query, best first.

    Args:
        queries: unit vectors (Q, d), float32.
        image_embeddings: unit vectors (I, d), float32.

    Returns:
        image indices (int64) and cosine similarities (float32), both (Q, 5), or (Q, I) for fewer than five images. Ties
        are in the order of the dataset.
    """
    scores = queries @ image_embeddings.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :NUM_TOP_IMAGES]
    return order, np.take_along_axis(scores, order, axis=1)


def build_retrieval_examples(
    items: Sequence[dict[str, Any]],
    caption_ids: Sequence[str],
    image_embeddings: np.ndarray,
    text_embeddings: np.ndarray,
    caption_to_image: np.ndarray,
    ranks: np.ndarray,
) -> list[dict[str, Any]]:
    """Build a retrieval example for each of a few captions, with the caption's top images (docs/results.md).

    Args:
        items: the split's items, in the order of the images.
        caption_ids: id of each caption (T,).
        image_embeddings: unit vectors of the images (I, d).
        text_embeddings: unit vectors of the captions (T, d).
        caption_to_image: image index of each caption (T,).
        ranks: rank of each caption's own image (T,).
    """
    query_indices = evenly_spaced_indices(len(text_embeddings))
    caption_texts = [text for item in items for text in item["captions"]]
    examples = []
    for query_index, order, scores in zip(
        query_indices, *top_k_images(text_embeddings[query_indices], image_embeddings), strict=True
    ):
        top_images = zip(order, scores, strict=True)
        examples.append(
            {
                "query": caption_ids[query_index],
                "text": caption_texts[query_index],
                "image": items[caption_to_image[query_index]]["id"],
                "rank": int(ranks[query_index]),
                # Six decimals are the precision of a cosine similarity in float32.
                "top": [
                    {"image": items[image]["id"], "similarity": round(float(score), 6)} for image, score in top_images
                ],
            }
        )
    return examples
