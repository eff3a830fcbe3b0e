"""InternVL3 in transformers' native port (`InternVLForConditionalGeneration`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from slq.models.family import Family, ProcessedImage

PADDING_COLOR = (127, 127, 127)  # the padding of the released code


class InternVL(Family):
    """One padded square tile per image, as in SLQ's training and retrieval; `<img>…</img>` around its image tokens."""

    placeholder = "<IMG_CONTEXT>"

    def process(self, image: Image.Image, max_tiles: int | None = None, enlarge: int = 1) -> ProcessedImage:
        """Process one RGB image: as one padded square tile, or, with `max_tiles`, as InternVL's own evaluation cuts it.

        Args:
            max_tiles: maximum number of tiles, beside which there is a thumbnail.
            enlarge: factor by which the image's sides are multiplied before it is cut; small images then give more
                tiles.
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
        """Process the images of one question.

        Args:
            all_tiles: maximum number of tiles of all images together; each image gets an equal share, at least one
                tile, as in VLMEvalKit.
            limits: passed on to `process`.
        """
        if all_tiles is not None and images:
            share = max(1, all_tiles // len(images))
            limits["max_tiles"] = min(limits.get("max_tiles", share), share)
        return super().process_question_images(images, **limits)

    def expand_placeholder(self, num_tokens: int) -> str:
        """Return the text of an image: its image tokens between `<img>` and `</img>`."""
        return f"<img>{self.placeholder * num_tokens}</img>"

    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Compute position ids (B, L) that count a row's own tokens."""
        return self.text_position_ids(inputs["attention_mask"])

    def encode_vision(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Encode a batch's images to features (image tokens, 1, d)."""
        tiles = model.get_image_features(pixel_values=inputs["pixel_values"], return_dict=True).pooler_output
        return tiles.flatten(0, 1)[:, None]

    def as_encoder_outputs(self, features: Tensor) -> BaseModelOutputWithPooling:
        """Convert features to the vision tower's output, one row of image tokens per tile."""
        tiles = features[:, 0].unflatten(0, (-1, self.config.image_seq_length))
        return BaseModelOutputWithPooling(pooler_output=tiles)

    def random_image(self, num_pixels: int, generator: torch.Generator) -> ProcessedImage:
        """Create one tile of random pixels, whatever `num_pixels` is."""
        tile = torch.randn(1, 3, *self.config.vision_config.image_size, generator=generator)
        return ProcessedImage({"pixel_values": tile}, num_tokens=self.config.image_seq_length)
