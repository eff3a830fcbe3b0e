"""Untrained backbones as embedding models, defined by instructions and a read-out that are configuration data."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from slq.evaluation.generation import require_known_image_limits
from slq.models.backbone import Backbone
from slq.models.prefix import tokenize_message
from slq.models.retriever import LastTokenRetriever, LatentQueryRetriever
from slq.models.turn import Prompt

PLACEHOLDERS = {"text": "{text}", "image": "{image}"}  # where the content goes in an instruction


class MllmEncoder:
    """Encoder that embeds by the last token's hidden state, or by the mean hidden state of zero-valued queries.

    E5-V, VLM2Vec and the zero-shot baselines are instances with their own instructions. With the instructions `{text}`
    and `{image}` alone, and the last-token read-out, this is the run `base`.
    """

    def __init__(
        self,
        backbone: Backbone,
        instructions: Mapping[str, str],
        queries: int = 0,
        template: str | None = None,
        images: Mapping[str, int] | None = None,
    ) -> None:
        """Initialise the encoder of one direction.

        Args:
            instructions: the user turns of one direction by kind of content: `text` contains {text}, `image` contains
                {image}.
            queries: the number of queries; with 0 the last token is read.
            template: the whole turn, containing {turn}, in place of the backbone's chat template.
            images: limits of the family on how images are tiled or scaled.

        Raises:
            SlqError: the family has no such limit.
        """
        require_known_image_limits(backbone, images or {}, "readouts.*.images")
        self.backbone = backbone
        self.image_processor = backbone.family.image_processor
        self.instructions = instructions
        self.template = template
        self.images = images or {}
        self.retriever = (
            LatentQueryRetriever(backbone, torch.zeros(queries, backbone.hidden_size))
            if queries
            else LastTokenRetriever(backbone)
        )

    @classmethod
    def from_readout(cls, backbone: Backbone, readout: Mapping[str, Any], direction: str) -> "MllmEncoder":
        """Build the encoder that an entry of `readouts` in config.yaml describes, for `t2i` or `i2t`."""
        options = {key: readout[key] for key in ("queries", "template", "images") if key in readout}
        return cls(backbone, readout["instructions"][direction], **options)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as unit vectors (n, d), float32."""
        # The instruction and the text form one part: a template may separate parts, e.g. by a line break.
        turns = [(Prompt(self.instructions["text"], PLACEHOLDERS["text"], text),) for text in texts]
        return self.retriever.embed([tokenize_message(self.backbone, turn, self.template) for turn in turns]).float()

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Encode images as unit vectors (n, d), float32."""
        before, after = map(Prompt, self.instructions["image"].split(PLACEHOLDERS["image"]))
        process = self.backbone.family.process_question_images
        processed = [pixels for image in images for pixels in process([image], **self.images)]
        turns = [tuple(part for part in (before, one, after) if part != Prompt("")) for one in processed]
        return self.retriever.embed([tokenize_message(self.backbone, turn, self.template) for turn in turns]).float()
