"""Qwen3-VL (`Qwen3VLForConditionalGeneration`): dynamic resolution, rotary positions in three axes."""

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

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

    def look_at(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        found = model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True)
        return torch.stack([torch.cat(list(images)) for images in (found.pooler_output, *found.deepstack_features)], 1)

    def seen(self, features: Tensor) -> Any:
        """The forward concatenates what each field holds for one image after the other: here it is all at once."""
        first, *deeper = ((vectors,) for vectors in features.unbind(1))
        output: Any = BaseModelOutputWithDeepstackFeatures  # whose annotations say tensors
        return output(pooler_output=first, deepstack_features=deeper)

    def noise(self, pixels: int, generator: torch.Generator) -> Pixels:
        """Four wide to three high, as most photographs are."""
        vision = self.config.vision_config
        side, merge = vision.patch_size, vision.spatial_merge_size
        unit = isqrt(pixels // 12) // (side * merge) * merge  # patches of a quarter of the width
        grid = torch.tensor([[1, 3 * unit, 4 * unit]])
        values = vision.in_channels * vision.temporal_patch_size * side**2
        patches = torch.randn(int(grid.prod()), values, generator=generator)
        return Pixels({"pixel_values": patches, "image_grid_thw": grid}, tokens=len(patches) // merge**2)
