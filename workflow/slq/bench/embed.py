"""`slq bench embed`: embedding for evaluation, as in the released loop and as here."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from slq.bench.measure import ALIKE, seconds
from slq.bench.released import ReleasedRetriever
from slq.bench.shapes import coco_pairs, shaped_backbone
from slq.errors import SlqError
from slq.evaluation.embed import embed_messages, embed_sorted
from slq.events import describe_device
from slq.models.backbone import pick_device
from slq.models.prefix import Encoded, Message
from slq.models.retriever import QueryRetriever, initial_queries
from slq.prefixes.kinds import KINDS
from slq.prefixes.shard import Shard, write_shard

SCHEMA = 1
TEXTS = 3  # times the batch, for captions: the released evaluation's way (eval/eval_internvl_on_coco.py)


def bench_embed(settings: Mapping[str, Any], images: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Rows of what embedding images and captions takes, each way.

    The released loop takes the messages in their order, pads to the longest of a batch, and takes three batches of
    captions at once. Here captions of about one length run together; images are read from a store if there is one.

    Raises:
        SlqError: two ways give different vectors.
    """
    device = pick_device()
    backbone = shaped_backbone(settings, device, seed=1)
    made = (images, settings["captions"], settings["pixels"], settings["turn_tokens"])
    pairs = [pair for batch in coco_pairs(backbone, *made, seed=1) for pair in batch]
    pictures = [pair.image for pair in pairs[:images] if isinstance(pair.image, Encoded)]
    captions, batch = [pair.text for pair in pairs], settings["batch"]
    start = initial_queries(settings["queries"], backbone.width, "normal", torch.Generator().manual_seed(1))
    released, ours = ReleasedRetriever(backbone, start), QueryRetriever(backbone, start)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "bench.safetensors"
        with torch.inference_mode():
            write_shard(path, [slab for one in pictures for slab in KINDS["kv"].keep(backbone, [one])])

        def stored() -> list[Message]:
            shard = Shard(path)
            return [KINDS["kv"].message(backbone, shard.read(number), "") for number in range(len(pictures))]

        ways: dict[str, dict[str, Callable[[], np.ndarray]]] = {
            "images": {
                "released": lambda: embed_messages(released, pictures, batch),
                "ours": lambda: embed_messages(ours, pictures, batch),
                "ours, stored": lambda: embed_messages(ours, stored(), batch),
            },
            "captions": {
                "released": lambda: embed_messages(released, captions, TEXTS * batch),
                "ours, unsorted": lambda: embed_messages(ours, captions, batch),
                "ours": lambda: embed_sorted(ours, captions, batch),
            },
        }
        rows = [row for kind, some in ways.items() for row in compared(kind, some, repeats, ALIKE[settings["dtype"]])]
    keys = ("backbone", "dtype", "batch", "queries")
    circumstances = {"device": describe_device(device), "torch": torch.__version__, "repeats": repeats}
    counts = {"images": len(pictures), "captions": len(captions)}
    return {"schema": SCHEMA, **{key: settings[key] for key in keys}, **circumstances, "counts": counts, "rows": rows}


def compared(
    kind: str, ways: Mapping[str, Callable[[], np.ndarray]], repeats: int, alike: float
) -> Sequence[dict[str, Any]]:
    """A row for each way to compute the same numbers, in alternation; the first is what the others are compared with.

    Raises:
        SlqError: they give different numbers.
    """
    vectors = {name: way() for name, way in ways.items()}
    first_way, expected = next(iter(vectors.items()))
    for name, found in vectors.items():
        if not (apart := float(abs(found - expected).max())) <= alike:
            raise SlqError(f"{kind}, {name}: differs by {apart:g} from '{first_way}'; expected at most {alike:g}")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            times[name].append(seconds(way))
    first = median(times[first_way])
    return [
        {
            "what": kind,
            "way": name,
            "seconds": median(taken),
            "per_second": len(expected) / median(taken),
            "times_faster": first / median(taken),
            "apart": float(abs(vectors[name] - expected).max()),
        }
        for name, taken in times.items()
    ]
