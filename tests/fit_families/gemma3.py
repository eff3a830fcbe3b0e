"""Gemma 3 (`Gemma3ForConditionalGeneration`): squares, image tokens that see each other, windows in most layers."""

from typing import Any

from PIL import Image
from torch import Tensor

from slq.models.family import Family, Pixels


class Gemma3(Family):
    """Every image takes the same number of tokens, between two markers."""

    placeholder = "<start_of_image>"

    def process(self, image: Image.Image) -> Pixels:
        out = self.image_processor(images=[image], return_tensors="pt")
        return Pixels({"pixel_values": out["pixel_values"]}, tokens=self.config.mm_tokens_per_image)

    def expand(self, tokens: int) -> str:
        return f"{self.placeholder}{'<image_soft_token>' * tokens}<end_of_image>"

    def extra_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": (input_ids == self.config.image_token_id).int()}

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return self.text_positions(inputs["attention_mask"])
