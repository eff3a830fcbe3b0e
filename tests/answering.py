"""Answers of a backbone to all items of a split, for tests."""

from slq.datasets.splits import Split
from slq.evaluation.generation import GenerationParams, Items, generate_answers, generate_reply_ids
from slq.models.backbone import Backbone


def answer(backbone: Backbone, split: Split, how: GenerationParams) -> Items:
    """Generate greedy answers to all items, in order, as lines of an answers file."""
    return [line for items in how.iter_batches(split.items) for line in generate_answers(backbone, split, items, how)]


def reply_tokens(backbone: Backbone, split: Split, how: GenerationParams) -> list[list[int]]:
    """Return the token ids of the greedy reply to every item, in order."""
    return [
        ids for items in how.iter_batches(split.items) for ids in generate_reply_ids(backbone, split, items, how)[1]
    ]


def answered_otherwise(items: Items, one: list[list[int]], other: list[list[int]]) -> list[str]:
    """Return the ids of the items for which two lists of replies differ in at least one token."""
    return [item["id"] for item, mine, theirs in zip(items, one, other, strict=True) if mine != theirs]
