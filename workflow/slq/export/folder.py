"""The exported folder: whole under its name, or not there."""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from slq.common.errors import SlqError
from slq.common.files import digest, read_json, sha256, write_json, write_text
from slq.common.fingerprint import fingerprint
from slq.common.snapshots import write_manifest
from slq.config.loading import Config
from slq.evaluation.retrieval import load_run
from slq.export.adapters import FOLDER, Base, add_queries, read_base, write_lora, write_queries
from slq.export.card import write_card
from slq.export.trained import TrainedRun
from slq.methods import registry
from slq.models.backbone import Backbone, pick_device
from slq.models.family import family_class
from slq.models.prefix import encode, message

SCHEMA = 1
# What loading needs; sentence-transformers looks before it reads weights.
REQUIREMENTS = {"transformers": ">=5.23", "peft": ">=0.18", "pillow": ">=11"}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "slq_retriever.Retriever"},
    {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.base.modules.Normalize"},
]
CODE = {
    "slq_retriever": "slq.export.slq_retriever",
    "slq_adapter": "slq.models.families.{family}",
    "slq_family": "slq.models.family",
    "slq_pictures": "slq.datasets.image_modes",
}
TEXTS = ("a red circle", "on the left a red circle and on the right a blue square")
# Of the largest difference in any number of a unit vector, by the precision that the run was evaluated in.
NEAR = {"float64": 1e-4, "float32": 1e-4, "bfloat16": 1e-2, "float16": 1e-2}
PROCESSOR = ("preprocessor_config.json", "processor_config.json")
# Modules that decide which vectors an export makes: this one writes what they are read by, and imports the others.
EMBEDDING = ("slq.export.folder", "slq.export.slq_retriever")


def export(run: TrainedRun, config: Config, out: Path) -> None:
    """Write a run as a folder that sentence-transformers and PEFT load.

    Raises:
        SlqError: `out` is there already, the run's files do not fit each other, or what was written makes other vectors
            than the run.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SlqError(f"{out}: is there already; name another folder, or remove it")
    with staged(out) as folder:
        base, tokenizer = read_base(run.snapshot)
        write_trained(run, base, tokenizer, folder)
        write_code(run.settings["family"], folder)
        for name in PROCESSOR:
            if (run.snapshot / name).exists():
                shutil.copyfile(run.snapshot / name, folder / name)
        write_json(folder / "modules.json", MODULES)
        write_json(folder / "1_Normalize" / "config.json", {})
        write_json(
            folder / "config_sentence_transformers.json",
            {"model_type": "SentenceTransformer", "requirements": REQUIREMENTS, "similarity_fn_name": "cosine"},
        )
        # Read by mteb alone, to know what a model of the hub takes.
        write_json(folder / "sentence_bert_config.json", {"modality_config": {"image": {}, "text": {}}})
        write_card(run, base, config, folder)
        write_manifest(folder, {"run": run.name, "backbone_sha256": run.adapter["backbone_sha256"]})
        require_agreement(run, folder)


def export_once(run: TrainedRun, config: Config) -> Path:
    """The run's export in scratch, `exports/<key>`, which is written when it is not there.

    Raises:
        SlqError: as `export`.
    """
    folder = Path(config["scratch"], "exports", export_key(run))
    if not folder.exists():
        try:
            export(run, config, folder)
        except SlqError:
            if not folder.exists():  # else of two that began together the other was first
                raise
    return folder


def export_key(run: TrainedRun) -> str:
    """Identity of a retriever: another adapter, backbone, prompt, precision or code is another."""
    weights = run.weights / registry.TENSORS
    settings = {key: run.settings[key] for key in ("family", "dtype", "prompt")}
    adapter = {"tensors": sha256(weights) if weights.exists() else None, **run.adapter}
    code = fingerprint(*EMBEDDING, families=[settings["family"]])
    return digest({"adapter": adapter, "settings": settings, "code": code})[:16]


def write_trained(run: TrainedRun, base: Base, tokenizer: Any, folder: Path) -> None:
    """Write what was trained, the tokenizer, and retriever.json that says how they are read.

    Raises:
        SlqError: the run's method is none that an export has a form for.
    """
    method, tuning, dtype = run.adapter["method"], run.adapter["tuning"], run.settings["dtype"]
    count, rows, weights = 1, base.rows, base.weights
    place: dict[str, Any] = {"model": base.model, "revision": base.revision} if base.model else {"folder": FOLDER}
    if method == "slq":
        count = tuning["queries"]
        ids = add_queries(tokenizer, count)
        write_queries(run.weights, base, ids, folder, dtype)
        rows = max(base.rows, ids[-1] + 1)
    elif method == "lora":
        write_lora(run.weights, tuning, base, folder)
    elif method == "full_ft":
        backbone = Backbone.load(run.snapshot, run.settings["family"], dtype)
        registry.load(backbone, run.weights, run.adapter["backbone_sha256"])
        backbone.model.save_pretrained(folder)
        place, weights = {"folder": "."}, {path.name: sha256(path) for path in folder.glob("*.safetensors")}
    elif method != "base":
        raise SlqError(
            f"{run.name}: its method is '{method}', for which slq export has no form; expected base, full_ft, lora or "
            "slq"
        )
    if place == {"folder": FOLDER}:
        for name in read_json(run.snapshot / "manifest.json")["files"]:
            (folder / FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.snapshot / name, folder / FOLDER / name)
    tokenizer.save_pretrained(folder)
    write_json(
        folder / "retriever.json",
        {
            "schema": SCHEMA,
            "method": method,
            "read_out": count,
            "dimension": base.width,
            "dtype": dtype,
            "instruction": run.settings["prompt"],
            "base": {**place, "rows": base.rows, "rows_needed": rows, "width": base.width, "weights": weights},
        },
    )


def write_code(family: str, folder: Path) -> None:
    """Write the files of the package that loading runs, with imports of each other in place of the package's.

    Raises:
        SlqError: the family's adapter imports more of the package than its base class.
    """
    for name, module in CODE.items():
        origin = Path(str(getattr(find_spec(module.format(family=family)), "origin", None)))
        text = origin.read_text(encoding="utf-8")
        text = text.replace("from slq.models.family import", "from .slq_family import")
        if name == "slq_adapter":
            text += f"\n\nAdapter = {family_class(family).__name__}\n"
        if found := re.search(r"^\s*(?:from|import) slq\b.*", text, re.MULTILINE):
            raise SlqError(f"{origin}: cannot travel with an export, because of {found[0]!r} (docs/backbones.md)")
        write_text(folder / f"{name}.py", text)


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its name when all is written, and is removed when something fails.

    Raises:
        SlqError: it cannot be written, or a file of the run or the backbone cannot be read.
    """
    place = out.resolve()  # of a link what it names, and of `.` its name
    stem = f".{place.name}."
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=stem, dir=place.parent) as held:
            folder = Path(held, "new")  # with the permissions of a folder that a person makes
            folder.mkdir()
            yield folder
            folder.rename(place)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.strerror:
            named = Path(error.filename2 or error.filename or place)
            if place.is_relative_to(named) or str(named).startswith(str(place.with_name(stem))):
                raise SlqError(f"{out}: cannot be written: {error.strerror}") from error
        said = " ".join(str(error).split())
        raise SlqError(f"{out}: not exported: a file of the run or its backbone cannot be read: {said}") from error


# ---- loaded as whoever uses it will, and compared with the run itself ------------------------------------------------


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
