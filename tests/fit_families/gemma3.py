"""Gemma 3 (`Gemma3ForConditionalGeneration`): square images, bidirectional image tokens, mostly windowed layers."""

from typing import Any

from PIL import Image
from torch import Tensor

from slq.models.family import Family, ProcessedImage


class Gemma3(Family):
    """Adapter of Gemma 3: every image has the same number of tokens, between two markers."""

    placeholder = "<start_of_image>"

    def process(self, image: Image.Image) -> ProcessedImage:
        out = self.image_processor(images=[image], return_tensors="pt")
        return ProcessedImage({"pixel_values": out["pixel_values"]}, num_tokens=self.config.mm_tokens_per_image)

    def expand_placeholder(self, num_tokens: int) -> str:
        return f"{self.placeholder}{'<image_soft_token>' * num_tokens}<end_of_image>"

    def extra_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": (input_ids == self.config.image_token_id).int()}

    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return self.text_position_ids(inputs["attention_mask"])
