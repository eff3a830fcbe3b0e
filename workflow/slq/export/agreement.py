"""An export loaded as whoever uses it will, and compared with the run itself on the same texts and images."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from slq.errors import SlqError
from slq.evaluation.run import load_run
from slq.export.trained import TrainedRun
from slq.files import read_json
from slq.models.backbone import pick_device
from slq.models.prefix import encode, message

TEXTS = ("a red circle", "on the left a red circle and on the right a blue square")
# Of the largest difference in any number of a unit vector, by the precision that the run was evaluated in.
NEAR = {"float64": 1e-4, "float32": 1e-4, "bfloat16": 1e-2, "float16": 1e-2}


def load_export(folder: Path, snapshots: Iterable[Path]) -> Any:
    """Load an export by sentence-transformers, which runs the code in it.

    Args:
        snapshots: backbones that are here: the first with the export's weights stands in for a base on the hub.
    """
    from sentence_transformers import SentenceTransformer

    base, options = read_json(folder / "retriever.json")["base"], {}
    if "model" in base:
        for snapshot in snapshots:
            if base["weights"].items() <= read_json(snapshot / "manifest.json")["files"].items():
                options = {"base": str(snapshot)}
                break
    how: dict[str, Any] = {"device": pick_device(), "trust_remote_code": True, "local_files_only": True}
    return SentenceTransformer(str(folder), model_kwargs=options, **how)


def draw_images() -> list[Image.Image]:
    """Draw two images, one wide and one tall, that are nowhere the same."""
    wide, tall = Image.linear_gradient("L").resize((160, 96)), Image.radial_gradient("L").resize((72, 120))
    flipped = Image.Transpose.FLIP_LEFT_RIGHT
    return [Image.merge("RGB", (one, one.rotate(180), one.transpose(flipped))) for one in (wide.rotate(9), tall)]


def embed_by_run(run: TrainedRun) -> np.ndarray:
    """Unit vectors (4, d) of TEXTS and the drawn images, as evaluation makes them."""
    backbone, retriever = load_run(run.settings, run.snapshot, run.weights)
    prompt = run.settings["prompt"]
    messages = [message(text, prompt["text"]) for text in TEXTS]
    messages += [message(backbone.family.process(image), prompt["image"]) for image in draw_images()]
    with torch.inference_mode():
        vectors = [retriever.embed([encode(backbone, parts)]) for parts in messages]
    return torch.cat(vectors).float().cpu().numpy()


def require_agreement(run: TrainedRun, folder: Path) -> None:
    """Compare what an export makes of two texts and two images with what the run makes of them.

    Raises:
        SlqError: they differ, or the export cannot be loaded.
    """
    ours = embed_by_run(run)
    try:
        model = load_export(folder, [run.snapshot])
        theirs = np.concatenate([model.encode([item]) for item in [*TEXTS, *draw_images()]])
    except Exception as error:  # of whatever library: what was written cannot be used
        raise SlqError(
            f"{run.name}: not exported: what was written cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    dtype = run.settings["dtype"]
    apart = np.abs(ours - theirs).max(1) if ours.shape == theirs.shape else np.full(len(ours), np.inf)
    if not (apart <= NEAR[dtype]).all():
        names = (*(repr(text) for text in TEXTS), "a wide image", "a tall image")
        found = ", ".join(f"{name}: {value:.2g}" for name, value in zip(names, apart, strict=True))
        raise SlqError(
            f"{run.name}: not exported: its vectors would not be the run's own; expected differences of at most "
            f"{NEAR[dtype]:g} ({dtype}), found {found}: the backbone does what an export cannot say"
        )
