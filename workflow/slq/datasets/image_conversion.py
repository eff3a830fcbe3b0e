"""What becomes of an image that is not plain RGB: the same on every machine, and stated in docs/data.md."""

from PIL import Image, ImageOps

MAX_ASPECT_RATIO = 200  # of the sides: beyond it Qwen3-VL's processor takes none
BACKGROUND = (255, 255, 255, 255)  # behind what is transparent: figures are drawn for paper
LEVELS_16_TO_8_BITS = 257  # levels of 16 bits for one of 8


class UnsupportedImageError(ValueError):
    """An image that can be decoded and is not read all the same."""


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened image as a person sees it: upright, over white, in three channels of 8 bits.

    Raises:
        UnsupportedImageError: more than 16 bits a channel, or sides too unlike.
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
