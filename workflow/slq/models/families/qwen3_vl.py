"""Qwen3-VL (`Qwen3VLForConditionalGeneration`): dynamic resolution, multimodal RoPE, DeepStack features.

Multimodal RoPE (M-RoPE, Wang et al. 2024, Qwen2-VL) gives each token rotary positions on three axes: time, height and
width. DeepStack (Meng et al. 2024) adds features from intermediate vision layers to the first language-model layers.
"""

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from slq.models.family import Family, ProcessedImage


class Qwen3VL(Family):
    """Qwen3-VL: images keep their aspect ratio; the chat template itself writes vision markers around placeholders."""

    placeholder = "<|image_pad|>"

    def process(
        self, image: Image.Image, min_pixels: int | None = None, max_pixels: int | None = None
    ) -> ProcessedImage:
        """Preprocess one RGB image, resized so that its number of pixels is within limits.

        Args:
            min_pixels, max_pixels: minimum and maximum number of pixels; by default, the image processor's own limits.
        """
        default_size = self.image_processor.size
        size = {
            "shortest_edge": min_pixels or default_size.shortest_edge,
            "longest_edge": max_pixels or default_size.longest_edge,
        }
        out = self.image_processor(images=[image], size=size, return_tensors="pt")
        grid = out["image_grid_thw"]
        merge_size = self.config.vision_config.spatial_merge_size
        tensors = {"pixel_values": out["pixel_values"], "image_grid_thw": grid}
        return ProcessedImage(tensors, num_tokens=int(grid.prod()) // merge_size**2)

    def expand_placeholder(self, num_tokens: int) -> str:
        """Return the text that stands for an image: `num_tokens` image tokens."""
        return self.placeholder * num_tokens

    def extra_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Return `mm_token_type_ids` (B, L): 1 for image tokens, 0 for all other tokens."""
        return {"mm_token_type_ids": (input_ids == self.config.image_token_id).int()}

    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Compute M-RoPE position ids (axes, B, L) of a left-padded batch, with the model's own function."""
        position_ids, _ = model.get_rope_index(
            inputs["input_ids"],
            inputs["mm_token_type_ids"],
            image_grid_thw=inputs.get("image_grid_thw"),
            attention_mask=inputs["attention_mask"],
        )
        return position_ids

    def encode_vision(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Encode a batch's images into features (image tokens, 1 + DeepStack layers, d)."""
        features = model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True)
        return torch.stack(
            [torch.cat(list(images)) for images in (features.pooler_output, *features.deepstack_features)], 1
        )

    def as_encoder_outputs(self, features: Tensor) -> Any:
        """Convert features to the vision tower's output.

        In each field, the forward pass concatenates a sequence with one tensor per image; here each sequence has one
        element, a tensor for all images.
        """
        first, *deeper = ((vectors,) for vectors in features.unbind(1))
        output_class: Any = BaseModelOutputWithDeepstackFeatures  # its annotations allow single tensors only
        return output_class(pooler_output=first, deepstack_features=deeper)

    def random_image(self, num_pixels: int, generator: torch.Generator) -> ProcessedImage:
        """Create an image of about `num_pixels` random pixels, 4:3 (width to height) like most photographs."""
        vision = self.config.vision_config
        patch_size, merge_size = vision.patch_size, vision.spatial_merge_size
        unit = isqrt(num_pixels // 12) // (patch_size * merge_size) * merge_size  # patches of a quarter of the width
        grid = torch.tensor([[1, 3 * unit, 4 * unit]])
        patch_values = vision.in_channels * vision.temporal_patch_size * patch_size**2
        patches = torch.randn(int(grid.prod()), patch_values, generator=generator)
        return ProcessedImage(
            {"pixel_values": patches, "image_grid_thw": grid}, num_tokens=len(patches) // merge_size**2
        )
