"""Replies to questions, as the lines of an answers file before any scorer reads them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

ITEM_FIELDS = ("id", "question", "options", "answers", "type")  # fields of an item that an answers file repeats
Item = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """Reply of a model to one prompt.

    Attributes:
        prompt: the prompt as the chat template renders it, with a placeholder for each image.
        answer: the raw text of the reply.
        tokens: how many tokens were generated, the end token included.
        ended: whether the reply ended by itself rather than at the limit.
    """

    prompt: str
    answer: str
    tokens: int
    ended: bool


def build_answered_items(items: Sequence[Item], replies: Sequence[Reply]) -> list[Item]:
    """Build the lines of an answers file: each item's fields with the reply to it."""
    return [
        {**{field: item[field] for field in ITEM_FIELDS}, **asdict(reply)}
        for item, reply in zip(items, replies, strict=True)
    ]
