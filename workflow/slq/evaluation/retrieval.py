"""Evaluation of one run on all its retrieval sets, from adapter to metrics files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slq.caching.store import Store
from slq.common.errors import SlqError
from slq.common.events import Events, describe_device
from slq.common.files import digest, sha256, write_bytes, write_json, write_lines
from slq.common.snapshots import identity
from slq.datasets.prepared import Split, read_split
from slq.evaluation.encode import embed_split, names_of
from slq.evaluation.rank_table import Variant, variant_table
from slq.evaluation.ranks import best_ranks, recalls_of
from slq.evaluation.retrieval_metrics import SCHEMA as RETRIEVAL_SCHEMA
from slq.evaluation.retrieval_metrics import gallery_hash, retrieval_metrics
from slq.methods import registry
from slq.models.backbone import Backbone, pick_device

QUERIES = 6  # captions of a set whose best images are kept, for a person to look at
LENGTH = 5  # images of each


def load_run(settings: dict[str, Any], backbone_folder: Path, adapter: Path) -> tuple[Backbone, Any]:
    """A run's backbone and retriever, as training left them."""
    backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
    return backbone, registry.load(backbone, adapter, identity(backbone_folder))


def retrieve(
    settings: dict[str, Any], backbone_folder: Path, adapter: Path, data: Path, out: Path, events_file: Path
) -> None:
    """Metrics, ranks and a few best images of the test split of every retrieval set."""
    events = Events.gathered(adapter / "events" / events_file.name, device=describe_device(pick_device()))
    with events.span("init"):
        backbone, retriever = load_run(settings, backbone_folder, adapter)
    asked = [(entry, *read_asked(data, entry)) for entry in settings["sets"]]
    for entry, split, variants in asked:
        name = entry["name"]
        with events.span("eval", set=name):
            images, texts, text_image = embed_split(
                retriever, backbone, split, settings["prompt"], settings["batch_size"]
            )
            names = names_of(split)
            parts = [variant_table(names, images, texts, text_image, variant) for variant in variants]
            table = pd.concat(parts, ignore_index=True)
            ranks = best_ranks(texts, images, text_image, np.arange(len(images)))
        top = top_lists(split.items, names.captions, images, texts, text_image, ranks)
        write_lines(out / f"{name}.top.jsonl", top)
        write_ranks(out, entry, table, variants, input_hashes(settings, backbone_folder, adapter, split))
    events.publish(events_file)


def write_ranks(
    out: Path, entry: dict[str, Any], table: pd.DataFrame, variants: Sequence[Variant], inputs: dict[str, str]
) -> None:
    """Ranks of a set in all its variants, and the metrics that follow from them.

    Args:
        entry: the set's name, and the variant that tables print; inputs: hashes of what the ranks were computed from.
    """
    metrics = retrieval_metrics(table, variants, entry["printed"])
    ranks = out / f"{entry['name']}.ranks.parquet"
    write_bytes(ranks, table.to_parquet(index=False))
    hashes = inputs | {"gallery": gallery_hash(table), "ranks": sha256(ranks)}
    write_json(out / f"{entry['name']}.json", {"schema": RETRIEVAL_SCHEMA, **metrics, "inputs": hashes})


def read_asked(data: Path, entry: dict[str, Any]) -> tuple[Split, list[Variant]]:
    """The test split of a retrieval set, and the variants that it is counted in.

    Raises:
        SlqError: the split's images do not divide into the folds of a variant.
    """
    split = read_split(data, entry["name"], "test")
    variants = [Variant(**one) for one in entry["variants"]]
    for variant in variants:
        if variant.fold is not None and len(split.items) % variant.fold:
            raise SlqError(
                f"{entry['name']}/test: {len(split.items)} images do not divide into folds of {variant.fold}; change "
                f"sets.{entry['name']}.variants.{variant.name}.fold in config.yaml"
            )
    return split, variants


def recalls_on(settings: dict[str, Any]) -> Callable[[Any, Backbone, Split, Store | None], dict[str, dict[str, float]]]:
    """Recalls of a retriever on a split, for training to watch: it may not import evaluation, which knows how."""

    def validate(retriever: Any, backbone: Backbone, split: Split, store: Store | None) -> dict[str, dict[str, float]]:
        size = settings["training"]["micro_batch"]
        return recalls_of(*embed_split(retriever, backbone, split, settings["prompt"], size, store))

    return validate


def input_hashes(settings: dict[str, Any], backbone_folder: Path, adapter: Path, split: Split) -> dict[str, str]:
    """What the numbers were computed from: the same hashes must give the same numbers.

    The settings are those that can change a number: which other sets the job evaluates is left out.
    """
    return {
        "adapter": adapter_hash(adapter),
        "backbone": identity(backbone_folder),
        "set": split.sha256,
        "settings": digest({key: value for key, value in settings.items() if key != "sets"}),
    }


def adapter_hash(adapter: Path) -> str:
    """Identity of what a run trained; of one that trained nothing, of what it says of itself."""
    weights = adapter / registry.TENSORS
    return sha256(weights if weights.is_file() else adapter / "adapter.json")


# ---- the best images of a few captions ----


def spread(count: int) -> np.ndarray:
    """Numbers of six of `count` captions (of all, if there are fewer): k * count // 6, evenly over the set's order."""
    wanted = min(count, QUERIES)
    return np.arange(wanted) * count // wanted


def best_images(queries: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and similarities of the five most similar images of each query, best first.

    Args:
        queries (Q, d), images (I, d): unit vectors, float32.

    Returns:
        int64 and float32, both (Q, 5), or (Q, I) of fewer images. Equal similarities: the image that stands first in
        the set comes first.
    """
    scores = queries @ images.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :LENGTH]
    return order, np.take_along_axis(scores, order, axis=1)


def top_lists(
    items: Sequence[dict[str, Any]],
    captions: Sequence[str],
    images: np.ndarray,
    texts: np.ndarray,
    text_image: np.ndarray,
    ranks: np.ndarray,
) -> list[dict[str, Any]]:
    """What the chosen captions find, one object per caption (docs/results.md).

    Args:
        items: of the split, in the order of the images; captions: the id of each caption
        images (I, d), texts (T, d): unit vectors; text_image (T,): the image number of each caption
        ranks (T,): of each caption's own image
    """
    numbers = spread(len(texts))
    written = [text for item in items for text in item["captions"]]
    lists = []
    for number, order, scores in zip(numbers, *best_images(texts[numbers], images), strict=True):
        found = zip(order, scores, strict=True)
        lists.append(
            {
                "query": captions[number],
                "text": written[number],
                "image": items[text_image[number]]["id"],
                "rank": int(ranks[number]),
                # Six decimals: what float32 holds of a cosine.
                "top": [{"image": items[image]["id"], "similarity": round(float(score), 6)} for image, score in found],
            }
        )
    return lists
