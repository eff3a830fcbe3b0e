"""Embeddings of a retrieval split."""

import sys
from collections.abc import Iterable

import numpy as np
import torch
from tqdm import tqdm

from slq.data.prepared import Split
from slq.models.backbone import Backbone
from slq.models.prefix import Encoded, Part, encode, message
from slq.models.retriever import Retriever


@torch.inference_mode()
def embed_messages(
    retriever: Retriever, backbone: Backbone, messages: Iterable[tuple[Part, ...]], batch_size: int
) -> np.ndarray:
    """Unit vectors (n, d) in float32, in the messages' order; batches follow that order too."""
    vectors: list[np.ndarray] = []
    batch: list[Encoded] = []
    for parts in messages:
        batch.append(encode(backbone, parts))
        if len(batch) == batch_size:
            vectors.append(retriever.embed(batch).cpu().numpy())
            batch = []
    if batch:
        vectors.append(retriever.embed(batch).cpu().numpy())
    return np.concatenate(vectors)


def embed_split(
    retriever: Retriever, backbone: Backbone, split: Split, prompt: dict[str, str], batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (I, d), captions (T, d) and each caption's image number (T,) of a split."""
    items = tqdm(split.items, desc=f"{split.name} images", disable=None, file=sys.stderr)
    images = (message(backbone.family.process(split.open(item["image"])), prompt["image"]) for item in items)
    texts = [message(text, prompt["text"]) for item in split.items for text in item["captions"]]
    return (
        embed_messages(retriever, backbone, images, batch_size),
        embed_messages(retriever, backbone, texts, batch_size),
        text_image(split),
    )


def text_image(split: Split) -> np.ndarray:
    """The image number of each caption (T,) of a split."""
    return np.repeat(np.arange(len(split.items)), [len(item["captions"]) for item in split.items])


def caption_ids(split: Split) -> list[str]:
    """The id of each caption, in the order of `embed_split`: `<image>#<n>` for the n-th caption of an image."""
    return [f"{item['id']}#{n}" for item in split.items for n in range(len(item["captions"]))]
