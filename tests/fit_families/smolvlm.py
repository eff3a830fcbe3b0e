"""SmolVLM (`SmolVLMForConditionalGeneration`): one tile per image, 1-D positions."""

from typing import Any

from PIL import Image
from torch import Tensor

from slq.models.family import Family, ProcessedImage


class SmolVLM(Family):
    """Adapter without splitting of images into tiles (`do_image_splitting` is off)."""

    placeholder = "<image>"

    def process(self, image: Image.Image) -> ProcessedImage:
        out = self.image_processor(images=[[image]], do_image_splitting=False, return_tensors="pt")
        vision = self.config.vision_config
        tensors = {name: out[name] for name in ("pixel_values", "pixel_attention_mask")}
        return ProcessedImage(
            tensors, num_tokens=(vision.image_size // vision.patch_size) ** 2 // self.config.scale_factor**2
        )

    def expand_placeholder(self, num_tokens: int) -> str:
        return self.placeholder * num_tokens

    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return self.text_position_ids(inputs["attention_mask"])
