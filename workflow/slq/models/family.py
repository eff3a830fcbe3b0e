"""Interface of a backbone family: the model-specific code that an adapter defines; all other code is shared."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

FEATURES = "features"  # key of an image's vision-tower features, which replace its pixels


@dataclass(frozen=True)
class ProcessedImage:
    """One preprocessed image: the input tensors of the family's forward pass, and the number of its image tokens.

    `tensors` may contain FEATURES (image tokens, vectors, d), as returned by `Family.encode_vision`, instead of pixels.
    """

    tensors: dict[str, Tensor]
    num_tokens: int


class Family(ABC):
    """Adapter of a backbone family: image preprocessing, expansion of image tokens, position ids."""

    placeholder: str  # the text that the chat template writes for an image

    def __init__(self, config: Any, image_processor: Any) -> None:
        """Create an adapter for a model's configuration and its image processor."""
        self.config = config
        self.image_processor = image_processor

    @abstractmethod
    def process(self, image: Image.Image) -> ProcessedImage:
        """Preprocess one RGB image into tensors; a batch concatenates each tensor along its first axis.

        A family may define limits (pixels, tiles) as further arguments with defaults; `retention_images` in config.yaml
        sets them.
        """

    def process_question_images(self, images: Sequence[Image.Image], **limits: int) -> list[ProcessedImage]:
        """Preprocess the images of one question.

        A family may define limits that apply to all images together; all other limits are arguments of `process`.
        """
        process: Any = self.process
        return [process(image, **limits) for image in images]

    @abstractmethod
    def expand_placeholder(self, num_tokens: int) -> str:
        """Return the text that replaces the placeholder of an image of `num_tokens` image tokens."""

    @abstractmethod
    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Compute the position ids of a left-padded batch that the family's full forward pass uses.

        Returns:
            (B, L) for one-dimensional rotary positions (RoPE, Su et al. 2021), or (axes, B, L) for multimodal ones
            (M-RoPE, Wang et al. 2024).
        """

    def extra_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Return further per-token inputs that the family's forward pass and generation need; none by default."""
        return {}

    @property
    def max_positions(self) -> float:
        """Number of positions of the language model; infinite if its configuration has no limit."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None) or math.inf

    def describe_overflow(
        self, inputs: Mapping[str, Tensor], tokenizer: Any, num_following: int | Tensor = 0
    ) -> str | None:
        """Describe the row of a batch that exceeds the model's positions most; return None if every row fits.

        Args:
            inputs: input_ids, attention_mask and position_ids of a left-padded batch.
            tokenizer: decodes the beginning of the row for the description.
            num_following: number of tokens that will follow: one number for all rows, or one per row (B,).
        """
        rows = len(inputs["input_ids"])
        needed_positions = inputs["position_ids"].amax(-1).view(-1, rows).amax(0) + 1 + num_following
        row = int(needed_positions.argmax())
        if needed_positions[row] <= self.max_positions:
            return None
        ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        text_start = tokenizer.decode(ids[:30], skip_special_tokens=True).strip()
        return (
            f"an input needs {int(needed_positions[row])} positions, and the language model has {self.max_positions} "
            f"(max_position_embeddings): shorten it; it begins {text_start!r}"
        )

    def encode_vision(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Encode a batch's images with the vision tower into features (image tokens, vectors, d).

        The first vector of each image token is the projector's output. The vectors of DeepStack (Meng et al. 2024)
        follow, in families that have them.
        """
        raise self._not_implemented("encode_vision")

    def as_encoder_outputs(self, features: Tensor) -> Any:
        """Convert features from `encode_vision` to the forward pass's argument `mm_encoder_outputs["image"]`."""
        raise self._not_implemented("as_encoder_outputs")

    def random_image(self, num_pixels: int, generator: torch.Generator) -> ProcessedImage:
        """Create an image of about `num_pixels` random pixels.

        No image processor is needed, so the speed benchmark can run a model without its snapshot.
        """
        raise self._not_implemented("random_image")

    def _not_implemented(self, member: str) -> NotImplementedError:
        """Build the error for an optional method that a family does not define.

        A family need not support caching of image features (`training.image_cache: features`) or the speed benchmark.
        """
        return NotImplementedError(f"slq/models/families: {type(self).__name__} has no {member}(): docs/backbones.md")

    @staticmethod
    def text_position_ids(attention_mask: Tensor) -> Tensor:
        """Compute position ids (B, L) that count each row's tokens from 0; padding gets 0 and is never attended to."""
        return (attention_mask.cumsum(-1) - 1).clamp(min=0)
