"""What was said to a question: a line of an answers file, before any scorer reads it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

ITEM_FIELDS = ("id", "question", "options", "answers", "type")  # of an item: what an answers file repeats
Item = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What was said to a prompt.

    prompt: as the chat template renders it, a placeholder for each image
    answer: the raw text
    tokens: how many were generated, the end token included
    ended: by itself, and not because it ran into the limit
    """

    prompt: str
    answer: str
    tokens: int
    ended: bool


def build_answered_items(items: Sequence[Item], replies: Sequence[Reply]) -> list[Item]:
    """The items as they were asked, each with what was said to it."""
    return [
        {**{field: item[field] for field in ITEM_FIELDS}, **asdict(reply)}
        for item, reply in zip(items, replies, strict=True)
    ]
