"""InternVL3 in transformers' native port (`InternVLForConditionalGeneration`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from slq.models.family import Family, Pixels

GREY = (127, 127, 127)  # the padding of the released code


class InternVL(Family):
    """One padded square tile per image, as SLQ trains and retrieves; `<img>…</img>` around its image tokens."""

    placeholder = "<IMG_CONTEXT>"

    def process(self, image: Image.Image, max_tiles: int | None = None, enlarge: int = 1) -> Pixels:
        """With `max_tiles` the image as its own evaluation cuts it: so many tiles at most, and a thumbnail beside them.

        `enlarge`: times the image's sides, before it is cut; small images are then more tiles.
        """
        if max_tiles is None:
            image = ImageOps.pad(image, (max(image.size),) * 2, color=GREY)
        if enlarge > 1:
            image = image.resize((enlarge * image.width, enlarge * image.height), Image.Resampling.BILINEAR)
        cut = {"crop_to_patches": max_tiles is not None, "max_patches": max_tiles or 1}
        tiles = self.image_processor(images=[image], return_tensors="pt", **cut)["pixel_values"]
        return Pixels({"pixel_values": tiles}, tokens=len(tiles) * self.config.image_seq_length)

    def process_question(
        self, images: Sequence[Image.Image], all_tiles: int | None = None, **limits: int
    ) -> list[Pixels]:
        """`all_tiles`: of all images together; each gets an equal share, one tile at least, as VLMEvalKit cuts them."""
        if all_tiles is not None and images:
            share = max(1, all_tiles // len(images))
            limits["max_tiles"] = min(limits.get("max_tiles", share), share)
        return super().process_question(images, **limits)

    def expand(self, tokens: int) -> str:
        return f"<img>{self.placeholder * tokens}</img>"

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return self.text_positions(inputs["attention_mask"])

    def look_at(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        tiles = model.get_image_features(pixel_values=inputs["pixel_values"], return_dict=True).pooler_output
        return tiles.flatten(0, 1)[:, None]

    def seen(self, features: Tensor) -> BaseModelOutputWithPooling:
        tiles = features[:, 0].unflatten(0, (-1, self.config.image_seq_length))
        return BaseModelOutputWithPooling(pooler_output=tiles)

    def noise(self, pixels: int, generator: torch.Generator) -> Pixels:
        """One tile, whatever the image's size."""
        tile = torch.randn(1, 3, *self.config.vision_config.image_size, generator=generator)
        return Pixels({"pixel_values": tile}, tokens=self.config.image_seq_length)
