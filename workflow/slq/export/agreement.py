"""What was written against the run itself: the same texts and images, embedded by both."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

from slq.errors import SlqError
from slq.evaluation.run import load_run
from slq.files import read_json
from slq.finished import Finished
from slq.models.backbone import pick_device
from slq.models.prefix import encode, message

NEEDED = "sentence-transformers"
PACKAGE = "slq_exported"  # the name that an export's code is imported under
TEXTS = ("a red circle", "on the left a red circle and on the right a blue square")
# Of the largest difference in any number of a unit vector, by the precision that the run was evaluated in.
NEAR = {"float64": 1e-4, "float32": 1e-4, "bfloat16": 1e-2, "float16": 1e-2}


def require_sentence_transformers() -> None:
    """Raise SlqError unless what loads an export is installed."""
    if find_spec("sentence_transformers") is None:
        raise SlqError(
            f"slq export compares what it writes with the run's own vectors, by {NEEDED}, which is not installed here: "
            f"pip install '{NEEDED}>=6.2'"
        )


def pictures() -> list[Image.Image]:
    """Two drawn images, one wide and one tall, that are nowhere the same."""
    wide, tall = Image.linear_gradient("L").resize((160, 96)), Image.radial_gradient("L").resize((72, 120))
    flipped = Image.Transpose.FLIP_LEFT_RIGHT
    return [Image.merge("RGB", (one, one.rotate(180), one.transpose(flipped))) for one in (wide.rotate(9), tall)]


def own_vectors(run: Finished) -> np.ndarray:
    """Unit vectors (4, d) of TEXTS and pictures, as evaluation makes them."""
    backbone, retriever = load_run(run.settings, run.snapshot, run.weights)
    prompt = run.settings["prompt"]
    messages = [message(text, prompt["text"]) for text in TEXTS]
    messages += [message(backbone.family.process(image), prompt["image"]) for image in pictures()]
    with torch.inference_mode():
        vectors = [retriever.embed([encode(backbone, parts)]) for parts in messages]
    return torch.cat(vectors).float().cpu().numpy()


def exported_vectors(folder: Path, snapshot: Path) -> np.ndarray:
    """The same by the code and weights of an export; a base that it takes from the hub is the snapshot here."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize

    options = {"base": str(snapshot)} if "model" in read_json(folder / "retriever.json")["base"] else {}
    with imported(folder) as code:
        module = code.Retriever.load(str(folder), local_files_only=True, model_kwargs=options)
        model: Any = SentenceTransformer(modules=[module, Normalize()], device=pick_device())
        return np.concatenate([model.encode([item]) for item in [*TEXTS, *pictures()]])


@contextmanager
def imported(folder: Path) -> Iterator[ModuleType]:
    """The module `slq_retriever` of an export, with those beside it; nothing is written into the folder."""
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.modules[PACKAGE] = package
    try:
        importlib.invalidate_caches()
        yield importlib.import_module(f"{PACKAGE}.slq_retriever")
    finally:
        sys.dont_write_bytecode = wrote
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


def require_agreement(run: Finished, folder: Path) -> None:
    """Compare what an export makes of two texts and two images with what the run makes of them.

    Raises:
        SlqError: they differ, or the export cannot be loaded.
    """
    ours = own_vectors(run)
    try:
        theirs = exported_vectors(folder, run.snapshot)
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
