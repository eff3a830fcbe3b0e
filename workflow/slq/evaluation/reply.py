"""Replies to questions, stored as the lines of an answers file before any scorer judges them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

ITEM_FIELDS = ("id", "question", "options", "answers", "type")  # fields of an item that are copied to an answers file
Item = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """Reply of a model to one prompt.

    Attributes:
        prompt: the prompt rendered with the chat template, with one placeholder per image.
        answer: raw text of the reply.
        tokens: number of generated tokens, including the end token.
        ended: whether the reply ended with an end token, and not at the limit.
    """

    prompt: str
    answer: str
    tokens: int
    ended: bool


def build_answered_items(items: Sequence[Item], replies: Sequence[Reply]) -> list[Item]:
    """Build the lines of an answers file: the fields of each item, and the reply to it."""
    return [
        {**{field: item[field] for field in ITEM_FIELDS}, **asdict(reply)}
        for item, reply in zip(items, replies, strict=True)
    ]
