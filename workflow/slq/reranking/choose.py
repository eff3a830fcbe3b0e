"""Listwise choice: which of an image's candidate captions the backbone names by its number (I2T)."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from slq.errors import SlqError
from slq.models.backbone import Backbone
from slq.models.family import Pixels
from slq.models.prefix import Encoded, encode
from slq.reranking.judge import Read, first_token

OPTIONS = "{options}"  # in the prompt, where the captions stand
SEED = 0  # of the order in which options are shown


def shown_order(image: str, count: int) -> list[int]:
    """Which candidate is shown at each place: an order of its own for each image, the same every time.

    A model may prefer a place: in the order of the coarse list, that preference would pass for knowledge.
    """
    order = list(range(count))
    random.Random(f"{SEED} {image}").shuffle(order)
    return order


def choosing(backbone: Backbone, image: Pixels, prompt: str, captions: Sequence[str]) -> Encoded:
    """The turn: the image, and which of these captions, in this order, matches it best."""
    lines = [f"{number}. {caption}" for number, caption in enumerate(captions, start=1)]
    return encode(backbone, (image, prompt.replace(OPTIONS, "\n".join(lines))))


def option_tokens(backbone: Backbone, count: int) -> list[int]:
    """The first token of each option's number.

    Raises:
        SlqError: the tokenizer has none for one of them, or begins two numbers alike.
    """
    tokens = [first_token(backbone, str(number), "rerank.k") for number in range(1, count + 1)]
    if len(set(tokens)) < count:
        raise SlqError(
            f"config: rerank.k is {count}; the backbone's tokenizer begins two of the numbers from 1 to {count} with "
            "the same token, so one token does not say which is meant; lower it"
        )
    return tokens


def options(tokens: Sequence[int]) -> Read:
    """What is read of logits (n, vocabulary): the probability of each option's number, (n, options)."""
    return lambda logits: logits.softmax(-1)[:, tokens]


def undo(shown: Sequence[int], probabilities: Tensor) -> Tensor:
    """Probabilities (options,) by place, put back into the order of the candidates: equal captions stay two."""
    return probabilities[torch.tensor(shown).argsort()]
