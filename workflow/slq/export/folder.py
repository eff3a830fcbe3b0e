"""Export of a run: its folder, which is written completely or not at all, and the comparison of its embeddings."""

import inspect
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from slq.common.errors import SlqError
from slq.common.files import hash_file, hash_json, read_json, write_json, write_text
from slq.common.fingerprint import fingerprint
from slq.common.snapshots import write_manifest
from slq.config.loading import Config
from slq.evaluation.retrieval import load_run
from slq.export.adapters import BASE_FOLDER, BaseModelInfo, ExportFolder, read_base_info
from slq.export.card import write_model_card
from slq.export.trained_run import TrainedRun
from slq.methods.adapter import ADAPTER_WEIGHTS
from slq.methods.registry import find_method, method_name
from slq.models.backbone import pick_device
from slq.models.families import find_family_class
from slq.models.prefix import message_parts, tokenize_message

SCHEMA = 1
# Packages needed to load an export; sentence-transformers checks them before it reads weights.
REQUIREMENTS = {"transformers": ">=5.23", "peft": ">=0.18", "pillow": ">=11"}
CODE_FILES = {
    "slq_retriever": "slq.export.slq_retriever",
    "slq_adapter": "slq.models.families.{family}",
    "slq_family": "slq.models.family",
    "slq_turn": "slq.models.turn",
    "slq_pictures": "slq.datasets.image_conversion",
}
CHECK_TEXTS = ("a red circle", "on the left a red circle and on the right a blue square")
# Largest allowed difference in any component of a unit vector, by the run's precision.
MAX_DIFFERENCE = {"float64": 1e-4, "float32": 1e-4, "bfloat16": 1e-2, "float16": 1e-2}
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
# Modules that determine an export's embeddings. This module writes the loading code and imports all others.
EMBEDDING_MODULES = ("slq.export.folder", "slq.export.slq_retriever")


def export_run(run: TrainedRun, config: Config, out: Path) -> None:
    """Write a run as a folder that sentence-transformers and PEFT load.

    Raises:
        SlqError: `out` already exists and is not an empty folder, the run's files do not match each other, or the
            export computes different embeddings from the run's.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SlqError(f"{out}: already exists; name another folder, or remove this one")
    with stage_folder(out) as folder:
        base, tokenizer = read_base_info(run.snapshot)
        modules = write_retriever(run, base, tokenizer, folder)
        write_code(run.settings["family"], folder)
        for name in PROCESSOR_FILES:
            if (run.snapshot / name).exists():
                shutil.copyfile(run.snapshot / name, folder / name)
        write_modules(modules, folder)
        write_json(
            folder / "config_sentence_transformers.json",
            {"model_type": "SentenceTransformer", "requirements": REQUIREMENTS, "similarity_fn_name": "cosine"},
        )
        # Only mteb reads this file, to find out which modalities a model on the hub accepts.
        write_json(folder / "sentence_bert_config.json", {"modality_config": {"image": {}, "text": {}}})
        write_model_card(run, base, config, folder)
        write_manifest(folder, {"run": run.name, "backbone_sha256": run.adapter_record["backbone_sha256"]})
        require_same_embeddings(run, folder)


def export_once(run: TrainedRun, config: Config) -> Path:
    """Return the run's export in scratch, `exports/<key>`, and write it first if it does not exist."""
    folder = Path(config["scratch"], "exports", export_key(run))
    if not folder.exists():
        try:
            export_run(run, config, folder)
        except SlqError:
            if not folder.exists():  # otherwise another process wrote it in the meantime
                raise
    return folder


def export_key(run: TrainedRun) -> str:
    """Compute the key of an export, which changes with the adapter, backbone, prompt, precision or code."""
    tensors_path = run.adapter_folder / ADAPTER_WEIGHTS
    settings = {key: run.settings[key] for key in ("family", "dtype", "prompt")}
    adapter = {"tensors": hash_file(tensors_path) if tensors_path.exists() else None, **run.adapter_record}
    name = method_name(run.adapter_record)
    code = fingerprint(*EMBEDDING_MODULES, families=[settings["family"]], methods=[name])
    # The code fingerprint ignores a method's `export`, so the method's whole file is hashed as well.
    method_file = hash_file(Path(inspect.getfile(type(find_method(name)))))
    return hash_json({"adapter": adapter, "settings": settings, "code": code, "method": method_file})[:16]


def write_retriever(run: TrainedRun, base: BaseModelInfo, tokenizer: Any, folder: Path) -> dict[str, str]:
    """Write the trained weights, the tokenizer, and retriever.json, which describes how to load them.

    Returns:
        the classes of the modules that follow the read-out, by folder.
    """
    exported = ExportFolder(run, base, tokenizer, folder)
    find_method(method_name(run.adapter_record)).export(exported, run.adapter_record["hyperparameters"])
    if exported.base_location == {"folder": BASE_FOLDER}:
        for name in read_json(run.snapshot / "manifest.json")["files"]:
            (folder / BASE_FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.snapshot / name, folder / BASE_FOLDER / name)
    tokenizer.save_pretrained(folder)
    write_json(
        folder / "retriever.json",
        {
            "schema": SCHEMA,
            "method": run.adapter_record["method"],
            "read_out": exported.read_out,
            "dimension": base.embedding_dim,
            "dtype": run.settings["dtype"],
            "instruction": run.settings["prompt"],
            "base": {
                **exported.base_location,
                "rows": base.embedding_rows,
                "rows_needed": exported.rows_needed,
                "width": base.embedding_dim,
                "weights": exported.weights_sha256,
            },
        },
    )
    return exported.modules


def write_modules(modules: Mapping[str, str], folder: Path) -> None:
    """Write modules.json of sentence-transformers: the retriever, the given modules by folder, and normalisation."""
    normalize = f"{1 + len(modules)}_Normalize"
    classes = {
        "": "slq_retriever.ExportedRetriever",
        **modules,
        normalize: "sentence_transformers.base.modules.Normalize",
    }
    entries = enumerate(classes.items())
    listed = [{"idx": place, "name": str(place), "path": path, "type": name} for place, (path, name) in entries]
    write_json(folder / "modules.json", listed)
    write_json(folder / normalize / "config.json", {})


def write_code(family: str, folder: Path) -> None:
    """Copy the modules that are run when the export is loaded, with a relative import of the family's base class.

    Raises:
        SlqError: the family's adapter imports anything else from this package.
    """
    for name, module in CODE_FILES.items():
        origin = Path(str(getattr(find_spec(module.format(family=family)), "origin", None)))
        text = origin.read_text(encoding="utf-8")
        text = text.replace("from slq.models.family import", "from .slq_family import")
        if name == "slq_adapter":
            text += f"\n\nFamilyAdapter = {find_family_class(family).__name__}\n"
        if package_import := re.search(r"^\s*(?:from|import) slq\b.*", text, re.MULTILINE):
            raise SlqError(
                f"{origin}: cannot be copied into an export, because of {package_import[0]!r}; see docs/backbones.md"
            )
        write_text(folder / f"{name}.py", text)


@contextmanager
def stage_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder next to `out`; rename it to `out` on success, and remove it on failure.

    Raises:
        SlqError: the folder cannot be written, or a file of the run or the backbone cannot be read.
    """
    target = out.resolve()  # follows a link, and replaces `.` by the folder's name
    temporary_prefix = f".{target.name}."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=temporary_prefix, dir=target.parent) as temporary:
            folder = Path(temporary, "new")  # unlike its parent, it gets ordinary permissions
            folder.mkdir()
            yield folder
            folder.rename(target)
    except OSError as error:
        if error.strerror:
            failed_path = Path(error.filename2 or error.filename or target)
            if target.is_relative_to(failed_path) or str(failed_path).startswith(
                str(target.with_name(temporary_prefix))
            ):
                raise SlqError(f"{out}: cannot be written: {error.strerror}") from error
        reason = " ".join(str(error).split())
        raise SlqError(f"{out}: not exported: a file of the run or its backbone cannot be read: {reason}") from error


# ---- loading an export as a user does, and comparing it with the run -------------------------------------------------


def load_export(folder: Path, snapshots: Iterable[Path]) -> Any:
    """Load an export with sentence-transformers, which runs the export's code.

    Args:
        folder: the export.
        snapshots: local backbones; if the base model is on the hub, the first backbone with the same weights is used
            instead.
    """
    from sentence_transformers import SentenceTransformer

    base, base_options = read_json(folder / "retriever.json")["base"], {}
    if "model" in base:
        for snapshot in snapshots:
            if base["weights"].items() <= read_json(snapshot / "manifest.json")["files"].items():
                base_options = {"base": str(snapshot)}
                break
    load_options: dict[str, Any] = {"device": pick_device(), "trust_remote_code": True, "local_files_only": True}
    return SentenceTransformer(str(folder), model_kwargs=base_options, **load_options)


def draw_check_images() -> list[Image.Image]:
    """Draw two images, one wide and one tall, without uniform areas."""
    wide, tall = Image.linear_gradient("L").resize((160, 96)), Image.radial_gradient("L").resize((72, 120))
    flipped = Image.Transpose.FLIP_LEFT_RIGHT
    return [Image.merge("RGB", (one, one.rotate(180), one.transpose(flipped))) for one in (wide.rotate(9), tall)]


def embed_with_run(run: TrainedRun) -> np.ndarray:
    """Embed CHECK_TEXTS and the check images as evaluation does; return unit vectors (4, d)."""
    backbone, retriever = load_run(run.settings, run.snapshot, run.adapter_folder)
    prompt = run.settings["prompt"]
    messages = [message_parts(text, prompt["text"]) for text in CHECK_TEXTS]
    messages += [message_parts(backbone.family.process(image), prompt["image"]) for image in draw_check_images()]
    with torch.inference_mode():
        vectors = [retriever.embed([tokenize_message(backbone, parts)]) for parts in messages]
    return torch.cat(vectors).float().cpu().numpy()


def require_same_embeddings(run: TrainedRun, folder: Path) -> None:
    """Check that an export and its run compute the same embeddings of two texts and two images."""
    run_embeddings = embed_with_run(run)
    try:
        model = load_export(folder, [run.snapshot])
        export_embeddings = np.concatenate([model.encode([item]) for item in [*CHECK_TEXTS, *draw_check_images()]])
    except Exception as error:  # any library may raise any error, and each means that the export is unusable
        raise SlqError(
            f"{run.name}: not exported: the written folder cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    dtype = run.settings["dtype"]
    max_differences = (
        np.abs(run_embeddings - export_embeddings).max(1)
        if run_embeddings.shape == export_embeddings.shape
        else np.full(len(run_embeddings), np.inf)
    )
    if not (max_differences <= MAX_DIFFERENCE[dtype]).all():
        names = (*(repr(text) for text in CHECK_TEXTS), "a wide image", "a tall image")
        difference_list = ", ".join(f"{name}: {value:.2g}" for name, value in zip(names, max_differences, strict=True))
        raise SlqError(
            f"{run.name}: not exported: its embeddings would differ from the run's; expected differences of at most "
            f"{MAX_DIFFERENCE[dtype]:g} ({dtype}), found {difference_list}: the backbone computes something that an "
            "export does not reproduce"
        )
