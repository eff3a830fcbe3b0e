"""Qwen2.5-VL (`Qwen2_5_VLForConditionalGeneration`): dynamic resolution, rotary positions in three axes."""

from typing import Any

from PIL import Image
from torch import Tensor

from slq.models.family import Family, ProcessedImage


class Qwen25VL(Family):
    """Adapter like that of Qwen3-VL, without DeepStack."""

    placeholder = "<|image_pad|>"

    def process(self, image: Image.Image) -> ProcessedImage:
        out = self.image_processor(images=[image], return_tensors="pt")
        grid = out["image_grid_thw"]
        tensors = {"pixel_values": out["pixel_values"], "image_grid_thw": grid}
        return ProcessedImage(tensors, num_tokens=int(grid.prod()) // self.config.vision_config.spatial_merge_size**2)

    def expand_placeholder(self, num_tokens: int) -> str:
        return self.placeholder * num_tokens

    def extra_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": (input_ids == self.config.image_token_id).int()}

    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        positions, _ = model.get_rope_index(
            inputs["input_ids"],
            inputs["mm_token_type_ids"],
            image_grid_thw=inputs.get("image_grid_thw"),
            attention_mask=inputs["attention_mask"],
        )
        return positions
