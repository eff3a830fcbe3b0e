"""What every system that retrieves by vectors is here: texts and images in, unit vectors out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from slq.comparators.mllm import MllmEncoder
from slq.models.backbone import Backbone, pick_device
from slq.models.dual import DualEncoder

DIRECTIONS = ("t2i", "i2t")


class Encoder(Protocol):
    """Embeds what is compared in one direction."""

    image_processor: Any

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (n, d), float32."""
        ...

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors (n, d), float32."""
        ...


def load_encoders(model: dict[str, Any], folder: Path) -> dict[str, Encoder]:
    """The encoder of each direction; one and the same, where both directions are told the same.

    Args:
        model: of the rule's settings: `encoder`, or `backbone` with family, dtype and readout.
        folder: the model's snapshot.

    Raises:
        SlqError: the snapshot cannot be used.
    """
    if "encoder" in model:
        return dict.fromkeys(DIRECTIONS, DualEncoder.load(folder, pick_device()))
    backbone = Backbone.load(folder, model["family"], model["dtype"], pick_device())
    readout, turns = model["readout"], model["readout"]["instructions"]
    texts_search = MllmEncoder.of(backbone, readout, "t2i")
    alike = turns["i2t"] == turns["t2i"]
    return {"t2i": texts_search, "i2t": texts_search if alike else MllmEncoder.of(backbone, readout, "i2t")}
