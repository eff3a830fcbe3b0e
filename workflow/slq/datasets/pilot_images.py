"""Images of the pilot, which config.yaml names: files of a folder, or images of a dataset's val split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from slq.common.errors import SlqError
from slq.datasets.splits import open_image, read_split


def find_pilot_images(settings: Mapping[str, Any], data: Path) -> dict[str, Path]:
    """Return the file of each image, by its name in config.yaml and in the same order.

    Args:
        settings: `images`, a list of file names in `folder` or of image ids in `dataset`.
        data: folder of the prepared datasets.
    """
    if "folder" in settings:
        return {name: Path(settings["folder"], name) for name in settings["images"]}
    split = read_split(data, settings["dataset"], "val")
    files = {item["id"]: split.root / item["image"] for item in split.items}
    for name in settings["images"]:
        if name not in files:
            raise SlqError(f"{settings['dataset']}/val: no image '{name}', which is listed under images in config.yaml")
    return {name: files[name] for name in settings["images"]}


def open_pilot_image(path: Path) -> Image.Image:
    """Open an image of the pilot as RGB."""
    return open_image(path, "repair it, or name another image under images in config.yaml")
