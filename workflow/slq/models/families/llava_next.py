"""LLaVA-NeXT (Liu et al. 2024; `LlavaNextForConditionalGeneration`), with its "anyres" tiling.

An image is encoded twice: as a whole, and cut into tiles in the best-fitting of a few grid shapes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution
from transformers.modeling_outputs import BaseModelOutputWithPooling

from slq.models.family import Family, ProcessedImage


class LlavaNext(Family):
    """LLaVA-NeXT: patches of pure padding have no tokens, and an extra token ends each row of patches.

    E5-V and VLM2Vec-LLaVa-Next are models of this family.
    """

    placeholder = "<image>"

    def process(self, image: Image.Image, square: int | None = None) -> ProcessedImage:
        """Preprocess one RGB image.

        Args:
            square: if given, the image is first resized to this side length in pixels in both directions, ignoring its
                aspect ratio, as VLM2Vec's own evaluation does.
        """
        if square is not None:
            image = image.resize((square, square))
        out = self.image_processor(images=[image], return_tensors="pt")
        tensors = {"pixel_values": out["pixel_values"][0], "image_sizes": out["image_sizes"]}
        return ProcessedImage(tensors, self.count_image_tokens(image.height, image.width))

    def expand_placeholder(self, num_tokens: int) -> str:
        """Return the text that stands for an image: `num_tokens` image tokens."""
        return self.placeholder * num_tokens

    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Compute 1-D position ids (B, L), which count the tokens of each row without its padding."""
        return self.text_position_ids(inputs["attention_mask"])

    def encode_vision(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Encode a batch's images with the vision tower and projector into features (image tokens, 1, d)."""
        features = model.get_image_features(inputs["pixel_values"], inputs["image_sizes"], return_dict=True)
        return torch.cat(list(features.pooler_output))[:, None]

    def as_encoder_outputs(self, features: Tensor) -> Any:
        """Convert features to the vision tower's output.

        The forward pass concatenates a sequence with one tensor per image; here all images are already one tensor, so
        the sequence has one element.
        """
        output_class: Any = BaseModelOutputWithPooling  # its annotations allow a single tensor only
        return output_class(pooler_output=(features[:, 0],))

    def random_image(self, num_pixels: int, generator: torch.Generator) -> ProcessedImage:
        """Create an image of about `num_pixels` random pixels, 4:3 (width to height) like most photographs."""
        height, width = round((num_pixels * 3 / 4) ** 0.5), round((num_pixels * 4 / 3) ** 0.5)
        tile_size = self.config.vision_config.image_size
        rows, columns = self._tile_grid(height, width)
        tiles = torch.randn(1 + rows * columns, 3, tile_size, tile_size, generator=generator)
        tensors = {"pixel_values": tiles, "image_sizes": torch.tensor([[height, width]])}
        return ProcessedImage(tensors, self.count_image_tokens(height, width))

    def count_image_tokens(self, height: int, width: int) -> int:
        """Count the image tokens of an image of `height` by `width` pixels.

        The count covers the whole image as one tile, and the tile grid without padding plus one extra token per row.
        The class token of each tile is dropped (`vision_feature_select_strategy: default`). Rounding is the same as
        where transformers removes the padding; otherwise prompts would have too many or too few image tokens.
        """
        vision = self.config.vision_config
        patches = vision.image_size // vision.patch_size
        patch_rows, patch_columns = (patches * tiles for tiles in self._tile_grid(height, width))
        if width / height > patch_columns / patch_rows:
            patch_rows -= (patch_rows - int(round(height * (patch_columns / width), 7))) // 2 * 2
        else:
            patch_columns -= (patch_columns - int(round(width * (patch_rows / height), 7))) // 2 * 2
        return patches**2 + patch_rows * (patch_columns + 1)

    def _tile_grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the numbers of rows and columns of the grid of tiles that an image is cut into."""
        shape = select_best_resolution((height, width), self.config.image_grid_pinpoints)
        rows, columns = (length // self.config.vision_config.image_size for length in shape)
        return rows, columns
