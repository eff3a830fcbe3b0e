"""The interface of a backbone family: what an adapter defines for its models; everything else is shared."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

FEATURES = "features"  # key of an image's features from the vision tower, which take the place of its pixels


@dataclass(frozen=True)
class ProcessedImage:
    """One processed image: the tensors that the family's forward takes, and how many image tokens it occupies.

    Instead of pixels it may hold FEATURES (image tokens, vectors, d), as returned by `Family.encode_vision`.
    """

    tensors: dict[str, Tensor]
    num_tokens: int


class Family(ABC):
    """Adapter of a backbone family: image processing, image-token expansion, position ids."""

    placeholder: str  # what the chat template writes for an image

    def __init__(self, config: Any, image_processor: Any) -> None:
        """Create an adapter for a model's configuration and its image processor."""
        self.config = config
        self.image_processor = image_processor

    @abstractmethod
    def process(self, image: Image.Image) -> ProcessedImage:
        """Process one RGB image to tensors, each of which is concatenated along its first axis in a batch.

        A family may take limits as further arguments with defaults: `retention_images` in config.yaml sets them.
        """

    def process_question_images(self, images: Sequence[Image.Image], **limits: int) -> list[ProcessedImage]:
        """Process the images of one question.

        A family may take limits that the images share; it passes the other limits on to `process`.
        """
        process: Any = self.process
        return [process(image, **limits) for image in images]

    @abstractmethod
    def expand_placeholder(self, num_tokens: int) -> str:
        """Return the text that replaces the placeholder of an image of `num_tokens` image tokens."""

    @abstractmethod
    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Compute position ids of a left-padded batch, (B, L) or (axes, B, L), as the family's full forward does."""

    def extra_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Return further inputs about the tokens that the family's forward and generation need; none by default."""
        return {}

    @property
    def max_positions(self) -> float:
        """Number of positions of the language model; infinite where its configuration gives none."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None) or math.inf

    def describe_overflow(
        self, inputs: Mapping[str, Tensor], tokenizer: Any, num_following: int | Tensor = 0
    ) -> str | None:
        """Describe the longest row of a batch if it needs more positions than the model has, else return None.

        Args:
            inputs: input_ids, attention_mask and position_ids of a left-padded batch.
            tokenizer: decodes the beginning of the row for the description.
            num_following: number of tokens that will follow: one number for all rows, or one for each (B,).
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
        """Encode a batch's images with the vision tower to features (image tokens, vectors, d).

        The first vector of each image token is the projected one; DeepStack's vectors, if there are any, follow it.
        """
        raise self._not_implemented("encode_vision")

    def as_encoder_outputs(self, features: Tensor) -> Any:
        """Convert the features of `encode_vision` to what the forward takes as `mm_encoder_outputs["image"]`."""
        raise self._not_implemented("as_encoder_outputs")

    def random_image(self, num_pixels: int, generator: torch.Generator) -> ProcessedImage:
        """Create an image of about `num_pixels` random pixels.

        No image processor is used, so that a model without a snapshot can be run.
        """
        raise self._not_implemented("random_image")

    def _not_implemented(self, member: str) -> NotImplementedError:
        """Build the error of an optional method that a family lacks.

        A family need not support the caching of image features (`training.image_cache: features`) or the benchmark of
        speed.
        """
        return NotImplementedError(f"slq/models/families: {type(self).__name__} has no {member}(): docs/backbones.md")

    @staticmethod
    def text_position_ids(attention_mask: Tensor) -> Tensor:
        """Compute position ids (B, L) that count a row's own tokens; padding gets 0 and is never attended to."""
        return (attention_mask.cumsum(-1) - 1).clamp(min=0)
