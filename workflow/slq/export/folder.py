"""The exported folder: whole under its name, or not there."""

import dataclasses
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError
from transformers import AutoTokenizer

from slq.config import Config
from slq.data.snapshots import write_manifest
from slq.errors import SlqError
from slq.export.adapters import write_lora, write_queries
from slq.export.agreement import require_agreement, require_sentence_transformers
from slq.export.base import FOLDER, Base, copy_snapshot, read_base
from slq.export.card import write_card
from slq.export.tokens import add_queries
from slq.files import read_json, sha256, write_json, write_text
from slq.finished import Finished
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
    "slq_retriever": "slq.export.shipped.slq_retriever",
    "slq_adapter": "slq.models.families.{family}",
    "slq_family": "slq.models.family",
    "slq_pictures": "slq.data.pictures",
}
PROCESSOR = ("preprocessor_config.json", "processor_config.json")


def export(run: Finished, config: Config, out: Path) -> None:
    """Write a run as a folder that sentence-transformers and PEFT load, in place of an earlier export of that name.

    Raises:
        SlqError: `out` holds what is no export, the run's files do not fit each other, or what was written makes other
            vectors than the run.
    """
    require_sentence_transformers()
    require_replaceable(out)
    with staged(out) as folder:
        base = read_base(run.snapshot)
        write_learned(run, base, folder)
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


def write_learned(run: Finished, base: Base, folder: Path) -> None:
    """What was trained, the tokenizer, and retriever.json that says how they are read.

    Raises:
        SlqError: the run's method is none that an export has a form for.
    """
    method, tuning, dtype = run.adapter["method"], run.adapter["tuning"], run.settings["dtype"]
    tokenizer = AutoTokenizer.from_pretrained(run.snapshot, local_files_only=True)
    tokenizer.padding_side = "left"
    count, rows, at = 1, base.rows, None if base.model else FOLDER
    if method == "slq":
        count = tuning["queries"]
        ids = add_queries(tokenizer, count)
        write_queries(run.weights, base, ids, folder, dtype)
        rows = max(base.rows, ids[-1] + 1)
    elif method == "lora":
        write_lora(run.weights, tuning, base, folder)
    elif method == "full_ft":
        write_whole(run, folder)
        whole = {path.name: sha256(path) for path in folder.glob("*.safetensors")}
        at, base = ".", dataclasses.replace(base, weights=whole)
    elif method != "base":
        raise SlqError(
            f"{run.name}: its method is '{method}', for which slq export has no form; expected base, full_ft, lora or "
            "slq"
        )
    if at == FOLDER:
        copy_snapshot(run.snapshot, folder / FOLDER)
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
            "base": base.told(at, rows),
        },
    )


def write_whole(run: Finished, folder: Path) -> None:
    """The whole model of full fine-tuning, in the precision that it was evaluated in."""
    backbone = Backbone.load(run.snapshot, run.settings["family"], run.settings["dtype"])
    methods.load(backbone, run.weights, run.adapter["backbone_sha256"])
    backbone.model.save_pretrained(folder)


def write_code(family: str, folder: Path) -> None:
    """The files of the package that loading runs, with imports of each other in place of the package's.

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


def require_replaceable(out: Path) -> None:
    """Raise SlqError unless `out` is not there, empty, or an earlier export to which nothing was added."""
    if not out.exists():
        return
    if not out.is_dir():
        raise SlqError(f"{out}: is a file; name a folder that is not there, or an earlier export")
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    ours: set[str] = set()
    if {"manifest.json", "retriever.json"} <= found:
        ours = {*read_json(out / "manifest.json")["files"], "manifest.json"}
    if others := sorted(found - ours):
        raise SlqError(f"{out}: holds {others[0]}, which no export wrote there; name another folder, or empty this one")


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its name when all is written, and is removed when something fails.

    Raises:
        SlqError: it cannot be written, or a file of the run or the backbone cannot be read.
    """
    place = out.resolve()  # of a link what it names, and of `.` its name
    folder, old = (place.with_name(f".{place.name}.{os.getpid()}.{what}") for what in ("new", "old"))
    try:
        folder.mkdir(parents=True)
        yield folder
        replace(folder, place, old)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.strerror:
            named = Path(error.filename2 or error.filename or folder)
            if named.is_relative_to(folder) or folder.is_relative_to(named):
                raise SlqError(f"{out}: cannot be written: {error.strerror}") from error
        said = " ".join(str(error).split())
        raise SlqError(f"{out}: not exported: a file of the run or its backbone cannot be read: {said}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace(folder: Path, out: Path, old: Path) -> None:
    """Give a folder the name of another, which goes by the name `old` meanwhile, and is then removed."""
    if not out.exists():
        folder.rename(out)
        return
    out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)
