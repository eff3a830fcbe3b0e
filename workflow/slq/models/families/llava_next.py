"""LLaVA-NeXT (`LlavaNextForConditionalGeneration`): the whole image, and tiles in the best of a few grid shapes."""

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution
from transformers.modeling_outputs import BaseModelOutputWithPooling

from slq.models.family import Family, ProcessedImage


class LlavaNext(Family):
    """LLaVA-NeXT: patches that only pad the image have no tokens, and each row of patches ends with an extra token.

    E5-V and VLM2Vec-LLaVa-Next are such models.
    """

    placeholder = "<image>"

    def process(self, image: Image.Image, square: int | None = None) -> ProcessedImage:
        """Process one RGB image.

        Args:
            square: side in pixels to which the image is first stretched, both ways, as VLM2Vec's own evaluation does.
        """
        if square is not None:
            image = image.resize((square, square))
        out = self.image_processor(images=[image], return_tensors="pt")
        tensors = {"pixel_values": out["pixel_values"][0], "image_sizes": out["image_sizes"]}
        return ProcessedImage(tensors, self.count_image_tokens(image.height, image.width))

    def expand_placeholder(self, num_tokens: int) -> str:
        """Return the text of an image: its image tokens."""
        return self.placeholder * num_tokens

    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Compute position ids (B, L) that count a row's own tokens."""
        return self.text_position_ids(inputs["attention_mask"])

    def encode_vision(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Encode a batch's images to features (image tokens, 1, d)."""
        features = model.get_image_features(inputs["pixel_values"], inputs["image_sizes"], return_dict=True)
        return torch.cat(list(features.pooler_output))[:, None]

    def as_encoder_outputs(self, features: Tensor) -> Any:
        """Convert features to the vision tower's output.

        The forward concatenates the features of consecutive images; here they already are one tensor.
        """
        output_class: Any = BaseModelOutputWithPooling  # whose annotations say a tensor
        return output_class(pooler_output=(features[:, 0],))

    def random_image(self, num_pixels: int, generator: torch.Generator) -> ProcessedImage:
        """Create an image of random pixels with the aspect ratio 4:3 (width to height), as most photographs have."""
        height, width = round((num_pixels * 3 / 4) ** 0.5), round((num_pixels * 4 / 3) ** 0.5)
        tile_size = self.config.vision_config.image_size
        rows, columns = self._tile_grid(height, width)
        tiles = torch.randn(1 + rows * columns, 3, tile_size, tile_size, generator=generator)
        tensors = {"pixel_values": tiles, "image_sizes": torch.tensor([[height, width]])}
        return ProcessedImage(tensors, self.count_image_tokens(height, width))

    def count_image_tokens(self, height: int, width: int) -> int:
        """Count the tokens of an image: the whole image as one tile, and the rows of its tiles without padding.

        The class token of each tile is dropped (`vision_feature_select_strategy: default`). The count is rounded as
        transformers rounds when it removes the padding; otherwise there would be too many or too few image tokens.
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
        """Return the numbers of rows and columns of the tiles that an image is cut into."""
        shape = select_best_resolution((height, width), self.config.image_grid_pinpoints)
        rows, columns = (length // self.config.vision_config.image_size for length in shape)
        return rows, columns
