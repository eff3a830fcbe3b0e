"""The job of a row that finds by its own vectors: the retrieval sets, embedded, ranked and counted as runs are."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slq.baselines.mllm import MllmEncoder
from slq.common.events import Events, describe_device, provenance
from slq.common.files import digest, write_json
from slq.common.snapshots import identity
from slq.datasets.prepared import Split
from slq.evaluation.encode import encode_split, names_of
from slq.evaluation.rank_table import Variant, variant_table
from slq.evaluation.retrieval import read_asked, write_ranks
from slq.models.backbone import Backbone, pick_device
from slq.models.dual_encoder import DualEncoder

DIRECTIONS = ("t2i", "i2t")
SCHEMA = 1  # of row.json
Vectors = tuple[np.ndarray, np.ndarray]  # images (I, d), texts (T, d)
Encoder = DualEncoder | MllmEncoder


def load_encoders(model: dict[str, Any], folder: Path) -> dict[str, Encoder]:
    """The encoder of each direction; one and the same, where both directions are told the same.

    Args:
        model: of the rule's settings: `encoder`, or `backbone` with family, dtype and readout.
        folder: the model's snapshot.

    Raises:
        SlqError: the snapshot cannot be used.
    """
    if "encoder" in model:
        return dict.fromkeys(DIRECTIONS, DualEncoder.load(folder, pick_device()))
    backbone = Backbone.load(folder, model["family"], model["dtype"], pick_device())
    readout, turns = model["readout"], model["readout"]["instructions"]
    texts_search = MllmEncoder.of(backbone, readout, "t2i")
    alike = turns["i2t"] == turns["t2i"]
    return {"t2i": texts_search, "i2t": texts_search if alike else MllmEncoder.of(backbone, readout, "i2t")}


def embed_row(settings: dict[str, Any], model: Path, data: Path, work: Path, out: Path) -> None:
    """Metrics and ranks of a row on the test split of every retrieval set, and what it is.

    Args:
        settings: of the rule: preset, row, kind, model, batch_size, sets.
        model: the folder of its snapshot.
        work: scratch folder where the events of all attempts gather.
    """
    device = describe_device(pick_device())
    name = {key: settings[key] for key in ("preset", "row")}
    events = Events.gathered(work / "retrieve.jsonl", **name, device=device)
    with events.span("init"):
        encoders = load_encoders(settings["model"], model)
    asked = [(entry, *read_asked(data, entry)) for entry in settings["sets"]]
    for entry, split, variants in asked:
        with events.span("eval", set=entry["name"]):
            vectors = embed_directions(encoders, split, settings["batch_size"])
            table = pd.concat([ranked(split, vectors, variant) for variant in variants], ignore_index=True)
        how = digest({key: settings[key] for key in ("model", "batch_size")})
        inputs = {"model": identity(model), "set": split.sha256, "settings": how}
        write_ranks(out / "retrieval", entry, table, variants, inputs)
    write_row(out, settings, next(iter(encoders.values())).image_processor, device)
    events.publish(out / "events" / "retrieve.jsonl")


def write_row(out: Path, settings: dict[str, Any], image_processor: Any, device: dict[str, Any]) -> None:
    """What a row is, and under which circumstances it was measured."""
    about = {key: settings[key] for key in ("preset", "row", "kind")} | {"settings": settings}
    measured = {"provenance": provenance(image_processor), "device": device}
    write_json(out / "row.json", {"schema": SCHEMA, **about, **measured})


def embed_directions(encoders: dict[str, Encoder], split: Split, batch_size: int) -> dict[str, Vectors]:
    """Of each direction the vectors of a split's images and captions; computed once where one encoder has both."""
    made = {encoder: encode_split(encoder, split, batch_size) for encoder in dict.fromkeys(encoders.values())}
    return {way: made[encoder] for way, encoder in encoders.items()}


def ranked(split: Split, vectors: dict[str, Vectors], variant: Variant) -> pd.DataFrame:
    """The table of ranks of one variant, each direction by its own vectors."""
    names = names_of(split)
    if vectors["t2i"] is vectors["i2t"]:
        return variant_table(names, *vectors["t2i"], names.text_image, variant)
    tables = {way: variant_table(names, *vectors[way], names.text_image, variant) for way in DIRECTIONS}
    texts_search = tables["t2i"]["direction"] == "t2i"
    return pd.concat([tables["t2i"][texts_search], tables["i2t"][~texts_search]], ignore_index=True)
