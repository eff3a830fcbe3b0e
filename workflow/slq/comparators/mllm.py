"""A multimodal LLM as an encoder that nothing was trained for here: instructions in, the state it ends in out."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from slq.models.backbone import Backbone
from slq.models.prefix import Part, encode
from slq.models.retriever import LastTokenRetriever, QueryRetriever

CONTENT = {"text": "{text}", "image": "{image}"}


class MllmEncoder:
    """Embeds a turn: an instruction with a text or an image where it says so.

    The read-out is the last token's state, or the mean over zero queries after the turn.
    """

    def __init__(self, backbone: Backbone, turns: Mapping[str, str], queries: int = 0, template: str | None = None):
        """`turns`: by the kind of content, text and image; `template`: the whole turn, `{turn}` in it."""
        self.backbone, self.turns, self.template = backbone, turns, template
        self.image_processor = backbone.family.image_processor
        zeros = torch.zeros(queries, backbone.width)
        self.retriever: Any = QueryRetriever(backbone, zeros) if queries else LastTokenRetriever(backbone)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (n, d), float32."""
        return self._embed("text", texts)

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors (n, d), float32."""
        return self._embed("image", [self.backbone.family.process(image) for image in images])

    def _embed(self, kind: str, contents: Sequence[Part]) -> Tensor:
        before, _, after = self.turns[kind].partition(CONTENT[kind])
        turns = [tuple(part for part in (before, content, after) if part != "") for content in contents]
        return self.retriever.embed([encode(self.backbone, turn) for turn in turns])
