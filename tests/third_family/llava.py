"""LLaVA-1.5 (`LlavaForConditionalGeneration`): a square crop for CLIP, plain positions."""

from typing import Any

from PIL import Image
from torch import Tensor

from slq.models.family import Family, Pixels


class Llava(Family):
    """One image token per patch of CLIP's picture; its class token is dropped."""

    placeholder = "<image>"

    def process(self, image: Image.Image) -> Pixels:
        out = self.image_processor(images=[image], return_tensors="pt")
        vision = self.config.vision_config
        return Pixels({"pixel_values": out["pixel_values"]}, tokens=(vision.image_size // vision.patch_size) ** 2)

    def expand(self, tokens: int) -> str:
        return self.placeholder * tokens

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return self.text_positions(inputs["attention_mask"])
