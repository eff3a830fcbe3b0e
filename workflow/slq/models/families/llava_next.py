"""LLaVA-NeXT (`LlavaNextForConditionalGeneration`): tiles of the best of a few shapes, and the whole image."""

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution
from transformers.modeling_outputs import BaseModelOutputWithPooling

from slq.models.family import Family, Pixels


class LlavaNext(Family):
    """What of the tiles only pads the image to their shape has no tokens; each of their lines ends with one more.

    E5-V and VLM2Vec-LLaVa-Next are such models.
    """

    placeholder = "<image>"

    def process(self, image: Image.Image, square: int | None = None) -> Pixels:
        """`square`: the image is first stretched to so many pixels on each side, as VLM2Vec's own evaluation does."""
        if square is not None:
            image = image.resize((square, square))
        out = self.image_processor(images=[image], return_tensors="pt")
        tensors = {"pixel_values": out["pixel_values"][0], "image_sizes": out["image_sizes"]}
        return Pixels(tensors, self.count_tokens(image.height, image.width))

    def expand(self, tokens: int) -> str:
        return self.placeholder * tokens

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return self.text_positions(inputs["attention_mask"])

    def look_at(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        found = model.get_image_features(inputs["pixel_values"], inputs["image_sizes"], return_dict=True)
        return torch.cat(list(found.pooler_output))[:, None]

    def seen(self, features: Tensor) -> Any:
        """The forward concatenates images that follow each other: here they are one already."""
        output: Any = BaseModelOutputWithPooling  # whose annotations say a tensor
        return output(pooler_output=(features[:, 0],))

    def noise(self, pixels: int, generator: torch.Generator) -> Pixels:
        """Four wide to three high, as most photographs are."""
        height, width = round((pixels * 3 / 4) ** 0.5), round((pixels * 4 / 3) ** 0.5)
        side = self.config.vision_config.image_size
        rows, columns = self._grid(height, width)
        tiles = torch.randn(1 + rows * columns, 3, side, side, generator=generator)
        tensors = {"pixel_values": tiles, "image_sizes": torch.tensor([[height, width]])}
        return Pixels(tensors, self.count_tokens(height, width))

    def count_tokens(self, height: int, width: int) -> int:
        """Of an image: the whole of it as one tile, and the lines of its tiles without their padding.

        The class token of each tile is dropped (`vision_feature_select_strategy: default`). Rounded as transformers
        rounds when it takes the padding away, or the tokens would be too many or too few.
        """
        vision = self.config.vision_config
        patches = vision.image_size // vision.patch_size
        lines, places = (patches * tiles for tiles in self._grid(height, width))
        if width / height > places / lines:
            lines -= (lines - int(round(height * (places / width), 7))) // 2 * 2
        else:
            places -= (places - int(round(width * (lines / height), 7))) // 2 * 2
        return patches**2 + lines * (places + 1)

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the tiles that an image is cut into."""
        shape = select_best_resolution((height, width), self.config.image_grid_pinpoints)
        rows, columns = (length // self.config.vision_config.image_size for length in shape)
        return rows, columns
