"""A few images that a user names in config.yaml: files of a folder, or images of a dataset's val split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from slq.common.errors import SlqError
from slq.datasets.splits import open_image, read_split


def find_pilot_images(settings: Mapping[str, Any], data: Path) -> dict[str, Path]:
    """Return the file of each image, by its name in config.yaml and in that order.

    Args:
        settings: `images`, the names, and either `folder`, which holds these files, or `dataset`, whose ids they are.
        data: the folder of the prepared datasets.

    Raises:
        SlqError: the dataset has no such image.
    """
    if "folder" in settings:
        return {name: Path(settings["folder"], name) for name in settings["images"]}
    split = read_split(data, settings["dataset"], "val")
    files = {item["id"]: split.root / item["image"] for item in split.items}
    for name in settings["images"]:
        if name not in files:
            raise SlqError(f"{settings['dataset']}/val: no image '{name}', which images in config.yaml names")
    return {name: files[name] for name in settings["images"]}


def open_pilot_image(path: Path) -> Image.Image:
    """Open one of these images as RGB.

    Raises:
        SlqError: it is missing or cannot be read.
    """
    return open_image(path, "mend it, or name another under images in config.yaml")
