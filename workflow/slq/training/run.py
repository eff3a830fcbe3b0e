"""One run from settings to files: adapter in scratch, run.json and events in results."""

import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slq.attempts import spent
from slq.data.prepared import Split, read_split
from slq.data.snapshots import identity
from slq.errors import SlqError
from slq.events import Events, describe_device
from slq.files import digest, write_json
from slq.models import methods
from slq.models.backbone import Backbone, hash_weights, own_weights, pick_device
from slq.seeds import BASE_SEED
from slq.training.loop import Recalls, train
from slq.training.pairs import Pairs, shown

SCHEMA = 1
PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "pillow", "snakemake")
Validate = Callable[[Any, Backbone, Split], Recalls]


def run_training(
    settings: dict[str, Any],
    seed: int,
    backbone_folder: Path,
    data: Path,
    train_set: str,
    work: Path,
    adapter: Path,
    run: Path,
    events_file: Path,
    validate: Validate,
) -> None:
    """Train a run and write adapter (in scratch), run.json and events (in results).

    Args:
        settings: of the rule: preset, backbone, method, family, dtype, prompt, training, tuning.
        work: scratch folder where the events of all attempts gather, keyed by what defines the run.
        validate: recalls of a retriever on the val split.

    Raises:
        SlqError: weights that the method leaves alone have changed; nothing is saved then.
    """
    training, tuning, method = settings["training"], settings["tuning"], settings["method"]
    splits, inputs = read_inputs(backbone_folder, data, train_set)
    gathered = work / digest({"settings": settings, "seed": seed, "inputs": inputs})[:16] / "events.jsonl"
    device = describe_device(pick_device())
    name = {part: settings[part] for part in ("preset", "backbone", "method")}
    events = Events.gathered(gathered, **name, seed=seed, device=device)
    with events.span("init"):
        backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
        before = hash_weights(backbone.model)
        retriever = methods.begin(method, backbone, tuning, seed)
    with events.span("staging"):
        pairs = Pairs(backbone, splits["train"], settings["prompt"], **shown(training))
    trained = train(
        retriever, pairs, training, tuning, seed, events, lambda retriever: validate(retriever, backbone, splits["val"])
    )
    with events.span("save"):
        weights = {"before": before, "after": hash_weights(backbone.model)}
        require_untouched(f"{method} on {settings['backbone']}", backbone, weights)
        origin = {"backbone_sha256": inputs["backbone"], "tuning": tuning, "weights": weights}
        methods.save(method, retriever, trained.temperature, adapter, origin)
    write_run(
        run,
        settings,
        seed,
        retriever,
        spans=spent(gathered),
        device=device,
        weights=weights,
        val={"recalls": trained.val, "kept_epoch": trained.kept_epoch},
        inputs=inputs,
    )
    events.publish(events_file)


def read_inputs(backbone_folder: Path, data: Path, train_set: str) -> tuple[dict[str, Split], dict[str, str]]:
    """The splits that training may see, `train` and `val`, and the sha256 of each and of the backbone."""
    splits = {part: read_split(data, train_set, part) for part in ("train", "val")}
    return splits, {"backbone": identity(backbone_folder), **{part: split.sha256 for part, split in splits.items()}}


def require_untouched(run: str, backbone: Backbone, weights: dict[str, str]) -> None:
    """Raise SlqError if a backbone's own weights changed in a training that trains none of them."""
    trained = any(weight.requires_grad for weight in own_weights(backbone.model).values())
    if weights["before"] != weights["after"] and not trained:
        raise SlqError(
            f"{run}: the backbone's weights changed during training (sha256 {weights['before'][:12]} before, "
            f"{weights['after'][:12]} after), and this method trains none of them; nothing is saved, train it again"
        )


def register_base(settings: dict[str, Any], backbone_folder: Path, adapter: Path, run: Path) -> None:
    """Record the untouched backbone as a run of its own, the control row: nothing is trained."""
    backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"])
    sha256 = identity(backbone_folder)
    retriever = methods.begin("base", backbone, {}, BASE_SEED)
    temperature = settings["training"]["temperature"]
    found = hash_weights(backbone.model)
    weights = {"before": found, "after": found}
    methods.save("base", retriever, temperature, adapter, {"backbone_sha256": sha256, "tuning": {}, "weights": weights})
    write_run(
        run,
        settings,
        BASE_SEED,
        retriever,
        spans={},
        device=None,
        weights=weights,
        val=None,
        inputs={"backbone": sha256},
    )


def write_run(path: Path, settings: dict[str, Any], seed: int, retriever: Any, **measured: Any) -> None:
    """Write run.json: which run, with what settings, under which circumstances, and what was measured of it.

    Trainable parameters leave the temperature out, as the paper's counts of queries do.
    """
    backbone = retriever.backbone
    write_json(
        path,
        {
            "schema": SCHEMA,
            **{part: settings[part] for part in ("preset", "backbone", "method")},
            "seed": seed,
            "width": backbone.width,
            "parameters": {
                "trainable": sum(tensor.numel() for _, tensor in methods.trained_tensors(retriever)),
                "total": sum(tensor.numel() for tensor in backbone.model.parameters()),
            },
            "settings": settings,
            "provenance": provenance(backbone),
            **measured,
        },
    )


def provenance(backbone: Backbone) -> dict[str, Any]:
    """Code, versions, image backend and machine behind a run."""
    return {
        "git": git_state(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "image_processor": type(backbone.family.image_processor).__name__,
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def git_state() -> dict[str, Any] | None:
    """Commit and dirty flag of the working folder, or None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(changed.strip())}
