"""What a backbone family must say about itself; everything else is shared."""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

FEATURES = "features"  # in place of an image's pixels: what the vision tower made of them


@dataclass(frozen=True)
class Pixels:
    """One processed image: the tensors that the family's forward takes, and the image tokens it occupies.

    In place of its pixels it may hold FEATURES (image tokens, vectors, d), as `Family.look_at` gave them.
    """

    tensors: dict[str, Tensor]
    tokens: int


class Family(ABC):
    """Adapter of a backbone family: image processing, image-token expansion, positions."""

    placeholder: str  # what the chat template writes for an image

    def __init__(self, config: Any, image_processor: Any) -> None:
        self.config = config
        self.image_processor = image_processor

    @abstractmethod
    def process(self, image: Image.Image) -> Pixels:
        """Tensors of one RGB image; each is concatenated along its first axis in a batch.

        A family may take limits as further arguments with defaults: `retention_images` in config.yaml sets them.
        """

    def process_question(self, images: Sequence[Image.Image], **limits: int) -> list[Pixels]:
        """Tensors of the images of one question; a family may take limits that they share, and hands on the others."""
        process: Any = self.process
        return [process(image, **limits) for image in images]

    @abstractmethod
    def expand(self, tokens: int) -> str:
        """Text that replaces the placeholder of an image of so many tokens."""

    @abstractmethod
    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Position ids of a left-padded batch, (B, L) or (axes, B, L), as the family's own full forward has them."""

    def extra_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        """What else the family's forward and generation want to know about the tokens."""
        return {}

    @property
    def limit(self) -> float:
        """How many positions the language model has; infinite where its configuration names no number."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None) or math.inf

    def too_long(self, inputs: Mapping[str, Tensor], tokenizer: Any, behind: int | Tensor = 0) -> str | None:
        """What is wrong if the longest row of a batch, and `behind` tokens more, needs more positions than there are.

        Args:
            inputs: input_ids, attention_mask and position_ids of a left-padded batch.
            behind: of every row, or of each (B,).
        """
        rows = len(inputs["input_ids"])
        needed = inputs["position_ids"].amax(-1).view(-1, rows).amax(0) + 1 + behind
        row = int(needed.argmax())
        if needed[row] <= self.limit:
            return None
        ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        begin = tokenizer.decode(ids[:30], skip_special_tokens=True).strip()
        return (
            f"an input needs {int(needed[row])} positions, and the language model has {self.limit} "
            f"(max_position_embeddings): shorten it; it begins {begin!r}"
        )

    def look_at(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """What the vision tower makes of a batch's images: (image tokens, vectors, d), DeepStack's vectors behind."""
        raise self._lacks("look_at")

    def seen(self, features: Tensor) -> Any:
        """The same as the family's forward takes it, `mm_encoder_outputs["image"]`."""
        raise self._lacks("seen")

    def noise(self, pixels: int, generator: torch.Generator) -> Pixels:
        """An image of about so many random pixels, without an image processor: for a model without a snapshot."""
        raise self._lacks("noise")

    def _lacks(self, member: str) -> NotImplementedError:
        """A family need not be able to keep image features (`training.prefix: vision`), nor to be benched."""
        return NotImplementedError(f"slq/models/families: {type(self).__name__} has no {member}(): docs/backbones.md")

    @staticmethod
    def text_positions(attention_mask: Tensor) -> Tensor:
        """Plain positions (B, L) that count a row's own tokens; padding gets 0 and is never attended to."""
        return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def load_family(name: str, config: Any, image_processor: Any) -> Family:
    """The adapter in `slq/models/families/<name>.py`."""
    return family_class(name)(config, image_processor)


def family_class(name: str) -> type[Family]:
    """The one subclass of Family that a family's module defines."""
    module = importlib.import_module(f"slq.models.families.{name}")
    (adapter,) = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Family) and item.__module__ == module.__name__
    ]
    return adapter
