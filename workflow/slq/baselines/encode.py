"""Evaluation of encoder baselines: retrieval datasets are embedded, ranked and scored as for trained runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slq.baselines.mllm_encoder import MllmEncoder
from slq.common.events import EventLog, describe_device, provenance
from slq.common.files import hash_json, write_json
from slq.common.snapshots import snapshot_sha256
from slq.datasets.splits import Split
from slq.evaluation.encode import embed_split_with_encoder
from slq.evaluation.rank_table import RetrievalVariant, build_variant_table
from slq.evaluation.retrieval import build_retrieval_ids, read_split_and_variants, write_retrieval_results
from slq.models.backbone import Backbone, pick_device
from slq.models.dual_encoder import DualEncoder

EMBEDDING_DIRECTIONS = ("t2i", "i2t")
SCHEMA = 2  # of baseline.json
Embeddings = tuple[np.ndarray, np.ndarray]  # images (I, d), texts (T, d)
Encoder = DualEncoder | MllmEncoder


def load_encoders(model_settings: dict[str, Any], folder: Path) -> dict[str, Encoder]:
    """Load the encoder of each direction.

    Both directions share one object for a dual encoder, and for an MLLM with the same instructions in both.

    Args:
        model_settings: the model part of the rule's settings: `encoder`, or `backbone` with family, dtype and readout.
        folder: the model's snapshot.

    Raises:
        SlqError: the snapshot cannot be used.
    """
    if "encoder" in model_settings:
        return dict.fromkeys(EMBEDDING_DIRECTIONS, DualEncoder.load(folder, pick_device()))
    backbone = Backbone.load(folder, model_settings["family"], model_settings["dtype"], pick_device())
    readout, instructions = model_settings["readout"], model_settings["readout"]["instructions"]
    t2i_encoder = MllmEncoder.from_readout(backbone, readout, "t2i")
    same_instructions = instructions["i2t"] == instructions["t2i"]
    return {
        "t2i": t2i_encoder,
        "i2t": t2i_encoder if same_instructions else MllmEncoder.from_readout(backbone, readout, "i2t"),
    }


def evaluate_encoder_baseline(settings: dict[str, Any], model_folder: Path, data: Path, work: Path, out: Path) -> None:
    """Write a baseline's metrics and ranks on the test split of every retrieval dataset, and its description.

    Args:
        settings: the rule's settings: preset, baseline, kind, model, batch_size, datasets.
        model_folder: the folder of the model's snapshot.
        work: scratch folder that collects the events of all attempts.
    """
    device = describe_device(pick_device())
    event_labels = {key: settings[key] for key in ("preset", "baseline")}
    events = EventLog.for_next_attempt(work / "retrieval.jsonl", **event_labels, device=device)
    with events.span("init"):
        encoders = load_encoders(settings["model"], model_folder)
    datasets = [(entry, *read_split_and_variants(data, entry)) for entry in settings["datasets"]]
    for entry, split, variants in datasets:
        with events.span("eval", dataset=entry["name"]):
            embeddings = embed_both_directions(encoders, split, settings["batch_size"])
            table = pd.concat(
                [compute_rank_table(split, embeddings, variant) for variant in variants], ignore_index=True
            )
        settings_hash = hash_json({key: settings[key] for key in ("model", "batch_size")})
        inputs = {"model": snapshot_sha256(model_folder), "dataset": split.sha256, "settings": settings_hash}
        write_retrieval_results(out / "retrieval", entry, table, variants, inputs)
    write_baseline_record(out, settings, next(iter(encoders.values())).image_processor, device)
    events.publish(out / "events" / "retrieval.jsonl")


def write_baseline_record(out: Path, settings: dict[str, Any], image_processor: Any, device: dict[str, Any]) -> None:
    """Write a baseline's description and the software and hardware that it was measured with."""
    description = {key: settings[key] for key in ("preset", "baseline", "kind")} | {"settings": settings}
    environment = {"provenance": provenance(image_processor), "device": device}
    write_json(out / "baseline.json", {"schema": SCHEMA, **description, **environment})


def embed_both_directions(encoders: dict[str, Encoder], split: Split, batch_size: int) -> dict[str, Embeddings]:
    """Embed a split's images and captions for each direction, only once if one encoder serves both."""
    embeddings = {
        encoder: embed_split_with_encoder(encoder, split, batch_size) for encoder in dict.fromkeys(encoders.values())
    }
    return {direction: embeddings[encoder] for direction, encoder in encoders.items()}


def compute_rank_table(split: Split, embeddings: dict[str, Embeddings], variant: RetrievalVariant) -> pd.DataFrame:
    """Compute the rank table of one variant, each direction from its own embeddings."""
    retrieval_ids = build_retrieval_ids(split)
    if embeddings["t2i"] is embeddings["i2t"]:
        return build_variant_table(retrieval_ids, *embeddings["t2i"], retrieval_ids.caption_to_image, variant)
    tables = {
        direction: build_variant_table(retrieval_ids, *embeddings[direction], retrieval_ids.caption_to_image, variant)
        for direction in EMBEDDING_DIRECTIONS
    }
    is_t2i = tables["t2i"]["direction"] == "t2i"
    return pd.concat([tables["t2i"][is_t2i], tables["i2t"][~is_t2i]], ignore_index=True)
