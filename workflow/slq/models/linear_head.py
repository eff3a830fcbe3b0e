"""A trained linear map behind the last token's hidden state of a frozen backbone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from slq.models.backbone import Backbone
from slq.models.prefix import Message
from slq.models.retriever import LastTokenRetriever, Retriever, at_least_float32, require_tokenized


class LinearHeadRetriever(Retriever):
    """Linear map W (d, d) of the last token's hidden state h, z = normalize(W h), on a frozen backbone.

    W begins as the identity, so that an untrained head gives the embeddings of the untouched backbone.
    """

    num_query_tokens = 0
    reuses_kv_cache = False

    def __init__(self, backbone: Backbone) -> None:
        """Create the map, in at least float32, whatever the backbone's dtype."""
        super().__init__()
        self.backbone = backbone
        self.last_token = LastTokenRetriever(backbone)
        dtype = at_least_float32(backbone.model.dtype)
        self.head = nn.Parameter(torch.eye(backbone.hidden_size, device=backbone.device, dtype=dtype))

    @torch.no_grad()
    def encode_prefix(self, batch: Sequence[Message]) -> Tensor:
        """Embed with the frozen backbone (B, d), which no trained weight affects; lengths do not matter to the map."""
        return self.last_token.embed(require_tokenized(batch))

    def embed_from_prefix(self, prefix: Tensor) -> Tensor:
        """Map the frozen embeddings and return unit vectors (B, d)."""
        return normalize(linear(prefix, self.head), dim=-1)

    def named_trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the map."""
        return [("head", self.head)]
