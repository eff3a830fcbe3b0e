"""Embedding of the images and captions of a retrieval split, in batches."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slq.caching.feature_cache import FeatureCache, load_image_message
from slq.common.progress import Progress
from slq.datasets.splits import Split
from slq.models.backbone import Backbone
from slq.models.prefix import Message, message_parts, tokenize_message
from slq.models.retriever import Retriever


@torch.inference_mode()
def embed_messages(retriever: Retriever, messages: Iterable[Message], batch_size: int) -> np.ndarray:
    """Embed messages, in batches of consecutive messages, as unit vectors (n, d) in float32 in the same order."""
    return embed_in_batches(retriever.embed, messages, batch_size)


def embed_split(
    retriever: Retriever,
    backbone: Backbone,
    split: Split,
    prompt: dict[str, str],
    batch_size: int,
    feature_cache: FeatureCache | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embed the images and captions of a split as unit vectors.

    Args:
        feature_cache: cached features of the split's images. Without it, image files are read one batch at a time.

    Returns:
        image embeddings (I, d), caption embeddings (T, d), and the image index of each caption (T,).
    """
    captions = [text for item in split.items for text in item["captions"]]
    with split.naming_items():
        texts = [tokenize_message(backbone, message_parts(text, prompt["text"])) for text in captions]
    # Texts come first: they are cheaper, and a text that is too long fails early. Sorting by length saves padding.
    order = sorted(range(len(texts)), key=lambda number: texts[number].length)
    text_embeddings = embed_messages(retriever, (texts[number] for number in order), batch_size)[np.argsort(order)]
    bar = Progress(range(len(split.items)), desc=f"{split.name} images")
    images = (load_image_message(backbone, split, number, prompt["image"], feature_cache) for number in bar)
    return embed_messages(retriever, images, batch_size), text_embeddings, split.caption_to_image


def embed_in_batches(embed_batch: Callable[[list[Any]], Tensor], items: Iterable[Any], batch_size: int) -> np.ndarray:
    """Embed items in batches of `batch_size` and return their vectors (n, d) in the order of the items."""
    remaining = iter(items)
    batches = iter(lambda: list(islice(remaining, batch_size)), [])
    return np.concatenate([embed_batch(batch).cpu().numpy() for batch in batches])


def embed_split_with_encoder(encoder: Any, split: Split, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Embed the images and captions of a split with an encoder, e.g. a dual encoder.

    Args:
        encoder: an object with the methods `encode_images` and `encode_texts`.

    Returns:
        image embeddings (I, d) and caption embeddings (T, d).
    """
    bar = Progress(split.items, desc=f"{split.name} images")
    images = (split.open(item["image"]) for item in bar)
    texts = [text for item in split.items for text in item["captions"]]
    with split.naming_items():
        text_embeddings = embed_in_batches(encoder.encode_texts, texts, batch_size)
    return embed_in_batches(encoder.encode_images, images, batch_size), text_embeddings
