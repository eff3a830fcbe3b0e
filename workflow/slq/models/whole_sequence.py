"""Latent queries that are trained together with weights inside the prefix: one forward pass over [x; Q]."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from slq.models.prefix import Message, TokenizedMessage, collate, continue_positions
from slq.models.retriever import LatentQueryRetriever, at_least_float32, require_tokenized


class WholeSequenceRetriever(LatentQueryRetriever):
    """Latent queries after the prefix, z = normalize(mean of the last N hidden states of LM([x; Q])), in one call.

    On a frozen backbone this is SLQ as released (train/train_internvl_slq.py, train_qwen_slq.py), which is cheaper here
    than the original: that also computes vocabulary logits and keeps all hidden states. Weights that are trained inside
    the backbone, such as LoRA's, are added after the retriever was created, because that freezes the backbone.
    """

    reuses_kv_cache = False

    def encode_prefix(self, batch: Sequence[Message]) -> Any:
        """Return the messages unchanged, because trained weights may affect every token and nothing can be reused."""
        return require_tokenized(batch)

    def embed_from_prefix(self, prefix: Any) -> Tensor:
        """Run messages and queries as one sequence; return the mean of the queries' hidden states as unit vectors."""
        with self.backbone.autocast(), self._queries_as_last_embeddings():
            output = self.backbone.inner(**self._collate_with_placeholders(prefix), use_cache=False)
        states = output.last_hidden_state[:, -self.num_query_tokens :]
        return normalize(states.to(at_least_float32(states.dtype)).mean(1), dim=-1)

    def named_trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the queries and the backbone's parameters that require gradients, by name."""
        inside = [(name, weight) for name, weight in self.backbone.model.named_parameters() if weight.requires_grad]
        return [*super().named_trainable_parameters(), *inside]

    def _collate_with_placeholders(self, batch: Sequence[TokenizedMessage]) -> dict[str, Any]:
        """Collate messages with N placeholder tokens behind each, at the positions of the queries."""
        count = self.num_query_tokens
        inputs = collate(self.backbone, batch, count)
        inputs["position_ids"] = torch.cat(
            [inputs["position_ids"], continue_positions(inputs["position_ids"], count)], -1
        )
        for name, value in (("input_ids", self.backbone.tokenizer.pad_token_id), ("attention_mask", 1)):
            inputs[name] = torch.cat([inputs[name], inputs[name].new_full((len(batch), count), value)], 1)
        return inputs | self.backbone.family.extra_inputs(inputs["input_ids"])

    @contextmanager
    def _queries_as_last_embeddings(self) -> Iterator[None]:
        """Replace the embeddings of a sequence's last tokens with the queries inside the context."""
        queries = self.queries.to(self.backbone.model.dtype)

        def replace_last_embeddings(module: Any, arguments: Any, output: Tensor) -> Tensor:
            """Replace the last embeddings in the output of the embedding module."""
            return torch.cat([output[:, : -len(queries)], queries.expand(len(output), -1, -1)], 1)

        handle = self.backbone.inner.get_input_embeddings().register_forward_hook(replace_last_embeddings)
        try:
            yield
        finally:
            handle.remove()
