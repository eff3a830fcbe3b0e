"""Evaluation of one run on all its retrieval sets, from adapter to metrics files."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slq.data.prepared import Split, read_split
from slq.data.snapshots import identity
from slq.evaluation.embed import caption_ids, embed_split
from slq.evaluation.ranks import both_directions, recalls
from slq.evaluation.top import top_lists
from slq.events import Events, describe_device
from slq.files import digest, sha256, write_json, write_lines
from slq.models import methods
from slq.models.backbone import Backbone, pick_device

SCHEMA = 1


def load_run(settings: dict[str, Any], backbone_folder: Path, adapter: Path) -> tuple[Backbone, Any]:
    """A run's backbone and retriever, as training left them."""
    backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
    return backbone, methods.load(backbone, adapter, identity(backbone_folder))


def retrieve(
    settings: dict[str, Any], backbone_folder: Path, adapter: Path, data: Path, out: Path, events_file: Path
) -> None:
    """Metrics, ranks and a few best images of the test split of every retrieval set."""
    events_file.unlink(missing_ok=True)
    events = Events(events_file, device=describe_device(pick_device()))
    with events.span("init"):
        backbone, retriever = load_run(settings, backbone_folder, adapter)
    for name in settings["sets"]:
        split = read_split(data, name, "test")
        with events.span("eval", set=name):
            vectors = embed_split(retriever, backbone, split, settings["prompt"], settings["batch_size"])
            ranks = both_directions(*vectors)
        write_ranks(out / f"{name}.ranks.parquet", split, ranks)
        write_lines(out / f"{name}.top.jsonl", top_lists(split.items, caption_ids(split), *vectors, ranks["t2i"]))
        write_json(
            out / f"{name}.json",
            {
                "schema": SCHEMA,
                "metrics": {direction: recalls(values) for direction, values in ranks.items()},
                "n": {"images": len(split.items), "captions": len(ranks["t2i"])},
                "inputs": input_hashes(settings, backbone_folder, adapter, split),
            },
        )


def rank_split(
    retriever: Any, backbone: Backbone, split: Split, prompt: dict[str, str], batch_size: int
) -> dict[str, np.ndarray]:
    """Ranks of both directions on a split."""
    return both_directions(*embed_split(retriever, backbone, split, prompt, batch_size))


def write_ranks(path: Path, split: Split, ranks: dict[str, np.ndarray]) -> None:
    """A row per query: direction, query id (of a caption or an image), rank."""
    names = {"t2i": caption_ids(split), "i2t": [item["id"] for item in split.items]}
    tables = [pd.DataFrame({"direction": d, "query": names[d], "rank": ranks[d]}) for d in ("t2i", "i2t")]
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(tables, ignore_index=True).to_parquet(path, index=False)


def input_hashes(settings: dict[str, Any], backbone_folder: Path, adapter: Path, split: Split) -> dict[str, str]:
    """What the numbers were computed from: the same hashes must give the same numbers.

    The settings are those that can change a number: which other sets the job evaluates is left out.
    """
    weights = adapter / "adapter.safetensors"
    return {
        "adapter": sha256(weights if weights.is_file() else adapter / "adapter.json"),
        "backbone": identity(backbone_folder),
        "set": split.sha256,
        "settings": digest({key: value for key, value in settings.items() if key != "sets"}),
    }
