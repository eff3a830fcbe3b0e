"""Images that are not plain RGB, as docs/own-data.md describes them, up to the families' tensors."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from oracles import untrained
from slq.common.errors import SlqError
from slq.datasets.splits import open_image

RED, WHITE, HALF = (255, 0, 0), (255, 255, 255), (255, 127, 127)


def kept(folder, image, style="PNG", **how):
    path = folder / f"image.{style.lower()}"
    image.save(path, style, **how)
    return path


def sixteen(level):
    return Image.fromarray(np.full((4, 6), level, np.uint16))


def palette(**how):
    image = Image.new("P", (6, 4))
    image.putpalette([255, 0, 0, 0, 255, 0])
    return image, "PNG", how


ODD = {
    "CMYK": ((Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "TIFF", {}), RED),
    "a palette": (palette(), RED),
    "a palette with a transparent colour": (palette(transparency=0), WHITE),
    "alpha, opaque": ((Image.new("RGBA", (6, 4), (255, 0, 0, 255)), "PNG", {}), RED),
    "alpha, transparent": ((Image.new("RGBA", (6, 4), (0, 0, 0, 0)), "PNG", {}), WHITE),
    "alpha, half": ((Image.new("RGBA", (6, 4), (255, 0, 0, 128)), "PNG", {}), HALF),
    "grey and alpha": ((Image.new("LA", (6, 4), (0, 0)), "PNG", {}), WHITE),
    "a transparent colour": ((Image.new("RGB", (6, 4), RED), "PNG", {"transparency": RED}), WHITE),
    "grey": ((Image.new("L", (6, 4), 90), "PNG", {}), (90, 90, 90)),
    "black and white": ((Image.new("1", (6, 4), 1), "PNG", {}), WHITE),
    "16 bits, middle": ((sixteen(32896), "PNG", {}), (128, 128, 128)),
    "16 bits, darkest": ((sixteen(0), "PNG", {}), (0, 0, 0)),
    "16 bits, lightest": ((sixteen(65535), "TIFF", {}), WHITE),
    "one pixel": ((Image.new("RGB", (1, 1), RED), "PNG", {}), RED),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_image_is_read_as_a_person_sees_it(tmp_path, kind):
    (image, style, how), colour = ODD[kind]
    found = open_image(kept(tmp_path, image, style, **how))
    assert found.mode == "RGB" and found.size == image.size
    assert found.getpixel((0, 0)) == found.getpixel((image.width - 1, image.height - 1)) == colour


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [(1, (6, 4), (0, 0)), (3, (6, 4), (5, 3)), (6, (4, 6), (3, 0)), (8, (4, 6), (0, 5))],
)
def test_an_image_is_turned_upright_as_its_exif_says(tmp_path, orientation, size, corner):
    image = Image.new("RGB", (6, 4), "blue")
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = open_image(kept(tmp_path, image, exif=exif))
    assert found.size == size and found.getpixel(corner) == RED


@pytest.mark.parametrize(
    ("image", "style", "words"),
    [
        (Image.fromarray(np.full((4, 6), 70_000, np.int32)), "TIFF", "mode I, 32 bits per channel; expected 8 or 16"),
        (Image.fromarray(np.full((4, 6), 0.5, np.float32)), "TIFF", "mode F, 32 bits per channel"),
        (Image.new("RGB", (201, 1)), "PNG", "201 x 1 pixels; expected an aspect ratio of at most 200"),
    ],
    ids=["32 bits", "floating point", "a line"],
)
def test_an_image_that_is_not_read_is_named_with_the_reason(tmp_path, image, style, words):
    path = kept(tmp_path, image, style)
    with pytest.raises(SlqError) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{path}: not a readable image ({words}")


LIMITS = {"mini-internvl": {"max_tiles": 12}, "mini-qwen3vl": {"min_pixels": 9216, "max_pixels": 65536}}


@pytest.mark.parametrize("name", LIMITS)
def test_families_take_one_pixel_and_twenty_to_one(raw_config, tmp_path, name):
    """For retrieval and for questions, the tensors are finite and have the stated number of tokens."""
    backbone = untrained(name, raw_config["backbones"][name], tmp_path)
    for size in ((1, 1), (400, 20), (20, 400), (200, 1)):
        for limits in ({}, LIMITS[name]):
            pixels = backbone.family.process(Image.new("RGB", size, "red"), **limits)
            assert pixels.num_tokens > 0 and bool(pixels.tensors["pixel_values"].isfinite().all())
    tall, wide = (backbone.family.process(Image.new("RGB", size)).num_tokens for size in ((20, 400), (400, 20)))
    assert tall == wide


@pytest.mark.parametrize("name", LIMITS)
def test_images_are_processed_by_pil_whatever_is_installed(raw_config, tmp_path, name):
    """The processor's name goes into run.json (`provenance.image_processor`)."""
    assert type(untrained(name, raw_config["backbones"][name], tmp_path).family.image_processor).__name__.endswith(
        "Pil"
    )


def test_a_truncated_image_is_no_image(tmp_path):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(buffer, "JPEG")
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[: int(share * buffer.tell())])
        with pytest.raises(SlqError, match="not a readable image"):
            open_image(tmp_path / "cut.jpg")


# ---- metadata beside the pixels ----


def exif(orientation, *rational):
    """EXIF bytes with an orientation, and with a signed rational (XResolution) if one is given."""
    entries = [struct.pack("<HHII", 0x0112, 3, 1, orientation)]
    entries += [struct.pack("<HHII", 0x011A, 10, 1, 8 + 2 + 24 + 4)] if rational else []
    return (
        b"Exif\0\0II*\0\x08\0\0\0"
        + struct.pack("<H", len(entries))
        + b"".join(entries)
        + bytes(4)
        + (struct.pack("<iI", *rational) if rational else b"")
    )


@pytest.mark.parametrize("style", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_orientation_is_read_as_pillow_reads_it(tmp_path, style, orientation):
    """The pixels equal those of `ImageOps.exif_transpose` bit for bit; 0 and 9 are not valid orientations."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8))
    path = kept(tmp_path, image, style, exif=exif(orientation))
    with Image.open(path) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert np.array_equal(np.asarray(open_image(path)), np.asarray(expected))


@pytest.mark.parametrize("style", ["JPEG", "PNG", "WEBP"])
def test_a_tag_that_no_one_can_write_anew_leaves_the_orientation(tmp_path, style):
    """`exif_transpose` raises struct.error on a resolution of -1/0; we apply the orientation all the same."""
    image = Image.new("RGB", (6, 4), RED)
    path = kept(tmp_path, image, style, exif=exif(6, -1, 0))
    with Image.open(path) as opened, pytest.raises(struct.error):
        ImageOps.exif_transpose(opened)
    assert open_image(path).size == (4, 6)


def test_exif_that_cannot_be_read_turns_nothing(tmp_path):
    path = kept(tmp_path, Image.new("RGB", (6, 4), RED), "PNG", exif=b"Exif\0\0no TIFF")
    assert open_image(path).size == (6, 4)


@pytest.mark.parametrize("chunk", ["zTXt", "iTXt", "iCCP"])
def test_two_megabytes_beside_the_pixels_are_no_fault(tmp_path, chunk):
    info, many = PngInfo(), "x" * 2_000_000
    if chunk == "iCCP":
        path = kept(tmp_path, Image.new("RGB", (6, 4), RED), icc_profile=many.encode())
    else:
        (info.add_itxt if chunk == "iTXt" else info.add_text)("Comment", many, zip=True)
        path = kept(tmp_path, Image.new("RGB", (6, 4), RED), pnginfo=info)
    assert open_image(path).getpixel((0, 0)) == RED


def test_whatever_pillow_raises_is_one_message_with_the_file(tmp_path, monkeypatch):
    """Pillow's decoders raise many types of exceptions; each of these was observed, and others may follow."""
    path = kept(tmp_path, Image.new("RGB", (6, 4), RED))
    for error in (struct.error("x"), zlib.error("x"), EOFError(), TypeError("x"), IndexError("x"), KeyError("x"),
                  Image.DecompressionBombError("x"), AttributeError("x"), OverflowError("x\ny")):  # fmt: skip

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(SlqError) as caught:
            open_image(path)
        assert str(caught.value).startswith(f"{path}: not a readable image (") and "\n" not in str(caught.value)
