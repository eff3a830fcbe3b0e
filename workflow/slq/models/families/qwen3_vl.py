"""Qwen3-VL (`Qwen3VLForConditionalGeneration`): dynamic resolution, rotary positions in three axes."""

from typing import Any

from PIL import Image
from torch import Tensor

from slq.models.family import Family, Pixels


class Qwen3VL(Family):
    """Images keep their aspect ratio; the chat template itself writes the vision markers around the placeholder."""

    placeholder = "<|image_pad|>"

    def process(self, image: Image.Image, min_pixels: int | None = None, max_pixels: int | None = None) -> Pixels:
        """With limits the image has at least and at most so many pixels; without one the processor's own holds."""
        own = self.image_processor.size
        size = {"shortest_edge": min_pixels or own.shortest_edge, "longest_edge": max_pixels or own.longest_edge}
        out = self.image_processor(images=[image], size=size, return_tensors="pt")
        grid = out["image_grid_thw"]
        merge = self.config.vision_config.spatial_merge_size
        tensors = {"pixel_values": out["pixel_values"], "image_grid_thw": grid}
        return Pixels(tensors, tokens=int(grid.prod()) // merge**2)

    def expand(self, tokens: int) -> str:
        return self.placeholder * tokens

    def extra_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": (input_ids == self.config.image_token_id).int()}

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        positions, _ = model.get_rope_index(
            inputs["input_ids"],
            inputs["mm_token_type_ids"],
            image_grid_thw=inputs.get("image_grid_thw"),
            attention_mask=inputs["attention_mask"],
        )
        return positions
