"""`slq bench rerank`: what reusing an image's prefix over its candidates saves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from slq.bench.embed import compared
from slq.bench.measure import ALIKE
from slq.bench.shapes import caption_message, image_message, shaped_backbone
from slq.events import describe_device
from slq.models.backbone import pick_device
from slq.models.prefix import Encoded
from slq.reranking.judge import Manner, judge

SCHEMA = 1
QUESTION = 16  # tokens around a caption, beyond the turn's own: "Does the image match the caption …?"
LOGITS = 8  # of the first tokens, which both ways are compared by: of random weights all answers are about as likely


def bench_rerank(settings: Mapping[str, Any], candidates: int, repeats: int) -> dict[str, Any]:
    """Rows of what asking about a batch of images with so many captions each takes, each way.

    Raises:
        SlqError: both ways give different logits.
    """
    device = pick_device()
    backbone = shaped_backbone(settings, device, seed=1)
    draw, turn = torch.Generator().manual_seed(1), settings["turn_tokens"]
    asked = []
    for _ in range(settings["batch"]):
        shown = image_message(backbone, settings["pixels"], turn["image"], draw)
        behind = [caption_message(backbone, QUESTION, draw).ids for _ in range(candidates)]
        asked.append([Encoded([*shown.ids, *ids], shown.images) for ids in behind])

    def ask(reuse: bool) -> np.ndarray:
        how = Manner(settings["batch"] * candidates, reuse=reuse)
        return judge(backbone, asked, lambda logits: logits[:, :LOGITS], how).numpy()

    ways = {"one by one": lambda: ask(False), "one prefix": lambda: ask(True)}
    return {
        "schema": SCHEMA,
        **{key: settings[key] for key in ("backbone", "dtype", "batch")},
        **{"device": describe_device(device), "torch": torch.__version__, "repeats": repeats},
        "counts": {"images": settings["batch"], "candidates": candidates},
        "rows": compared("pairs", ways, repeats, ALIKE[settings["dtype"]]),
    }
