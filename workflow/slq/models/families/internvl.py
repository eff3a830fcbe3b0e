"""InternVL3 (Zhu et al. 2025) in transformers' native port (`InternVLForConditionalGeneration`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from slq.models.family import Family, ProcessedImage

PADDING_COLOR = (127, 127, 127)  # the padding of the released code


class InternVL(Family):
    """InternVL3: for retrieval one padded square tile per image, with `<img>…</img>` around its image tokens."""

    placeholder = "<IMG_CONTEXT>"

    def process(self, image: Image.Image, max_tiles: int | None = None, enlarge: int = 1) -> ProcessedImage:
        """Preprocess one RGB image as one padded square tile (as SLQ does) or as InternVL's dynamic tiles.

        Args:
            max_tiles: maximum number of dynamic tiles, as in InternVL's own evaluation; a thumbnail is added to them.
                None: one padded square tile.
            enlarge: factor by which both sides are multiplied before tiling, so that small images give more tiles.
        """
        if max_tiles is None:
            image = ImageOps.pad(image, (max(image.size),) * 2, color=PADDING_COLOR)
        if enlarge > 1:
            image = image.resize((enlarge * image.width, enlarge * image.height), Image.Resampling.BILINEAR)
        tiling = {"crop_to_patches": max_tiles is not None, "max_patches": max_tiles or 1}
        tiles = self.image_processor(images=[image], return_tensors="pt", **tiling)["pixel_values"]
        return ProcessedImage({"pixel_values": tiles}, num_tokens=len(tiles) * self.config.image_seq_length)

    def process_question_images(
        self, images: Sequence[Image.Image], all_tiles: int | None = None, **limits: int
    ) -> list[ProcessedImage]:
        """Preprocess the images of one question.

        Args:
            all_tiles: maximum number of tiles of all images together. As in VLMEvalKit (Duan et al. 2024), each image
                gets an equal share, and at least one tile.
            limits: further arguments of `process`.
        """
        if all_tiles is not None and images:
            share = max(1, all_tiles // len(images))
            limits["max_tiles"] = min(limits.get("max_tiles", share), share)
        return super().process_question_images(images, **limits)

    def expand_placeholder(self, num_tokens: int) -> str:
        """Return the text that stands for an image: `num_tokens` image tokens between `<img>` and `</img>`."""
        return f"<img>{self.placeholder * num_tokens}</img>"

    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Compute 1-D position ids (B, L), which count the tokens of each row without its padding."""
        return self.text_position_ids(inputs["attention_mask"])

    def encode_vision(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Encode a batch's images with the vision tower and projector into features (image tokens, 1, d)."""
        tiles = model.get_image_features(pixel_values=inputs["pixel_values"], return_dict=True).pooler_output
        return tiles.flatten(0, 1)[:, None]

    def as_encoder_outputs(self, features: Tensor) -> BaseModelOutputWithPooling:
        """Convert features to the vision tower's output (tiles, image tokens per tile, d)."""
        tiles = features[:, 0].unflatten(0, (-1, self.config.image_seq_length))
        return BaseModelOutputWithPooling(pooler_output=tiles)

    def random_image(self, num_pixels: int, generator: torch.Generator) -> ProcessedImage:
        """Create one tile of random pixels; `num_pixels` is ignored, since a tile has a fixed size."""
        tile = torch.randn(1, 3, *self.config.vision_config.image_size, generator=generator)
        return ProcessedImage({"pixel_values": tile}, num_tokens=self.config.image_seq_length)
