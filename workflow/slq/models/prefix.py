"""Prefixes: tokenised messages in left-padded batches, prefilled by the backbone or loaded from a KV cache.

A prefix is the user turn of a prompt with its text or image. SLQ appends its latent queries to the prefix.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from slq.common.errors import SlqError, TextError
from slq.models.backbone import Backbone, require_restorable_cache
from slq.models.family import FEATURES, ProcessedImage
from slq.models.turn import BREAK, ContentPart, Prompt, UnusableTurnError


@dataclass(frozen=True)
class TokenizedMessage:
    """One message: its token ids, and the images whose image tokens are among the ids."""

    ids: list[int]
    images: tuple[ProcessedImage, ...]

    @property
    def length(self) -> int:
        """Number of tokens of the prefix."""
        return len(self.ids)

    @property
    def image_token_counts(self) -> list[int]:
        """Numbers of image tokens, one per image."""
        return [image.num_tokens for image in self.images]

    @property
    def cache_level(self) -> str:
        """What is cached of its images: `features`, or `image` if nothing is cached."""
        return "features" if any(FEATURES in image.tensors for image in self.images) else "image"


@dataclass(frozen=True)
class CachedPrefix:
    """The cached keys and values of one message's prefix, without padding.

    Attributes:
        key_values: keys and values (tokens, layers, 2, heads, head_dim); zeros for tokens that a sliding window has
            dropped.
        position_ids: position ids (tokens, axes).
        num_image_tokens: number of image tokens among the tokens.
        cache_level: always `kv`, because the whole prefix is cached.
    """

    key_values: Tensor
    position_ids: Tensor
    num_image_tokens: int
    cache_level = "kv"

    @property
    def length(self) -> int:
        """Number of tokens of the prefix."""
        return len(self.key_values)

    @property
    def image_token_counts(self) -> list[int]:
        """Number of image tokens of its only image, as a list."""
        return [self.num_image_tokens]


Message = TokenizedMessage | CachedPrefix
TokenCounts = dict[str, int]


def count_tokens(messages: Iterable[Message]) -> TokenCounts:
    """Count the tokens of messages without padding; `slq.cost.flops` computes FLOPs from the counts.

    Returns:
        `num_messages`; `tokens` and `squared_tokens`, summed over messages; `image_tokens` and `squared_image_tokens`,
        summed over images. The squares give the cost of attention.
    """
    counts = dict.fromkeys(("num_messages", "tokens", "squared_tokens", "image_tokens", "squared_image_tokens"), 0)
    for message in messages:
        counts["num_messages"] += 1
        counts["tokens"] += message.length
        counts["squared_tokens"] += message.length**2
        counts["image_tokens"] += sum(message.image_token_counts)
        counts["squared_image_tokens"] += sum(tokens**2 for tokens in message.image_token_counts)
    return counts


def message_parts(content: ContentPart, instruction: str) -> tuple[ContentPart, ...]:
    """Return the parts of a user turn: the content, then the instruction (`prompt` in config.yaml) unless empty."""
    return (content, Prompt(instruction)) if instruction else (content,)


def render_chat_template(backbone: Backbone, parts: tuple[ContentPart, ...], template: str | None = None) -> str:
    """Render a user turn as readable text, with one placeholder per image."""
    return backbone.text_tokenizer.render_turn(backbone.family, parts, template).replace(BREAK, "")


def tokenize_message(
    backbone: Backbone, parts: tuple[ContentPart, ...], template: str | None = None
) -> TokenizedMessage:
    """Tokenise a user turn of texts and images (`TextTokenizer.tokenize_turn`).

    Raises:
        TextError: a prompt contains an image token, or a token id exceeds the embedding matrix.
    """
    try:
        ids = backbone.text_tokenizer.tokenize_turn(backbone.family, parts, backbone.num_embeddings, template)
    except UnusableTurnError as error:
        raise TextError(str(error), error.text) from error
    return TokenizedMessage(ids, tuple(part for part in parts if isinstance(part, ProcessedImage)))


def collate(backbone: Backbone, batch: Sequence[TokenizedMessage], num_following: int | Tensor = 0) -> dict[str, Any]:
    """Collate messages into left-padded inputs of the inner model: ids, mask and positions (B, L), image tensors.

    Position ids are passed explicitly, because the default positions of tokens after a padded prefix differ between
    models and contents, and wrong positions raise no error.

    Args:
        num_following: number of tokens that will follow: one number for all rows, or one per row (B,).

    Raises:
        SlqError: a message, with the tokens that follow it, needs more positions than the backbone has.
    """
    max_length = max(len(item.ids) for item in batch)
    pad_token_id = backbone.tokenizer.pad_token_id
    ids = torch.tensor([[pad_token_id] * (max_length - len(item.ids)) + item.ids for item in batch])
    lengths = torch.tensor([len(item.ids) for item in batch])
    mask = (torch.arange(max_length) >= max_length - lengths[:, None]).long()
    inputs = {"input_ids": ids, "attention_mask": mask, **backbone.family.extra_inputs(ids)}
    images = [image.tensors for item in batch for image in item.images]
    if images:
        inputs |= {name: torch.cat([tensors[name] for tensors in images]) for name in images[0]}
    inputs["position_ids"] = backbone.family.compute_position_ids(backbone.inner, inputs)
    if overflow := backbone.family.describe_overflow(inputs, backbone.tokenizer, num_following):
        raise SlqError(overflow)
    dtype = backbone.model.dtype
    inputs = {
        name: tensor.to(backbone.device, dtype if tensor.is_floating_point() else None)
        for name, tensor in inputs.items()
    }
    if FEATURES in inputs:
        return inputs | {"mm_encoder_outputs": {"image": backbone.family.as_encoder_outputs(inputs.pop(FEATURES))}}
    return inputs


def require_texts_fit(backbone: Backbone, texts: Iterable[str], instruction: str, num_following: int) -> None:
    """Check that every text, with the instruction and `num_following` tokens, fits the backbone's positions.

    Since a token is at least one byte long, a text with no more bytes than free positions is not tokenised. If the
    tokenizer's vocabulary exceeds the embedding matrix, every text is tokenised and its token ids are checked too.
    """
    has_all_words = backbone.text_tokenizer.highest_text_id < backbone.num_embeddings
    max_text_tokens = (
        backbone.family.max_positions
        - num_following
        - len(tokenize_message(backbone, message_parts("", instruction)).ids)
    )
    for text in texts:
        if len(text.encode()) > max_text_tokens or not has_all_words:
            collate(backbone, [tokenize_message(backbone, message_parts(text, instruction))], num_following)


def continue_positions(position_ids: Tensor, num_tokens: int) -> Tensor:
    """Compute the position ids of `num_tokens` text tokens after a prefix.

    Returns:
        position ids (B, num_tokens) for RoPE, or (axes, B, num_tokens) for M-RoPE, equal along all axes.
    """
    last = position_ids.amax(-1)
    if last.dim() == 2:  # M-RoPE's axes differ within an image; text after it continues from the largest position
        last = last.amax(0, keepdim=True).expand_as(last)
    return last[..., None] + 1 + torch.arange(num_tokens, device=position_ids.device)


@dataclass(frozen=True)
class Prefix:
    """Prefilled, left-padded prefixes of a batch: KV cache, attention mask (B, L) and position ids."""

    kv_cache: Any
    attention_mask: Tensor
    position_ids: Tensor


@torch.no_grad()
def prefill(backbone: Backbone, inputs: dict[str, Any]) -> Prefix:
    """Prefill: run a batch of prefixes through the backbone and keep its KV cache.

    No gradient is needed, because attention is causal and a prefix does not depend on the queries after it.
    """
    kv_cache = backbone.inner(**inputs, use_cache=True).past_key_values
    return Prefix(kv_cache, inputs["attention_mask"], inputs["position_ids"])


def collate_cached_prefixes(backbone: Backbone, batch: Sequence[CachedPrefix], num_following: int = 0) -> Prefix:
    """Collate cached prefixes, stored without padding, into one left-padded Prefix.

    Args:
        num_following: number of tokens that will follow each prefix, for the check of the backbone's positions.
    """
    if (
        needed_positions := max(int(one.position_ids.max()) for one in batch) + 1 + num_following
    ) > backbone.family.max_positions:
        raise SlqError(
            f"a cached image with {num_following} tokens after it needs {needed_positions} positions, but the language "
            f"model has {backbone.family.max_positions} (max_position_embeddings): use smaller images or fewer queries"
        )
    lengths = [len(one.key_values) for one in batch]
    max_length, axes = max(lengths), batch[0].position_ids.shape[1]
    key_values = batch[0].key_values.new_zeros(len(batch), max_length, *batch[0].key_values.shape[1:])
    position_ids = batch[0].position_ids.new_zeros(len(batch), max_length, axes)
    for row, one in enumerate(batch):
        key_values[row, max_length - lengths[row] :] = one.key_values
        position_ids[row, max_length - lengths[row] :] = one.position_ids
    attention_mask = (torch.arange(max_length) >= max_length - torch.tensor(lengths)[:, None]).long()
    layers = key_values.to(backbone.device).permute(2, 3, 0, 4, 1, 5)  # layers, 2, rows, heads, tokens, head_dim
    position_ids = position_ids.to(backbone.device).long()
    return Prefix(
        DynamicCache([(keys, values) for keys, values in layers], config=backbone.model.config),
        attention_mask.to(backbone.device),
        position_ids[..., 0] if axes == 1 else position_ids.permute(2, 0, 1),
    )


def split_prefix(prefix: Prefix, image_token_counts: Sequence[int]) -> list[CachedPrefix]:
    """Split a batch into one cached prefix per message, without padding, on the CPU.

    This is the inverse of `collate_cached_prefixes`.

    Args:
        image_token_counts: number of image tokens of each message (B,).

    Raises:
        SlqError: the layers' keys and values differ in shape, or a layer has state besides keys and values.
    """
    require_restorable_cache(prefix.kv_cache)
    layers = [_pad_key_values(layer, prefix.attention_mask.shape[1]) for layer in prefix.kv_cache.layers]
    if len(shapes := {layer.shape for layer in layers}) > 1:
        found = " and ".join(str(tuple(shape[2:])) for shape in sorted(shapes))
        raise SlqError(
            f"training.image_cache is kv, which needs keys and values of the same shape in all layers; this backbone "
            f"has {found} (heads, tokens, head_dim); use none, features or batch"
        )
    key_values = torch.stack(layers).permute(2, 4, 0, 1, 3, 5)  # rows, tokens, layers, 2, heads, head_dim
    position_ids = prefix.position_ids[None] if prefix.position_ids.dim() == 2 else prefix.position_ids
    return [
        CachedPrefix(row[mask].cpu(), place[mask].int().cpu(), count)
        for row, place, mask, count in zip(
            key_values, position_ids.permute(1, 2, 0), prefix.attention_mask.bool(), image_token_counts, strict=True
        )
    ]


def _pad_key_values(layer: Any, length: int) -> Tensor:
    """Stack a layer's keys and values (2, B, heads, length, head_dim).

    Tokens that a sliding window has dropped from the front are zeros.
    """
    key_values = torch.stack([layer.keys, layer.values])
    num_dropped = length - key_values.shape[-2]
    return pad(key_values, (0, 0, num_dropped, 0)) if num_dropped else key_values
