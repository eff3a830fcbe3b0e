"""Conversion of images to plain RGB, the same on every machine and documented in docs/own-data.md."""

from typing import Any

from PIL import ExifTags, Image

MAX_ASPECT_RATIO = 200  # Qwen3-VL's processor refuses images beyond it
BACKGROUND = (255, 255, 255, 255)  # behind transparent pixels: figures are drawn for white paper
LEVELS_16_TO_8_BITS = 257  # 16-bit levels per 8-bit level
# What turns an image upright, by its EXIF orientation from 2 on.
UPRIGHT = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")


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
    image.load()
    orientation = _read_orientation(image)
    is_turned = orientation in range(2, 2 + len(UPRIGHT))
    upright = image.transpose(Image.Transpose[UPRIGHT[int(orientation) - 2]]) if is_turned else image
    if upright.mode.startswith("I;16"):
        return upright.point(lambda level: level / LEVELS_16_TO_8_BITS, "L").convert("RGB")
    if upright.mode in ("I", "F"):
        raise UnsupportedImageError(f"mode {upright.mode}, 32 bits a channel; expected 8 or 16")
    if upright.has_transparency_data:
        with_alpha = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", with_alpha.size, BACKGROUND), with_alpha).convert("RGB")
    return upright.convert("RGB")


def _read_orientation(image: Image.Image) -> Any:
    """Return the EXIF orientation of a loaded image; 1, upright, if it has no EXIF that can be read, as in viewers.

    No other tag is read: an image may have some that are invalid, which Pillow's `exif_transpose` writes anew.
    """
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # of damaged EXIF Pillow raises SyntaxError, struct.error, ValueError and others
        return 1
