"""Conversion of images to plain RGB, the same on every machine and documented in docs/data.md."""

from PIL import Image, ImageOps

MAX_ASPECT_RATIO = 200  # Qwen3-VL's processor refuses images beyond it
BACKGROUND = (255, 255, 255, 255)  # behind transparent pixels: figures are drawn for white paper
LEVELS_16_TO_8_BITS = 257  # 16-bit levels per 8-bit level


class UnsupportedImageError(ValueError):
    """An image that can be decoded but is refused."""


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an opened image to RGB as a viewer shows it: upright, over white, in three channels of 8 bits.

    Raises:
        UnsupportedImageError: more than 16 bits a channel, or an aspect ratio above MAX_ASPECT_RATIO.
    """
    if max(image.size) > MAX_ASPECT_RATIO * min(image.size):
        raise UnsupportedImageError(
            f"{image.width} x {image.height} pixels; expected sides that differ at most {MAX_ASPECT_RATIO}-fold"
        )
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return upright.point(lambda level: level / LEVELS_16_TO_8_BITS, "L").convert("RGB")
    if upright.mode in ("I", "F"):
        raise UnsupportedImageError(f"mode {upright.mode}, 32 bits a channel; expected 8 or 16")
    if upright.has_transparency_data:
        with_alpha = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", with_alpha.size, BACKGROUND), with_alpha).convert("RGB")
    return upright.convert("RGB")
