"""Retention: questions answered by the tuned backbone itself, greedily; seeing their images, or blind."""

import sys
from dataclasses import replace
from typing import Any

import torch
from tqdm import tqdm

from slq.data.prepared import Split
from slq.data.questions import pieces, without_markers
from slq.evaluation.scores import answered_items
from slq.models.backbone import Backbone
from slq.models.prefix import Part, collate, encode


def blind(split: Split) -> Split:
    """The same questions without their images: no markers, and all the text."""
    items = [item | {"images": [], "question": without_markers(item["question"])} for item in split.items]
    return replace(split, items=items)


def question_parts(backbone: Backbone, split: Split, item: dict[str, Any]) -> tuple[Part, ...]:
    """The question as its text says: images where their markers stand, those without a marker first.

    Raises:
        SlqError: a marker names an image that the item does not have.
    """
    images = [backbone.family.process(split.open(path)) for path in item["images"]]
    return tuple(part if isinstance(part, str) else images[part] for part in pieces(item))


def answer(backbone: Backbone, split: Split, max_new_tokens: int, batch_size: int) -> list[dict[str, Any]]:
    """Greedy answers to every item, in order: what was asked, what is accepted, and the raw text."""
    replies = reply_tokens(backbone, split, max_new_tokens, batch_size)
    texts = backbone.tokenizer.batch_decode(replies, skip_special_tokens=True)
    return answered_items(split.items, texts)


@torch.inference_mode()
def reply_tokens(backbone: Backbone, split: Split, max_new_tokens: int, batch_size: int) -> list[list[int]]:
    """Token ids of the greedy reply to every item, in order, its end token included and what pads it left out."""
    replies = []
    end = backbone.model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    starts = range(0, len(split.items), batch_size)
    for start in tqdm(starts, desc=f"{split.name} questions", disable=None, file=sys.stderr):
        items = split.items[start : start + batch_size]
        inputs = collate(backbone, [encode(backbone, question_parts(backbone, split, item)) for item in items])
        # generate() continues positions by its own rules, which need the prefix's to be its own too.
        del inputs["position_ids"]
        output = backbone.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        for reply in output[:, inputs["input_ids"].shape[1] :].tolist():
            length = next((place for place, token in enumerate(reply, start=1) if token in ends), len(reply))
            replies.append(reply[:length])
    return replies


def answered_otherwise(items: list[dict[str, Any]], one: list[list[int]], other: list[list[int]]) -> list[str]:
    """Ids of the items whose replies differ in a token, of two lists of replies to the same items."""
    return [item["id"] for item, mine, theirs in zip(items, one, other, strict=True) if mine != theirs]
