"""Retrievers, from a batch of messages to unit vectors: the read-outs of the paper and of the compared methods."""

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
        num_query_tokens: trained positions behind a message.
        reuses_kv_cache: whether it goes on from a prefix's KV cache, which a layer that runs again would write twice.
    """

    backbone: Backbone
    num_query_tokens: int
    reuses_kv_cache: bool

    def embed(self, batch: Sequence[Message]) -> Tensor:
        """Embed messages as unit vectors (B, d): `encode_prefix`, then `embed_from_prefix`.

        The dtype is float32, or float64 for a float64 backbone.
        """
        return self.embed_from_prefix(self.encode_prefix(batch))

    @abstractmethod
    def encode_prefix(self, batch: Sequence[Message]) -> Any:
        """Compute the part of a batch that depends on nothing trained and can be used more than once."""

    @abstractmethod
    def embed_from_prefix(self, prefix: Any) -> Tensor:
        """Compute unit vectors (B, d) from the result of `encode_prefix`."""

    @abstractmethod
    def named_trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters that receive gradients, each with the name that it has in an adapter."""

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that receive gradients."""
        return [parameter for _, parameter in self.named_trainable_parameters()]


class LatentQueryRetriever(Retriever):
    """Shared latent queries after the prefix (SLQ): z = normalize(mean of the last N hidden states of LM([x; Q])).

    The queries come last and attention is causal, so the prefix runs once without gradient, and only N positions run
    with gradient, in a second call of the unmodified forward on the KV cache of the prefix.
    """

    reuses_kv_cache = True

    def __init__(self, backbone: Backbone, queries: Tensor) -> None:
        """Freeze the backbone and create the trainable queries.

        Args:
            queries: initial values (N, d), stored in float32 at least, whatever the backbone's dtype.

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
        """Run the prefixes of messages, or collate them if they come from a feature cache as KV caches.

        Raises:
            SlqError: a message and the queries need more positions than the backbone has.
        """
        cached = [one for one in batch if isinstance(one, CachedPrefix)]
        if len(cached) == len(batch):
            return collate_cached_prefixes(self.backbone, cached, self.num_query_tokens)
        return prefill(self.backbone, collate(self.backbone, require_tokenized(batch), self.num_query_tokens))

    def embed_from_prefix(self, prefix: Prefix) -> Tensor:
        """Run the queries after a prefix and return unit vectors (B, d)."""
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
    """The last token's hidden state (`pooling: last_token`): the poster's own baseline."""

    num_query_tokens = 0
    reuses_kv_cache = False

    def __init__(self, backbone: Backbone) -> None:
        """Create a retriever that reads a backbone out at its last token."""
        super().__init__()
        self.backbone = backbone

    def encode_prefix(self, batch: Sequence[Message]) -> list[TokenizedMessage]:
        """Return the messages unchanged: the trained weights take part from the first token on."""
        return require_tokenized(batch)

    def embed_from_prefix(self, prefix: list[TokenizedMessage]) -> Tensor:
        """Run whole messages and return unit vectors (B, d) of their last tokens."""
        inputs = collate(self.backbone, prefix)
        with self.backbone.autocast():
            states = self.backbone.inner(**inputs, use_cache=False).last_hidden_state
        return normalize(states[:, -1].to(at_least_float32(states.dtype)), dim=-1)

    def named_trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the backbone's parameters that require gradients."""
        return [(name, weight) for name, weight in self.backbone.model.named_parameters() if weight.requires_grad]


def require_tokenized(batch: Sequence[Message]) -> list[TokenizedMessage]:
    """Return a batch whose messages are all tokenized.

    Raises:
        TypeError: the batch holds cached prefixes, which is an error of the caller.
    """
    tokenized = [one for one in batch if isinstance(one, TokenizedMessage)]
    if len(tokenized) != len(batch):
        raise TypeError("a batch is tokens or cached prefixes, not both; only learned queries read cached ones")
    return tokenized


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which parameters are learned and the loss is computed: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def initial_queries(num_query_tokens: int, hidden_size: int, init: str, generator: torch.Generator) -> Tensor:
    """Initialize queries (num_query_tokens, hidden_size): `normal`, with deviation 1/sqrt(hidden_size), or `zeros`.

    The released code has both.
    """
    if init == "zeros":
        return torch.zeros(num_query_tokens, hidden_size)
    return torch.randn(num_query_tokens, hidden_size, generator=generator) / math.sqrt(hidden_size)
