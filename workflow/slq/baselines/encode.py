"""Retrieval with the embeddings of a dual encoder or of an untrained backbone, ranked like those of trained runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slq.baselines.mllm_encoder import MllmEncoder
from slq.common.events import EventLog
from slq.datasets.splits import Split
from slq.evaluation.encode import embed_split_with_encoder
from slq.evaluation.rank_table import RetrievalVariant, build_variant_table
from slq.evaluation.retrieval import build_retrieval_ids, read_split_and_variants
from slq.models.backbone import Backbone, pick_device
from slq.models.dual_encoder import DualEncoder

EMBEDDING_DIRECTIONS = ("t2i", "i2t")
Embeddings = tuple[np.ndarray, np.ndarray]  # images (I, d), texts (T, d)
Encoder = DualEncoder | MllmEncoder
# Entry of a dataset in the settings, its test split, its variants, and the rank table of all variants.
RankedDataset = tuple[dict[str, Any], Split, list[RetrievalVariant], pd.DataFrame]


def load_encoders(model_settings: dict[str, Any], folder: Path) -> dict[str, Encoder]:
    """Load the encoder of each direction.

    The directions share one encoder object if it is a dual encoder, or an MLLM with the same instructions in both.

    Args:
        model_settings: `model` of the rule's settings: `encoder`, or `backbone` with family, dtype and readout.
        folder: snapshot folder of the model.
    """
    if "encoder" in model_settings:
        return dict.fromkeys(EMBEDDING_DIRECTIONS, DualEncoder.load(folder, pick_device()))
    backbone = Backbone.load(folder, model_settings["family"], model_settings["dtype"], pick_device())
    readout, instructions = model_settings["readout"], model_settings["readout"]["instructions"]
    t2i_encoder = MllmEncoder.from_readout(backbone, readout, "t2i")
    if instructions["i2t"] == instructions["t2i"]:
        return dict.fromkeys(EMBEDDING_DIRECTIONS, t2i_encoder)
    return {"t2i": t2i_encoder, "i2t": MllmEncoder.from_readout(backbone, readout, "i2t")}


def rank_by_embeddings(
    settings: dict[str, Any], model_folder: Path, data: Path, events: EventLog
) -> tuple[Any, Iterator[RankedDataset]]:
    """Load a baseline's model; return its image processor and an iterator that ranks every retrieval dataset.

    Args:
        settings: settings of the rule: model, batch_size, datasets.
        model_folder: snapshot folder of the model.
    """
    with events.span("init"):
        encoders = load_encoders(settings["model"], model_folder)
    datasets = [(entry, *read_split_and_variants(data, entry)) for entry in settings["datasets"]]

    def rank() -> Iterator[RankedDataset]:
        """Embed and rank one dataset after another."""
        for entry, split, variants in datasets:
            with events.span("eval", dataset=entry["name"]):
                embeddings = embed_both_directions(encoders, split, settings["batch_size"])
                tables = [compute_rank_table(split, embeddings, variant) for variant in variants]
                table = pd.concat(tables, ignore_index=True)
            yield entry, split, variants, table

    return next(iter(encoders.values())).image_processor, rank()


def embed_both_directions(encoders: dict[str, Encoder], split: Split, batch_size: int) -> dict[str, Embeddings]:
    """Embed a split's images and captions for each direction, or once if both directions share one encoder."""
    embeddings = {one: embed_split_with_encoder(one, split, batch_size) for one in dict.fromkeys(encoders.values())}
    return {direction: embeddings[encoder] for direction, encoder in encoders.items()}


def compute_rank_table(split: Split, embeddings: dict[str, Embeddings], variant: RetrievalVariant) -> pd.DataFrame:
    """Compute the rank table of one variant, with each direction ranked by its own embeddings."""
    retrieval_ids = build_retrieval_ids(split)
    if embeddings["t2i"] is embeddings["i2t"]:
        return build_variant_table(retrieval_ids, *embeddings["t2i"], retrieval_ids.caption_to_image, variant)
    tables = {
        direction: build_variant_table(retrieval_ids, *embeddings[direction], retrieval_ids.caption_to_image, variant)
        for direction in EMBEDDING_DIRECTIONS
    }
    is_t2i = tables["t2i"]["direction"] == "t2i"
    return pd.concat([tables["t2i"][is_t2i], tables["i2t"][~is_t2i]], ignore_index=True)
