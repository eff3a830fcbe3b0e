"""The diagnostic pilot (Figure 2 of the paper's poster): which of a few images a text is most similar to, untrained."""

from pathlib import Path
from typing import Any

from slq.baselines.mllm import MllmEncoder
from slq.common.files import digest, sha256, write_json
from slq.common.snapshots import identity
from slq.datasets.pilot_images import named_images, open_named
from slq.models.backbone import Backbone, pick_device

SCHEMA = 1
DIGITS = 6  # of a cosine; further ones are rounding of the arithmetic


def measure_pilot(settings: dict[str, Any], backbone_folder: Path, data: Path, out: Path) -> None:
    """Write the cosine of every text with every image, by read-out.

    Args:
        settings: the `backbone`, its family and dtype, `texts` and `images`, and whole entries of `readouts`

    Raises:
        SlqError: an image is missing or cannot be read; nothing is written.
    """
    files = named_images(settings, data)
    images = [open_named(path) for path in files.values()]
    backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
    found = []
    for readout in settings["readouts"]:
        encoder = MllmEncoder.of(backbone, readout, "t2i")  # a text is the query
        # One at a time: a cosine then depends on its own pair alone, and images of several sizes need no padding.
        texts = [encoder.encode_texts([text])[0] for text in settings["texts"]]
        pictures = [encoder.encode_images([image])[0] for image in images]
        cosines = [[round(float(text @ picture), DIGITS) for picture in pictures] for text in texts]
        found.append(readout | {"cosine": cosines})
    write_json(
        out,
        {
            "schema": SCHEMA,
            "backbone": settings["backbone"],
            "texts": settings["texts"],
            "images": settings["images"],
            "readouts": found,
            "inputs": {
                "backbone": identity(backbone_folder),
                "images": {name: sha256(path) for name, path in files.items()},
                "settings": digest(settings),
            },
        },
    )
