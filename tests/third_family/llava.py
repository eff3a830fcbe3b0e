"""LLaVA-1.5 (`LlavaForConditionalGeneration`): a square crop for CLIP, 1-D positions."""

from typing import Any

from PIL import Image
from torch import Tensor

from slq.models.family import Family, ProcessedImage


class Llava(Family):
    """Adapter with one image token per CLIP patch; CLIP's class token is dropped."""

    placeholder = "<image>"

    def process(self, image: Image.Image) -> ProcessedImage:
        out = self.image_processor(images=[image], return_tensors="pt")
        vision = self.config.vision_config
        return ProcessedImage(
            {"pixel_values": out["pixel_values"]}, num_tokens=(vision.image_size // vision.patch_size) ** 2
        )

    def expand_placeholder(self, num_tokens: int) -> str:
        return self.placeholder * num_tokens

    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return self.text_position_ids(inputs["attention_mask"])
