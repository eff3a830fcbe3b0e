"""The exported folder: whole under its name, or not there."""

import glob
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from slq.code import fingerprint
from slq.config import Config
from slq.data.snapshots import write_manifest
from slq.errors import SlqError
from slq.export.adapters import FOLDER, Base, add_queries, read_base, write_lora, write_queries
from slq.export.agreement import require_agreement
from slq.export.card import write_card
from slq.export.trained import TrainedRun
from slq.files import digest, read_json, sha256, write_json, write_text
from slq.models import methods
from slq.models.backbone import Backbone
from slq.models.family import family_class

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
    "slq_pictures": "slq.data.pictures",
}
PROCESSOR = ("preprocessor_config.json", "processor_config.json")
# Modules that decide which vectors an export makes.
EMBEDDING = ("slq.models.methods", "slq.data.pictures", "slq.export.adapters", "slq.export.slq_retriever")


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
        export(run, config, folder)
    return folder


def export_key(run: TrainedRun) -> str:
    """Identity of a retriever: another adapter, backbone, prompt, precision or code is another."""
    weights = run.weights / methods.TENSORS
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
        methods.load(backbone, run.weights, run.adapter["backbone_sha256"])
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

    What a killed export of this machine left beside `out` is removed first.

    Raises:
        SlqError: it cannot be written, or a file of the run or the backbone cannot be read.
    """
    place = out.resolve()  # of a link what it names, and of `.` its name
    stem = f".{place.name}.{platform.node()}."
    for left in place.parent.glob(f"{glob.escape(stem)}[0-9]*.new"):
        if not is_running(int(left.name.removeprefix(stem).removesuffix(".new"))):
            shutil.rmtree(left, ignore_errors=True)
    folder = place.with_name(f"{stem}{os.getpid()}.new")
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.rename(place)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.strerror:
            named = Path(error.filename2 or error.filename or folder)
            if named == place or named.is_relative_to(folder) or folder.is_relative_to(named):
                raise SlqError(f"{out}: cannot be written: {error.strerror}") from error
        said = " ".join(str(error).split())
        raise SlqError(f"{out}: not exported: a file of the run or its backbone cannot be read: {said}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_running(process: int) -> bool:
    """Tell whether this machine has a process of that id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another person's
        return True
    return True
