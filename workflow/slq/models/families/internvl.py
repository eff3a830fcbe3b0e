"""InternVL3 in transformers' native port (`InternVLForConditionalGeneration`)."""

from typing import Any

from PIL import Image, ImageOps
from torch import Tensor

from slq.models.family import Family, Pixels

GREY = (127, 127, 127)  # the padding of the released code


class InternVL(Family):
    """One padded square tile per image, as SLQ trains and evaluates; `<img>…</img>` around its image tokens."""

    placeholder = "<IMG_CONTEXT>"

    def process(self, image: Image.Image) -> Pixels:
        side = max(image.size)
        square = ImageOps.pad(image, (side, side), color=GREY)
        out = self.image_processor(images=[square], crop_to_patches=False, return_tensors="pt")
        return Pixels({"pixel_values": out["pixel_values"]}, tokens=self.config.image_seq_length)

    def expand(self, tokens: int) -> str:
        return f"<img>{self.placeholder * tokens}</img>"

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        return self.text_positions(inputs["attention_mask"])
