"""The job of a row that finds by its own vectors: the retrieval sets, embedded, ranked and counted as runs are."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from slq.comparators.encoder import DIRECTIONS, Encoder, load_encoders
from slq.data.prepared import Split
from slq.data.snapshots import identity
from slq.evaluation.embed import in_batches, names_of
from slq.evaluation.run import read_asked, write_ranks
from slq.evaluation.variants import Variant, variant_table
from slq.events import Events, describe_device
from slq.files import digest, write_json
from slq.models.backbone import pick_device
from slq.provenance import provenance

SCHEMA = 1  # of row.json
Vectors = tuple[np.ndarray, np.ndarray]  # images (I, d), texts (T, d)


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
    made: dict[int, Vectors] = {}
    for encoder in encoders.values():
        if id(encoder) not in made:
            bar = tqdm(split.items, desc=f"{split.name} images", disable=None, file=sys.stderr)
            images = (split.open(item["image"]) for item in bar)
            texts = [text for item in split.items for text in item["captions"]]
            made[id(encoder)] = (
                in_batches(encoder.encode_images, images, batch_size),
                in_batches(encoder.encode_texts, texts, batch_size),
            )
    return {way: made[id(encoder)] for way, encoder in encoders.items()}


def ranked(split: Split, vectors: dict[str, Vectors], variant: Variant) -> pd.DataFrame:
    """The table of ranks of one variant, each direction by its own vectors."""
    names = names_of(split)
    if vectors["t2i"] is vectors["i2t"]:
        return variant_table(names, *vectors["t2i"], names.text_image, variant)
    tables = {way: variant_table(names, *vectors[way], names.text_image, variant) for way in DIRECTIONS}
    texts_search = tables["t2i"]["direction"] == "t2i"
    return pd.concat([tables["t2i"][texts_search], tables["i2t"][~texts_search]], ignore_index=True)
