"""Untrained backbones as embedding models, with instructions and pooling defined by `readouts` in config.yaml."""

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

PLACEHOLDERS = {"text": "{text}", "image": "{image}"}  # replaced by the content in an instruction


class MllmEncoder:
    """Encoder that uses the last token's hidden state, or the mean hidden state of zero-valued queries, as embedding.

    E5-V (Jiang et al. 2024, arXiv 2407.12580), VLM2Vec (Jiang et al. 2024, arXiv 2410.05160) and the zero-shot
    baselines are instances with their own instructions. With the bare instructions `{text}` and `{image}` and
    last-token pooling, the encoder equals the run `base`.
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
            instructions: user turns of one direction by kind of content: `text` contains {text}, `image` contains
                {image}.
            queries: number of zero-valued queries; 0 selects last-token pooling.
            template: text used instead of the backbone's chat template; it contains {turn}.
            images: limits on tiling and scaling of images, which the family must support.
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
        """Build the encoder of one direction (`t2i` or `i2t`) from an entry of `readouts` in config.yaml."""
        options = {key: readout[key] for key in ("queries", "template", "images") if key in readout}
        return cls(backbone, readout["instructions"][direction], **options)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as unit vectors (n, d), float32."""
        # The instruction and the text form one part, because a template may separate parts, e.g. by a line break.
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
