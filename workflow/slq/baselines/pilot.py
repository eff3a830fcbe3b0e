"""Diagnostic pilot (Figure 2 of the paper's poster): cosine similarities of a few texts and images, zero-shot."""

from pathlib import Path
from typing import Any

from slq.baselines.mllm_encoder import MllmEncoder
from slq.common.files import hash_file, hash_json, write_json
from slq.common.snapshots import snapshot_sha256
from slq.datasets.pilot_images import find_pilot_images, open_pilot_image
from slq.models.backbone import Backbone, pick_device

SCHEMA = 1
COSINE_DECIMALS = 6  # further decimals of a cosine are rounding errors


def measure_pilot(settings: dict[str, Any], backbone_folder: Path, data: Path, out: Path) -> None:
    """Write the cosine similarity of every text with every image, for each read-out.

    Args:
        settings: `backbone` with its family and dtype, `texts`, `images`, and complete entries of `readouts`.
    """
    files = find_pilot_images(settings, data)
    images = [open_pilot_image(path) for path in files.values()]
    backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
    readouts = []
    for readout in settings["readouts"]:
        encoder = MllmEncoder.from_readout(backbone, readout, "t2i")  # a text is the query
        # Items are embedded one at a time, so that a cosine depends only on its own pair and nothing is padded.
        text_vectors = [encoder.encode_texts([text])[0] for text in settings["texts"]]
        image_vectors = [encoder.encode_images([image])[0] for image in images]
        cosines = [[round(float(text @ image), COSINE_DECIMALS) for image in image_vectors] for text in text_vectors]
        readouts.append(readout | {"cosine": cosines})
    inputs = {"backbone": snapshot_sha256(backbone_folder), "settings": hash_json(settings)}
    inputs |= {f"image {name}": hash_file(path) for name, path in files.items()}
    described = {key: settings[key] for key in ("backbone", "texts", "images")}
    write_json(out, {"schema": SCHEMA, **described, "readouts": readouts, "inputs": inputs})
