"""The released algorithm, for comparison: prefix and queries in one sequence, with the gradient through all of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from slq.models.prefix import Message, collate, continue_positions
from slq.models.retriever import LatentQueryRetriever, at_least_float32, require_tokenized


class ReleasedRetriever(LatentQueryRetriever):
    """SLQ as released (train/train_internvl_slq.py, train_qwen_slq.py): queries replace the last tokens' embeddings.

    This version is cheaper than the original, which also computes vocabulary logits and keeps all hidden states.
    """

    def encode_prefix(self, batch: Sequence[Message]) -> Any:
        """Build the inputs of one forward pass over the prefix and N placeholder positions for the queries."""
        inputs, count = collate(self.backbone, require_tokenized(batch)), len(self.queries)
        inputs["position_ids"] = torch.cat(
            [inputs["position_ids"], continue_positions(inputs["position_ids"], count)], -1
        )
        rows = len(batch)
        for name, value in (("input_ids", 0), ("attention_mask", 1), ("mm_token_type_ids", 0)):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], inputs[name].new_full((rows, count), value)], 1)
        return inputs

    def embed_from_prefix(self, prefix: Any) -> Tensor:
        """Compute unit vectors (B, d): the normalised mean of the queries' hidden states in the last layer."""
        count = len(self.queries)
        with self._queries_as_last_embeddings():
            states = self.backbone.inner(**prefix, use_cache=False).last_hidden_state[:, -count:]
        return normalize(states.to(at_least_float32(states.dtype)).mean(1), dim=-1)

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
