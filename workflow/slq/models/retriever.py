"""Retrievers: models that embed messages as unit vectors, with the read-outs of SLQ and of the compared methods."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import DynamicCache

from slq.models.backbone import Backbone, borrow_kv_cache, require_restorable_cache
from slq.models.prefix import (
    CachedPrefix,
    Message,
    Prefix,
    TokenizedMessage,
    collate,
    collate_cached_prefixes,
    continue_positions,
    prefill,
)


class Retriever(nn.Module, ABC):
    """A model that embeds messages.

    Attributes:
        num_query_tokens: number N of latent queries after a message.
        reuses_kv_cache: whether the forward pass with gradient continues from the KV cache of a prefix. This excludes
            gradient checkpointing, in which a layer would run again and update the cache twice.
    """

    backbone: Backbone
    num_query_tokens: int
    reuses_kv_cache: bool

    def embed(self, batch: Sequence[Message]) -> Tensor:
        """Embed messages as unit vectors (B, d): `encode_prefix`, then `embed_from_prefix`.

        The embeddings are float32, or float64 for a float64 backbone.
        """
        return self.embed_from_prefix(self.encode_prefix(batch))

    @abstractmethod
    def encode_prefix(self, batch: Sequence[Message]) -> Any:
        """Compute the part of a batch that does not depend on trained weights, so that it can be reused."""

    @abstractmethod
    def embed_from_prefix(self, prefix: Any) -> Tensor:
        """Compute embeddings, unit vectors (B, d), from the result of `encode_prefix`."""

    @abstractmethod
    def named_trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the trainable parameters with their names in an adapter file."""

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the trainable parameters."""
        return [parameter for _, parameter in self.named_trainable_parameters()]


class LatentQueryRetriever(Retriever):
    """SLQ: shared latent queries after the prefix, z = normalize(mean of the last N hidden states of LM([x; Q])).

    The queries Q (N, d) come last and attention is causal. The prefix x is therefore prefilled without gradient. A
    second call of the unmodified forward pass, on the prefix's KV cache, runs only the N queries with gradient.
    """

    reuses_kv_cache = True

    def __init__(self, backbone: Backbone, queries: Tensor) -> None:
        """Freeze the backbone and create the trainable queries.

        Args:
            queries: initial queries (N, d). They are stored in at least float32, whatever the backbone's dtype.

        Raises:
            SlqError: a layer of the backbone's KV cache cannot be restored after the prefix was used.
        """
        super().__init__()
        require_restorable_cache(DynamicCache(config=backbone.model.config))
        self.backbone = backbone
        backbone.model.requires_grad_(False)
        self.queries = nn.Parameter(queries.to(backbone.device, at_least_float32(backbone.model.dtype)))
        self.num_query_tokens = len(queries)

    def encode_prefix(self, batch: Sequence[Message]) -> Prefix:
        """Prefill the prefixes of messages, or collate them if they are already cached (`image_cache: kv`)."""
        cached = [one for one in batch if isinstance(one, CachedPrefix)]
        if len(cached) == len(batch):
            return collate_cached_prefixes(self.backbone, cached, self.num_query_tokens)
        return prefill(self.backbone, collate(self.backbone, require_tokenized(batch), self.num_query_tokens))

    def embed_from_prefix(self, prefix: Prefix) -> Tensor:
        """Run the queries after a prefix; return the mean of their last hidden states as unit vectors (B, d)."""
        rows, num_query_tokens = len(prefix.attention_mask), self.num_query_tokens
        with borrow_kv_cache(prefix.kv_cache) as kv_cache:
            output = self.backbone.inner(
                inputs_embeds=self.queries.to(self.backbone.model.dtype).expand(rows, -1, -1),
                past_key_values=kv_cache,
                attention_mask=torch.cat(
                    [prefix.attention_mask, prefix.attention_mask.new_ones(rows, num_query_tokens)], 1
                ),
                position_ids=continue_positions(prefix.position_ids, num_query_tokens),
                use_cache=True,
            )
        states = output.last_hidden_state
        return normalize(states.to(at_least_float32(states.dtype)).mean(1), dim=-1)

    def named_trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the queries."""
        return [("queries", self.queries)]


class LastTokenRetriever(Retriever):
    """Last-token pooling (`pooling: last_token`): the last hidden state of the prompt's last token, L2-normalised."""

    num_query_tokens = 0
    reuses_kv_cache = False

    def __init__(self, backbone: Backbone) -> None:
        """Create a retriever that embeds with the last token of a backbone."""
        super().__init__()
        self.backbone = backbone

    def encode_prefix(self, batch: Sequence[Message]) -> list[TokenizedMessage]:
        """Return the messages unchanged, because trained weights affect every token and nothing can be reused."""
        return require_tokenized(batch)

    def embed_from_prefix(self, prefix: list[TokenizedMessage]) -> Tensor:
        """Run complete messages and return their last tokens' hidden states as unit vectors (B, d)."""
        inputs = collate(self.backbone, prefix)
        with self.backbone.autocast():
            states = self.backbone.inner(**inputs, use_cache=False).last_hidden_state
        return normalize(states[:, -1].to(at_least_float32(states.dtype)), dim=-1)

    def named_trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the backbone's parameters that require gradients, by name."""
        return [(name, weight) for name, weight in self.backbone.model.named_parameters() if weight.requires_grad]


def require_tokenized(batch: Sequence[Message]) -> list[TokenizedMessage]:
    """Return the batch, after checking that it contains token ids only.

    Raises:
        TypeError: the batch contains cached prefixes, which is a bug of the caller.
    """
    tokenized = [one for one in batch if isinstance(one, TokenizedMessage)]
    if len(tokenized) != len(batch):
        raise TypeError(
            "a batch contains tokenised messages or cached prefixes, not both; only latent queries can use cached ones"
        )
    return tokenized


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of trained parameters and of the loss: `dtype`, but at least float32."""
    return torch.promote_types(dtype, torch.float32)


def initial_queries(num_query_tokens: int, hidden_size: int, init: str, generator: torch.Generator) -> Tensor:
    """Initialise queries (num_query_tokens, hidden_size).

    Args:
        init: `normal`, with mean 0 and standard deviation 1/sqrt(hidden_size), or `zeros`. SLQ's released code has
            both.
    """
    if init == "zeros":
        return torch.zeros(num_query_tokens, hidden_size)
    return torch.randn(num_query_tokens, hidden_size, generator=generator) / math.sqrt(hidden_size)
