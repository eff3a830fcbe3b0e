"""The prefix: prompt and content tokens of a batch, left-padded, with explicit positions; run, or read from a store."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from slq.common.errors import SlqError
from slq.models.backbone import Backbone, require_restorable
from slq.models.family import FEATURES, Pixels

Part = str | Pixels


@dataclass(frozen=True)
class Encoded:
    """One message as token ids, with the images that its image tokens stand for."""

    ids: list[int]
    images: tuple[Pixels, ...]

    @property
    def length(self) -> int:
        """Tokens of the prefix."""
        return len(self.ids)

    @property
    def image_tokens(self) -> list[int]:
        """Of each image."""
        return [image.tokens for image in self.images]

    @property
    def state(self) -> str:
        """What of its images is there already: nothing (`image`), or their features (`seen`)."""
        return "seen" if any(FEATURES in image.tensors for image in self.images) else "image"


@dataclass(frozen=True)
class Stored:
    """A message's prefix that ran before.

    Attributes:
        values: keys and values, (tokens, layers, 2, heads, head_dim); zeros where a sliding window has left a token.
        positions: (tokens, axes).
        visual: how many of the tokens are an image's.
    """

    values: Tensor
    positions: Tensor
    visual: int
    state = "kept"  # all of it is there already

    @property
    def length(self) -> int:
        """Tokens of the prefix."""
        return len(self.values)

    @property
    def image_tokens(self) -> list[int]:
        """Of its one image."""
        return [self.visual]


Message = Encoded | Stored
Sums = dict[str, int]


def message_work(messages: Iterable[Message]) -> Sums:
    """Sum up what messages ask of a model, padding apart: FLOPs follow from it (cost/flops.py).

    Returns:
        messages, their tokens and squares of tokens, and of their images tokens and squares of tokens.
    """
    sums = dict.fromkeys(("messages", "tokens", "squares", "visual", "visual_squares"), 0)
    for message in messages:
        sums["messages"] += 1
        sums["tokens"] += message.length
        sums["squares"] += message.length**2
        sums["visual"] += sum(message.image_tokens)
        sums["visual_squares"] += sum(tokens**2 for tokens in message.image_tokens)
    return sums


def message(content: Part, instruction: str) -> tuple[Part, ...]:
    """Content of a user turn, with the instruction after it if there is one (`prompt` in config.yaml)."""
    return (content, instruction) if instruction else (content,)


def render(backbone: Backbone, parts: tuple[Part, ...], template: str | None = None) -> str:
    """A user turn of texts and images in the backbone's chat template, up to where the answer would begin.

    An image is its placeholder, once.

    Args:
        template: in place of the chat template, text in which {turn} stands for the parts, one behind the other.
    """
    if template is not None:
        turn = "".join(part if isinstance(part, str) else backbone.family.placeholder for part in parts)
        return template.replace("{turn}", turn)
    content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts]
    text: str = backbone.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return text


def encode(backbone: Backbone, parts: tuple[Part, ...], template: str | None = None) -> Encoded:
    """The rendered turn as token ids, each placeholder expanded to the tokens of its image.

    A chat template writes every token itself. To another `template` the tokenizer adds what it adds to any text, such
    as a first token: so do the processors of the models that come with one.

    Raises:
        SlqError: a text holds what stands for an image.
    """
    images = tuple(part for part in parts if isinstance(part, Pixels))
    pieces = render(backbone, parts, template).split(backbone.family.placeholder)
    for part in parts:
        if isinstance(part, str) and backbone.family.placeholder in part:
            raise SlqError(
                f"a text holds '{backbone.family.placeholder}', which stands for an image to this backbone: take it "
                f"out; it begins {part[:60]!r}"
            )
    if len(pieces) != len(images) + 1:
        raise ValueError(f"the template wrote {len(pieces) - 1} image placeholders for {len(images)} images")
    for number, image in enumerate(images):
        pieces[number] += backbone.family.expand(image.tokens)
    ids = backbone.tokenizer("".join(pieces), add_special_tokens=template is not None)["input_ids"]
    return Encoded(ids, images)


def collate(backbone: Backbone, batch: Sequence[Encoded], behind: int | Tensor = 0) -> dict[str, Any]:
    """Left-padded inputs of the inner model: ids, mask and positions (B, L) and the images' tensors, or features.

    Positions are given explicitly because the rule that a padded prefix follows by default differs between models and
    contents, and a wrong continuation is silent.

    Args:
        behind: how many tokens are to follow every row, or each (B,).

    Raises:
        SlqError: a message is longer than the positions that the backbone has.
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
    if too_long := backbone.family.too_long(inputs, backbone.tokenizer, behind):
        raise SlqError(too_long)
    dtype = backbone.model.dtype
    inputs = {
        name: tensor.to(backbone.device, dtype if tensor.is_floating_point() else None)
        for name, tensor in inputs.items()
    }
    if FEATURES in inputs:
        return inputs | {"mm_encoder_outputs": {"image": backbone.family.seen(inputs.pop(FEATURES))}}
    return inputs


def require_positions(backbone: Backbone, texts: Iterable[str], instruction: str, behind: int) -> None:
    """Look, before anything is embedded, whether every text fits the positions that the backbone has.

    A token is of a byte at least: texts with fewer bytes than there is room are not tokenized.

    Raises:
        SlqError: one, with the instruction and `behind` tokens, does not.
    """
    room = backbone.family.limit - behind - len(encode(backbone, message("", instruction)).ids)
    for text in texts:
        if len(text.encode()) > room:
            collate(backbone, [encode(backbone, message(text, instruction))], behind)


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
def run_prefix(backbone: Backbone, inputs: dict[str, Any]) -> Prefix:
    """A batch of prefixes. Nothing in one depends on the queries, so no gradient is needed."""
    cache = backbone.inner(**inputs, use_cache=True).past_key_values
    return Prefix(cache, inputs["attention_mask"], inputs["position_ids"])


def stored_prefix(backbone: Backbone, batch: Sequence[Stored], behind: int = 0) -> Prefix:
    """The same of a batch of prefixes that ran before, each without padding.

    Raises:
        SlqError: with `behind` tokens more, one needs more positions than the backbone has.
    """
    if (needed := max(int(one.positions.max()) for one in batch) + 1 + behind) > backbone.family.limit:
        raise SlqError(
            f"a stored image, and {behind} tokens behind it, need {needed} positions, and the language model has "
            f"{backbone.family.limit} (max_position_embeddings): take smaller images, or fewer queries"
        )
    lengths = [len(one.values) for one in batch]
    length, axes = max(lengths), batch[0].positions.shape[1]
    values = batch[0].values.new_zeros(len(batch), length, *batch[0].values.shape[1:])
    positions = batch[0].positions.new_zeros(len(batch), length, axes)
    for row, one in enumerate(batch):
        values[row, length - lengths[row] :] = one.values
        positions[row, length - lengths[row] :] = one.positions
    mask = (torch.arange(length) >= length - torch.tensor(lengths)[:, None]).long()
    layers = values.to(backbone.device).permute(2, 3, 0, 4, 1, 5)  # layers, 2, rows, heads, tokens, head_dim
    positions = positions.to(backbone.device).long()
    return Prefix(
        DynamicCache([(keys, values) for keys, values in layers], config=backbone.model.config),
        mask.to(backbone.device),
        positions[..., 0] if axes == 1 else positions.permute(2, 0, 1),
    )


def split_prefix(prefix: Prefix, visual: Sequence[int]) -> list[Stored]:
    """Each message's prefix by itself, without padding, on the CPU; the opposite of `stored_prefix`.

    Raises:
        SlqError: the layers keep what is not of one shape, or more than keys and values.
    """
    require_restorable(prefix.cache)
    layers = [_all_tokens(layer, prefix.mask.shape[1]) for layer in prefix.cache.layers]
    if len(shapes := {layer.shape for layer in layers}) > 1:
        found = " and ".join(str(tuple(shape[2:])) for shape in sorted(shapes))
        raise SlqError(
            f"training.prefix is kv, which keeps layers of one shape; this backbone has keys and values of {found} "
            "(heads, tokens, head_dim); use recompute, vision or resident"
        )
    rows = torch.stack(layers).permute(2, 4, 0, 1, 3, 5)  # rows, tokens, layers, 2, heads, head_dim
    positions = prefix.positions[None] if prefix.positions.dim() == 2 else prefix.positions
    return [
        Stored(row[mask].cpu(), place[mask].int().cpu(), count)
        for row, place, mask, count in zip(rows, positions.permute(1, 2, 0), prefix.mask.bool(), visual, strict=True)
    ]


def _all_tokens(layer: Any, length: int) -> Tensor:
    """Keys and values of a layer, (2, rows, heads, length, head_dim); zeros in front where its window has left."""
    states = torch.stack([layer.keys, layer.values])
    left = length - states.shape[-2]
    return pad(states, (0, 0, left, 0)) if left else states
