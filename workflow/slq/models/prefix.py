"""The prefix: prompt and content tokens of a batch, left-padded, with explicit positions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slq.models.backbone import Backbone
from slq.models.family import Pixels

Part = str | Pixels


@dataclass(frozen=True)
class Encoded:
    """One message as token ids, with the images that its image tokens stand for."""

    ids: list[int]
    images: tuple[Pixels, ...]


def message(content: Part, instruction: str) -> tuple[Part, ...]:
    """Content of a user turn, with the instruction after it if there is one (`prompt` in config.yaml)."""
    return (content, instruction) if instruction else (content,)


def render(backbone: Backbone, parts: tuple[Part, ...]) -> str:
    """A user turn of texts and images in the backbone's chat template, up to where the answer would begin.

    An image is its placeholder, once.
    """
    content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts]
    text: str = backbone.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return text


def encode(backbone: Backbone, parts: tuple[Part, ...]) -> Encoded:
    """The rendered turn as token ids, each placeholder expanded to the tokens of its image."""
    images = tuple(part for part in parts if isinstance(part, Pixels))
    pieces = render(backbone, parts).split(backbone.family.placeholder)
    if len(pieces) != len(images) + 1:
        raise ValueError(f"the chat template wrote {len(pieces) - 1} image placeholders for {len(images)} images")
    for number, image in enumerate(images):
        pieces[number] += backbone.family.expand(image.tokens)
    ids = backbone.tokenizer("".join(pieces), add_special_tokens=False)["input_ids"]
    return Encoded(ids, images)


def collate(backbone: Backbone, batch: list[Encoded]) -> dict[str, Tensor]:
    """Left-padded inputs of the inner model: ids, mask and positions (B, L) and the images' tensors.

    Positions are given explicitly because the rule that a padded prefix follows by default differs between models and
    contents, and a wrong continuation is silent.
    """
    length = max(len(item.ids) for item in batch)
    pad = backbone.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (length - len(item.ids)) + item.ids for item in batch])
    lengths = torch.tensor([len(item.ids) for item in batch])
    mask = (torch.arange(length) >= length - lengths[:, None]).long()
    inputs = {"input_ids": ids, "attention_mask": mask, **backbone.family.extra_inputs(ids)}
    images = [image.tensors for item in batch for image in item.images]
    if images:
        inputs |= {name: torch.cat([tensors[name] for tensors in images]) for name in images[0]}
    inputs["position_ids"] = backbone.family.positions(backbone.inner, inputs)
    dtype = backbone.model.dtype
    return {
        name: tensor.to(backbone.device, dtype if tensor.is_floating_point() else None)
        for name, tensor in inputs.items()
    }


def continue_positions(position_ids: Tensor, count: int) -> Tensor:
    """Positions of `count` tokens after the prefix: (B, count) or (axes, B, count), the same along every axis."""
    last = position_ids.amax(-1)
    if last.dim() == 2:  # rotary axes run apart over an image; what follows it continues from the furthest
        last = last.amax(0, keepdim=True).expand_as(last)
    return last[..., None] + 1 + torch.arange(count, device=position_ids.device)


@dataclass(frozen=True)
class Prefix:
    """Left-padded prefixes that ran through a backbone: their keys and values, mask and positions."""

    cache: Any
    mask: Tensor
    positions: Tensor


@torch.no_grad()
def run_prefix(backbone: Backbone, inputs: dict[str, Tensor]) -> Prefix:
    """A batch of prefixes. Nothing in one depends on the queries, so no gradient is needed."""
    cache = backbone.inner(**inputs, use_cache=True).past_key_values
    return Prefix(cache, inputs["attention_mask"], inputs["position_ids"])


@contextmanager
def lent(cache: Any) -> Iterator[Any]:
    """Keys and values to go on from: what is added meanwhile is forgotten afterwards."""
    before = [(layer.keys, layer.values) for layer in cache.layers]
    try:
        yield cache
    finally:
        for layer, (keys, values) in zip(cache.layers, before, strict=True):
            layer.keys, layer.values = keys, values
