"""Retention: questions answered by the tuned backbone itself, greedily; seeing their images, or blind."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from slq.common.errors import SlqError
from slq.datasets.prepared import Split
from slq.datasets.questions import pieces, without_markers
from slq.evaluation.reply import Reply, answered_items
from slq.models.backbone import Backbone
from slq.models.prefix import Part, collate, encode, render

Items = list[dict[str, Any]]


@dataclass(frozen=True)
class Asking:
    """How questions are asked.

    max_new_tokens: of a reply, its end token included
    batch_size: questions answered at once; batches follow the items' order, so that they never depend on what is done
    limits: how images are cut or scaled, for the family's `process_question` (`retention_images` in config.yaml)
    """

    max_new_tokens: int
    batch_size: int
    limits: Mapping[str, int] = field(default_factory=dict)

    def batches(self, items: Items, done: int = 0) -> Iterator[Items]:
        """The batches of the items behind the first `done`, which are whole batches."""
        return (items[start : start + self.batch_size] for start in range(done, len(items), self.batch_size))


def require_limits(backbone: Backbone, limits: Mapping[str, int], where: str = "retention_images") -> None:
    """Raise SlqError if the family takes none of that name, for an image or for all of a question.

    `where` says which key of config.yaml holds them.
    """
    takers = (backbone.family.process, backbone.family.process_question)
    parameters = [parameter for taker in takers for parameter in inspect.signature(taker).parameters.values()]
    known = [one.name for one in parameters if one.default is not one.empty]
    for name in limits:
        if name not in known:
            raise SlqError(
                f"config: {where} has the key {name}, which {type(backbone.family).__name__} does not take; "
                f"it takes: {', '.join(known) or 'none'}"
            )


def blind(split: Split) -> Split:
    """The same questions without their images: no markers, and all the text."""
    items = [item | {"images": [], "question": without_markers(item["question"])} for item in split.items]
    return replace(split, items=items)


def question_parts(
    backbone: Backbone, split: Split, item: dict[str, Any], limits: Mapping[str, int] | None = None
) -> tuple[Part, ...]:
    """The question as its text says: images where their markers stand, those without a marker first.

    Raises:
        SlqError: a marker names an image that the item does not have.
    """
    images = backbone.family.process_question([split.open(path) for path in item["images"]], **(limits or {}))
    return tuple(part if isinstance(part, str) else images[part] for part in pieces(item))


def answer_batch(backbone: Backbone, split: Split, items: Items, how: Asking) -> Items:
    """Lines of an answers file for some items of a split, asked at once."""
    prompts, tokens = reply(backbone, split, items, how)
    return answer_lines(backbone, items, prompts, tokens)


def answer_lines(backbone: Backbone, items: Items, prompts: list[str], tokens: list[list[int]]) -> Items:
    """What was asked, what is accepted, and what was said, item by item."""
    ends = end_tokens(backbone)
    texts = backbone.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    replies = [
        Reply(prompt, text, len(ids), bool(ids) and ids[-1] in ends)
        for prompt, text, ids in zip(prompts, texts, tokens, strict=True)
    ]
    return answered_items(items, replies)


@torch.inference_mode()
def reply(backbone: Backbone, split: Split, items: Items, how: Asking) -> tuple[list[str], list[list[int]]]:
    """Of each item the prompt as the chat template renders it, and the token ids of the greedy reply.

    A reply includes its end token and leaves out what pads it behind that.
    """
    asked = [question_parts(backbone, split, item, how.limits) for item in items]
    inputs = collate(backbone, [encode(backbone, parts) for parts in asked])
    # generate() continues positions by its own rules, which need the prefix's to be its own too.
    del inputs["position_ids"]
    output = backbone.model.generate(**inputs, max_new_tokens=how.max_new_tokens, do_sample=False)
    ends, replies = end_tokens(backbone), []
    for ids in output[:, inputs["input_ids"].shape[1] :].tolist():
        length = next((place for place, token in enumerate(ids, start=1) if token in ends), len(ids))
        replies.append(ids[:length])
    return [render(backbone, parts) for parts in asked], replies


def end_tokens(backbone: Backbone) -> list[int]:
    """The tokens that end a reply."""
    end = backbone.model.generation_config.eos_token_id
    return end if isinstance(end, list) else [end]
