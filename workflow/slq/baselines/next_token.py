"""Next-token scores of image-text prompts: an image's prefix is prefilled once, each text continues from its KV cache.

Re-ranking uses them: many candidate texts are scored with the same image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slq.baselines.injection import (
    InjectionConfig,
    VisualTokens,
    capture_visual_tokens,
    inject_visual_tokens,
    softmax_entropy,
)
from slq.common.errors import SlqError
from slq.models.backbone import Backbone, copy_cache_rows
from slq.models.family import ProcessedImage
from slq.models.prefix import Prefix, TokenizedMessage, collate, continue_positions, prefill, tokenize_message
from slq.models.turn import Prompt

TEXT_PLACEHOLDER = "{text}"  # replaced by a candidate's text in a prompt
ScoreFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class InferenceConfig:
    """Settings of inference that do not depend on the prompt.

    Attributes:
        batch_size: number of texts per forward pass.
        injection: settings of visual re-injection.
        reuse_prefix: whether an image's prefix is prefilled once for all its texts. Otherwise it runs once per text,
            which gives the same scores but is slower.
    """

    batch_size: int
    injection: InjectionConfig
    reuse_prefix: bool


def build_pointwise_messages(
    backbone: Backbone, image: ProcessedImage, prompt: str, texts: Sequence[str]
) -> list[TokenizedMessage]:
    """Build one message per text that asks whether the image matches the text."""
    return [tokenize_message(backbone, (image, Prompt(prompt, TEXT_PLACEHOLDER, text))) for text in texts]


def answer_score_function(token_id: int) -> ScoreFunction:
    """Build a function from next-token logits (n, vocabulary) to the scores (n, 2) of one answer token.

    The scores are the probability of the token, and the entropy of the full distribution in nats.
    """

    def readout(logits: Tensor) -> Tensor:
        return torch.stack([logits.softmax(-1)[:, token_id], softmax_entropy(logits)], 1)

    return readout


def first_token_id(backbone: Backbone, word: str, config_key: str) -> int:
    """Return the id of the first token of an answer word.

    Args:
        config_key: key of the word in config.yaml, for the error message.
    """
    tokens: list[int] = backbone.tokenizer(word, add_special_tokens=False)["input_ids"]
    if not tokens or tokens[0] == backbone.tokenizer.unk_token_id:
        raise SlqError(
            f"config: {config_key}: the backbone's tokenizer has no token for {word!r}, so the backbone cannot give "
            "this answer"
        )
    return tokens[0]


@torch.inference_mode()
def score_next_tokens(
    backbone: Backbone,
    messages_by_image: Sequence[Sequence[TokenizedMessage]],
    score_function: ScoreFunction,
    config: InferenceConfig,
) -> Tensor:
    """Apply `score_function` to the next-token logits of each message.

    Args:
        messages_by_image: messages of each image. The messages of an image must have the same tokens up to and
            including the last image token.

    Returns:
        scores (messages, …) on the CPU, ordered by image, then by message.
    """
    suffixes = [tokens_after_image(backbone, message) for messages in messages_by_image for message in messages]
    image_indices = [number for number, messages in enumerate(messages_by_image) for _ in messages]
    order = sorted(range(len(suffixes)), key=lambda number: len(suffixes[number]))  # saves most of the padding
    if config.reuse_prefix:
        lengths = [max(len(tokens_after_image(backbone, one)) for one in messages) for messages in messages_by_image]
        image_prefixes = [cut_after_image(backbone, messages[0]) for messages in messages_by_image]
        prefix, visual_tokens = prefill_images(backbone, image_prefixes, lengths, config.injection)
    else:
        messages = [message for messages in messages_by_image for message in messages]
    scores = []
    for start in range(0, len(order), config.batch_size):
        chunk = order[start : start + config.batch_size]
        if config.reuse_prefix:
            rows = torch.tensor([image_indices[number] for number in chunk], device=backbone.device)
            chunk_prefix, chunk_suffixes = copy_rows(prefix, rows), [suffixes[number] for number in chunk]
            chunk_tokens = visual_tokens.select_rows(rows)
            states = run_suffixes(backbone, chunk_prefix, chunk_tokens, chunk_suffixes, config.injection)
        else:
            states = run_without_reuse(backbone, [messages[number] for number in chunk], config.injection)
        scores.append(score_function(backbone.model.get_output_embeddings()(states).float()).cpu())
    return torch.cat(scores)[torch.tensor(order).argsort()]


def prefill_images(
    backbone: Backbone,
    image_prefixes: Sequence[TokenizedMessage],
    max_suffix_lengths: Sequence[int],
    injection: InjectionConfig,
) -> tuple[Prefix, VisualTokens]:
    """Prefill prefixes that end with their images, and return them with their visual tokens.

    Args:
        max_suffix_lengths: number of tokens of the longest suffix of each prefix.
    """
    inputs = collate(backbone, image_prefixes, torch.tensor(max_suffix_lengths))
    image_mask = image_token_mask(backbone, inputs["input_ids"])
    with backbone.autocast(), capture_visual_tokens(backbone, image_mask, injection) as visual_tokens:
        return prefill(backbone, inputs), visual_tokens


def copy_rows(prefix: Prefix, rows: Tensor) -> Prefix:
    """Copy the prefixes of the given rows, so that continuing from the copies leaves the originals unchanged."""
    kv_cache = copy_cache_rows(prefix.kv_cache, rows)
    return Prefix(kv_cache, prefix.attention_mask[rows], prefix.position_ids[..., rows, :])


def run_suffixes(
    backbone: Backbone,
    prefix: Prefix,
    visual_tokens: VisualTokens,
    suffixes: Sequence[list[int]],
    injection: InjectionConfig,
) -> Tensor:
    """Compute the hidden states (n, d) of the last tokens of n suffixes; suffix i continues row i of the prefix.

    Suffixes are left-padded, so that the padding is between prefix and suffix. The padding is masked, and position ids
    do not count it.
    """
    max_length, pad_token_id = max(map(len, suffixes)), backbone.tokenizer.pad_token_id
    ids = torch.tensor([[pad_token_id] * (max_length - len(one)) + one for one in suffixes], device=backbone.device)
    padding = torch.tensor([max_length - len(one) for one in suffixes], device=backbone.device)[:, None]
    suffix_mask = torch.arange(max_length, device=backbone.device) >= padding
    with backbone.autocast(), inject_visual_tokens(backbone, visual_tokens, suffix_mask, injection):
        output = backbone.inner(
            inputs_embeds=backbone.inner.get_input_embeddings()(ids),
            past_key_values=prefix.kv_cache,
            attention_mask=torch.cat([prefix.attention_mask, suffix_mask.to(prefix.attention_mask)], 1),
            position_ids=continue_positions(prefix.position_ids, max_length) - padding,
            use_cache=True,
        )
    states: Tensor = output.last_hidden_state[:, -1]
    return states


def run_without_reuse(backbone: Backbone, messages: Sequence[TokenizedMessage], injection: InjectionConfig) -> Tensor:
    """Compute the same hidden states (n, d) as `run_suffixes` from complete messages, without shared prefixes.

    Visual tokens are injected only at positions after the image.
    """
    inputs = collate(backbone, messages)
    image_mask = image_token_mask(backbone, inputs["input_ids"])
    after_image = image_mask.flip(1).cumsum(1).flip(1) == 0
    with (
        backbone.autocast(),
        capture_visual_tokens(backbone, image_mask, injection) as visual_tokens,
        inject_visual_tokens(backbone, visual_tokens, after_image, injection),
    ):
        states: Tensor = backbone.inner(**inputs, use_cache=False).last_hidden_state[:, -1]
    return states


def image_token_mask(backbone: Backbone, input_ids: Tensor) -> Tensor:
    """Return a mask (B, L) of the image tokens."""
    return input_ids == backbone.model.config.image_token_id


def image_end(backbone: Backbone, message: TokenizedMessage) -> int:
    """Return the number of tokens of a message up to and including its last image token."""
    return len(message.ids) - message.ids[::-1].index(backbone.model.config.image_token_id)


def cut_after_image(backbone: Backbone, message: TokenizedMessage) -> TokenizedMessage:
    """Cut a message after its last image token.

    The token ids are cut and not the text, so that the ids are the same as in the complete message.
    """
    return TokenizedMessage(message.ids[: image_end(backbone, message)], message.images)


def tokens_after_image(backbone: Backbone, message: TokenizedMessage) -> list[int]:
    """Return the token ids of a message after its last image token."""
    return message.ids[image_end(backbone, message) :]
