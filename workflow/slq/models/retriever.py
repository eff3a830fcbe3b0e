"""From a batch of messages to unit vectors: the read-outs of the paper and of its opponents."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

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


class Retriever(Protocol):
    """Anything that embeds messages; `trainable_parameters` are its parameters that receive gradients."""

    def embed(self, batch: Sequence[Message]) -> Tensor:
        """Unit vectors (B, d) in float32, of a float64 backbone in float64:
        `encode_prefix`, then `embed_from_prefix`.
        """
        ...

    def encode_prefix(self, batch: Sequence[Message]) -> Any:
        """What of a batch depends on nothing that is trained, to be read more than once."""
        ...

    def embed_from_prefix(self, prefix: Any) -> Tensor:
        """Unit vectors of what `encode_prefix` gave."""
        ...

    def trainable_parameters(self) -> list[nn.Parameter]: ...


class LatentQueryRetriever(nn.Module):
    """Shared latent queries after the prefix (SLQ): z = normalize(mean of the last N hidden states of LM([x; Q])).

    The queries come last and attention is causal, so the prefix runs once without gradient, and only N positions run
    with gradient, as a second call of the stock forward on the prefix's keys and values.
    """

    def __init__(self, backbone: Backbone, queries: Tensor) -> None:
        """`queries`: initial values (N, d), kept in float32 at least, whatever the backbone's dtype.

        Raises:
            SlqError: a layer of the backbone keeps what could not be put back after its prefix was read.
        """
        super().__init__()
        require_restorable_cache(DynamicCache(config=backbone.model.config))
        self.backbone = backbone
        backbone.model.requires_grad_(False)
        self.queries = nn.Parameter(queries.to(backbone.device, at_least_float32(backbone.model.dtype)))

    def embed(self, batch: Sequence[Message]) -> Tensor:
        return self.embed_from_prefix(self.encode_prefix(batch))

    def encode_prefix(self, batch: Sequence[Message]) -> Prefix:
        """The prefixes of messages, run now; or, of a batch that comes from a feature cache, as they ran before.

        Raises:
            SlqError: a message and the queries take more positions than the backbone has.
        """
        cached = [one for one in batch if isinstance(one, CachedPrefix)]
        if len(cached) == len(batch):
            return collate_cached_prefixes(self.backbone, cached, len(self.queries))
        return prefill(self.backbone, collate(self.backbone, require_tokenized(batch), len(self.queries)))

    def embed_from_prefix(self, prefix: Prefix) -> Tensor:
        """Unit vectors (B, d) of queries that continue a prefix."""
        rows, num_query_tokens = len(prefix.attention_mask), len(self.queries)
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

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [self.queries]


class LastTokenRetriever(nn.Module):
    """The last token's state (`pooling: last_token`): base, full fine-tuning and LoRA. The poster's own baseline."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def embed(self, batch: Sequence[Message]) -> Tensor:
        return self.embed_from_prefix(self.encode_prefix(batch))

    def encode_prefix(self, batch: Sequence[Message]) -> list[TokenizedMessage]:
        """Nothing: what is trained runs from the first token."""
        return require_tokenized(batch)

    def embed_from_prefix(self, prefix: list[TokenizedMessage]) -> Tensor:
        inputs = collate(self.backbone, prefix)
        with self.backbone.autocast():
            states = self.backbone.inner(**inputs, use_cache=False).last_hidden_state
        return normalize(states[:, -1].to(at_least_float32(states.dtype)), dim=-1)

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.backbone.model.parameters() if parameter.requires_grad]


def require_tokenized(batch: Sequence[Message]) -> list[TokenizedMessage]:
    """A batch of tokens; one that holds prefixes that ran before is an error of the caller."""
    tokenized = [one for one in batch if isinstance(one, TokenizedMessage)]
    if len(tokenized) != len(batch):
        raise TypeError("a batch is tokens or cached prefixes, not both; only SLQ reads cached ones")
    return tokenized


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """What is learned, and a loss, is computed in: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def initial_queries(num_query_tokens: int, hidden_size: int, init: str, generator: torch.Generator) -> Tensor:
    """Initial queries (num_query_tokens, hidden_size): `normal`, with deviation 1/sqrt(hidden_size), or `zeros`.

    The released code has both.
    """
    if init == "zeros":
        return torch.zeros(num_query_tokens, hidden_size)
    return torch.randn(num_query_tokens, hidden_size, generator=generator) / math.sqrt(hidden_size)
