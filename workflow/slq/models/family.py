"""What a backbone family must say about itself; everything else is shared."""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from torch import Tensor

FEATURES = "features"  # in place of an image's pixels: what the vision tower made of them


@dataclass(frozen=True)
class ProcessedImage:
    """One processed image: the tensors that the family's forward takes, and the image tokens it occupies.

    In place of its pixels it may hold FEATURES (image tokens, vectors, d), as `Family.encode_vision` gave them.
    """

    tensors: dict[str, Tensor]
    num_tokens: int


class Family(ABC):
    """Adapter of a backbone family: image processing, image-token expansion, positions."""

    placeholder: str  # what the chat template writes for an image

    def __init__(self, config: Any, image_processor: Any) -> None:
        self.config = config
        self.image_processor = image_processor

    @abstractmethod
    def process(self, image: Image.Image) -> ProcessedImage:
        """Tensors of one RGB image; each is concatenated along its first axis in a batch.

        A family may take limits as further arguments with defaults: `retention_images` in config.yaml sets them.
        """

    def process_question_images(self, images: Sequence[Image.Image], **limits: int) -> list[ProcessedImage]:
        """Tensors of the images of one question; a family may take limits that they share, and hands on the others."""
        process: Any = self.process
        return [process(image, **limits) for image in images]

    @abstractmethod
    def expand_placeholder(self, num_tokens: int) -> str:
        """Text that replaces the placeholder of an image of so many tokens."""

    @abstractmethod
    def compute_position_ids(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Position ids of a left-padded batch, (B, L) or (axes, B, L), as the family's own full forward has them."""

    def extra_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        """What else the family's forward and generation want to know about the tokens."""
        return {}

    @property
    def max_positions(self) -> float:
        """How many positions the language model has; infinite where its configuration names no number."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None) or math.inf

    def describe_overflow(
        self, inputs: Mapping[str, Tensor], tokenizer: Any, num_following: int | Tensor = 0
    ) -> str | None:
        """What is wrong if the longest row of a batch, and `num_following` tokens more, needs more positions than there
        are.

        Args:
            inputs: input_ids, attention_mask and position_ids of a left-padded batch.
            num_following: of every row, or of each (B,).
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
        """What the vision tower makes of a batch's images: (image tokens, vectors, d), DeepStack's vectors behind."""
        raise self._not_implemented("encode_vision")

    def as_encoder_outputs(self, features: Tensor) -> Any:
        """The same as the family's forward takes it, `mm_encoder_outputs["image"]`."""
        raise self._not_implemented("as_encoder_outputs")

    def random_image(self, num_pixels: int, generator: torch.Generator) -> ProcessedImage:
        """An image of about so many random pixels, without an image processor: for a model without a snapshot."""
        raise self._not_implemented("random_image")

    def _not_implemented(self, member: str) -> NotImplementedError:
        """A family need not be able to cache image features (`training.image_cache: features`), nor to be benched."""
        return NotImplementedError(f"slq/models/families: {type(self).__name__} has no {member}(): docs/backbones.md")

    @staticmethod
    def text_position_ids(attention_mask: Tensor) -> Tensor:
        """Plain positions (B, L) that count a row's own tokens; padding gets 0 and is never attended to."""
        return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def load_family(name: str, config: Any, image_processor: Any) -> Family:
    """The adapter in `slq/models/families/<name>.py`."""
    return find_family_class(name)(config, image_processor)


def find_family_class(name: str) -> type[Family]:
    """The one subclass of Family that a family's module defines."""
    family_class: type[Family] = find_subclass(importlib.import_module(f"slq.models.families.{name}"), Family)
    return family_class


def find_subclass(module: ModuleType, base: Any) -> Any:
    """The one subclass of `base` that a module defines."""
    (subclass,) = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, base) and item.__module__ == module.__name__
    ]
    return subclass
