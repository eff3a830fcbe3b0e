"""Greedy generation of a backbone's answers to retention questions, with images or blind (without images)."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import GenerationConfig

from slq.common.errors import SlqError
from slq.datasets.questions import question_segments, strip_markers
from slq.datasets.splits import Split
from slq.evaluation.reply import Reply, build_answered_items
from slq.models.backbone import Backbone
from slq.models.prefix import collate, render_chat_template, tokenize_message
from slq.models.turn import ContentPart

Items = list[dict[str, Any]]
SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True)
class GenerationParams:
    """Parameters of answer generation.

    Attributes:
        max_new_tokens: maximum number of tokens of a reply, including its end token.
        batch_size: number of questions per batch. Batches follow the order of the items and do not depend on earlier
            progress.
        image_limits: limits on tiling and scaling of images (`retention_images` in config.yaml), the keyword arguments
            of the family's `process_question_images`.
    """

    max_new_tokens: int
    batch_size: int
    image_limits: Mapping[str, int] = field(default_factory=dict)

    def iter_batches(self, items: Items, num_done: int = 0) -> Iterator[Items]:
        """Iterate over the batches after the first `num_done` items, which must be whole batches."""
        return (items[start : start + self.batch_size] for start in range(num_done, len(items), self.batch_size))


def require_known_image_limits(
    backbone: Backbone, image_limits: Mapping[str, int], config_key: str = "retention_images"
) -> None:
    """Check that the family accepts every image limit, either per image or per question.

    Args:
        config_key: key of the limits in config.yaml, for the error message.
    """
    processors = (backbone.family.process, backbone.family.process_question_images)
    parameters = [parameter for taker in processors for parameter in inspect.signature(taker).parameters.values()]
    known = [one.name for one in parameters if one.default is not one.empty]
    for name in image_limits:
        if name not in known:
            raise SlqError(
                f"config: {config_key} has the key {name}, which {type(backbone.family).__name__} does not accept; "
                f"accepted keys: {', '.join(known) or 'none'}"
            )


def remove_images(split: Split) -> Split:
    """Return a split with the same questions but without images and image markers, for blind evaluation."""
    items = [item | {"images": [], "question": strip_markers(item["question"])} for item in split.items]
    return replace(split, items=items)


def build_question_parts(
    backbone: Backbone, split: Split, item: dict[str, Any], image_limits: Mapping[str, int] | None = None
) -> tuple[ContentPart, ...]:
    """Build the parts of a question: text, and images at the positions of their markers.

    Images without a marker come first. A marker of an image that the item does not have is an error.
    """
    images = backbone.family.process_question_images(
        [split.open(path) for path in item["images"]], **(image_limits or {})
    )
    return tuple(part if isinstance(part, str) else images[part] for part in question_segments(item))


def generate_answers(backbone: Backbone, split: Split, items: Items, params: GenerationParams) -> Items:
    """Generate the lines of an answers file for one batch of items of a split."""
    prompts, reply_ids = generate_reply_ids(backbone, split, items, params)
    return decode_answers(backbone, items, prompts, reply_ids)


def decode_answers(backbone: Backbone, items: Items, prompts: list[str], reply_ids: list[list[int]]) -> Items:
    """Decode replies and return the answered items: question, accepted answers and reply of each item."""
    end_ids = end_token_ids(backbone)
    texts = backbone.tokenizer.batch_decode(reply_ids, skip_special_tokens=True)
    replies = [
        Reply(prompt, text, len(ids), bool(ids) and ids[-1] in end_ids)
        for prompt, text, ids in zip(prompts, texts, reply_ids, strict=True)
    ]
    return build_answered_items(items, replies)


@torch.inference_mode()
def generate_reply_ids(
    backbone: Backbone, split: Split, items: Items, params: GenerationParams
) -> tuple[list[str], list[list[int]]]:
    """Generate replies to items by greedy decoding; return the prompts and the replies' token ids.

    A prompt is the question rendered with the chat template. A reply includes its end token but no padding.
    """
    questions = [build_question_parts(backbone, split, item, params.image_limits) for item in items]
    with split.naming_items():
        inputs = collate(backbone, [tokenize_message(backbone, parts) for parts in questions])
    # generate() computes the positions of new tokens itself, and this requires that it computes the prefix's as well.
    del inputs["position_ids"]
    with without_shipped_defaults(backbone.model):
        output = backbone.model.generate(**inputs, max_new_tokens=params.max_new_tokens, do_sample=False)
    end_ids, replies = end_token_ids(backbone), []
    for ids in output[:, inputs["input_ids"].shape[1] :].tolist():
        length = next((position for position, token in enumerate(ids, start=1) if token in end_ids), len(ids))
        replies.append(ids[:length])
    return [render_chat_template(backbone, parts) for parts in questions], replies


@contextmanager
def without_shipped_defaults(model: Any) -> Iterator[None]:
    """Leave only the special tokens of the generation defaults that the snapshot ships.

    With `do_sample=False` alone, a shipped repetition penalty, beams or suppressed tokens would still change replies.
    """
    shipped = model.generation_config
    model.generation_config = GenerationConfig(**{name: getattr(shipped, name) for name in SPECIAL_TOKENS})
    try:
        yield
    finally:
        model.generation_config = shipped


def end_token_ids(backbone: Backbone) -> list[int]:
    """Return the ids of the tokens that end a reply."""
    end = backbone.model.generation_config.eos_token_id
    return end if isinstance(end, list) else [end]
