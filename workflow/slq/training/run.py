"""One run from settings to files: adapter in scratch, run.json and events in results."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from slq.caching.store import Store, open_stores, read_store
from slq.common.attempts import account
from slq.common.errors import SlqError
from slq.common.events import Events, describe_device, versions
from slq.common.files import digest
from slq.common.snapshots import identity
from slq.config.runs import STORED
from slq.datasets.prepared import Split, read_split
from slq.methods import registry
from slq.models.backbone import Backbone, attend, hash_weights, own_weights, pick_device
from slq.models.prefix import require_positions
from slq.training.checkpoints import Checkpoints
from slq.training.completed import Finished
from slq.training.distributed import Processes
from slq.training.job import Asked, asked_to_stop, minutes_left, no_time, requeued, require_time, sole_owner
from slq.training.loop import Attempt, Recalls, Trained, train
from slq.training.pairs import Pairs, shown
from slq.training.run_record import describe_run
from slq.training.sharding import compute_deterministically, hold_precisely, recompute_layers, shard

# Of `training`: how a run is computed, not what it learns. A run may go on with other values of these.
MANNER = {"micro_batch", "two_pass", "gradient_checkpointing", "attention", "deterministic", "keep_pixels", "workers"}
MANNER |= {"sharding", "checkpoint_steps", "stop_minutes", "prefix"}
Validate = Callable[[Any, Backbone, Split, Store | None], Recalls]


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
    code: str = "",
    minutes: float = math.inf,
    prefixes: Path | None = None,
) -> None:
    """Train a run, on from where an earlier attempt stopped, and write adapter (in scratch), run.json and events.

    Every process of the run calls it; the main one writes.

    Args:
        settings: of the rule: preset, backbone, method, family, dtype, prompt, training, tuning.
        work: scratch folder where checkpoints and the events of all attempts gather, keyed by what defines the run.
        validate: recalls of a retriever on the val split.
        code: identity of the code of training.
        minutes: how long the job may take, where it runs in an allocation.
        prefixes: manifest of what is kept of the images, where `training.prefix` asks for it.

    Raises:
        SlqError: the store that `training.prefix` asks for is not named, weights that the method leaves alone changed,
            or there is no time for a step; nothing is saved.
        Interrupted: it was time to stop; the same call goes on.
    """
    processes = Processes()
    prefix = settings["training"]["prefix"]
    if prefix in STORED and prefixes is None:
        raise SlqError(f"training.prefix is {prefix}: `slq store` keeps that of images; --prefixes names its manifest")
    splits, inputs = read_inputs(backbone_folder, data, train_set)
    key = run_key(settings, seed, inputs, code)
    folder = work / key[:16]
    # With how it is computed: run.json says that too, and it would be another run's.
    identity_of_run = {"key": key, "settings": settings, "versions": versions()}
    finished = Finished(folder, identity_of_run, adapter, run, events_file)
    with staying(folder, settings["training"], minutes, processes) as asked:
        if processes.any(processes.main and finished.published_again()):
            return
        require_time(minutes, settings["training"]["stop_minutes"])
        events = open_events(folder / "events.jsonl", settings, seed, processes)
        checkpoints = Checkpoints(folder / "checkpoints", key, processes)
        attempt = Attempt(events, processes, checkpoints, asked)
        found = train_backbone(settings, seed, backbone_folder, splits, attempt, validate, open_stores(prefixes))
        retriever, trained, weights = found
        tensors = registry.learned_tensors(retriever, keep=processes.main)
        if processes.main:
            origin = {"backbone_sha256": inputs["backbone"], "tuning": settings["tuning"], "weights": weights}
            with events.span("save"):
                registry.save(settings["method"], tensors, trained.temperature, adapter, origin)
            of_run = measured(events, weights, inputs, trained, prefixes)
            finished.keep(describe_run(settings, seed, retriever, **of_run), events.content())
            finished.publish()
            checkpoints.discard()


@contextmanager
def staying(folder: Path, training: dict[str, Any], minutes: float, processes: Processes) -> Iterator[Asked]:
    """Own a run's folder, know when to stop and go back into the queue then, and say what helps a lack of memory."""
    margin = training["stop_minutes"]
    with (
        sole_owner(folder) if processes.main else nullcontext(),
        asked_to_stop(minutes, margin) as asked,
        requeued(asked, processes.main, no_time(minutes_left(minutes) or 0, margin)),
        memory_advice(training),
    ):
        yield asked


def measured(
    events: Events, weights: dict[str, str], inputs: dict[str, str], trained: Trained, prefixes: Path | None
) -> dict[str, Any]:
    """What run.json says of a training; what is odd about its hours stops nothing, and is told.

    Args:
        prefixes: manifest of what was kept of images: keeping it is one more span of the runs that read it.
    """
    found = account(events.content())
    for odd in found.odd:
        print(f"slq: hours: {events.path}: {odd}", file=sys.stderr, flush=True)
    spans = found.spent() | ({"prefixes": read_store(prefixes)["seconds"]} if prefixes else {})
    val = {"recalls": trained.val, "kept_epoch": trained.kept_epoch}
    return {"spans": spans, "device": events.common["device"], "weights": weights, "inputs": inputs, "val": val}


def train_backbone(
    settings: dict[str, Any],
    seed: int,
    backbone_folder: Path,
    splits: dict[str, Split],
    attempt: Attempt,
    validate: Validate,
    stores: dict[str, Store],
) -> tuple[Any, Trained, dict[str, str]]:
    """A trained retriever, what was learned about it, and the hashes of its backbone's weights before and after.

    Raises:
        SlqError: a caption is longer than the positions that the backbone has.
    """
    events = attempt.events
    with events.span("init"):
        retriever = begin(settings, seed, backbone_folder, attempt.processes)
        backbone = retriever.backbone
        before = hash_weights(backbone.model)
    with events.span("staging"):
        for split in splits.values():
            captions = (text for item in split.items for text in item["captions"])
            require_positions(backbone, captions, settings["prompt"]["text"], settings["tuning"].get("queries", 0))
    trained = train_on(splits, retriever, settings, seed, attempt, validate, stores)
    with events.span("save"):
        weights = {"before": before, "after": hash_weights(backbone.model)}
        require_untouched(f"{settings['method']} on {settings['backbone']}", backbone, weights)
    return retriever, trained, weights


def train_on(
    splits: dict[str, Split],
    retriever: Any,
    settings: dict[str, Any],
    seed: int,
    attempt: Attempt,
    validate: Validate,
    stores: dict[str, Store],
) -> Trained:
    """Train what `begin` gave on the split `train`, judged on the split `val`; `stores`: what is kept of their images.

    Raises:
        SlqError: as `train`.
    """
    training, backbone = settings["training"], retriever.backbone
    pairs = Pairs(backbone, splits["train"], settings["prompt"], **shown(training), store=stores.get("train"))

    def on_val(retriever: Any) -> Recalls:
        return validate(retriever, backbone, splits["val"], stores.get("val"))

    return train(retriever, pairs, training, settings["tuning"], seed, attempt, on_val)


def begin(settings: dict[str, Any], seed: int, backbone_folder: Path, processes: Processes) -> Any:
    """A retriever ready to train, on a freshly loaded backbone that computes as `training` says, in all processes."""
    training = settings["training"]
    if training["deterministic"]:
        compute_deterministically()
    backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
    attend(backbone, training["attention"])
    retriever = registry.begin(settings["method"], backbone, settings["tuning"], seed)
    hold_precisely(retriever)
    if training["gradient_checkpointing"]:
        recompute_layers(retriever)
    if training["sharding"] and processes.count > 1:
        shard(backbone, processes)
    return retriever


def run_key(settings: dict[str, Any], seed: int, inputs: dict[str, str], code: str) -> str:
    """Identity of a run: all that decides what it learns, and nothing of how it is computed.

    What is kept of prefixes decides nothing, but for `resident`, which shows the pairs in another order.
    """
    training = {name: value for name, value in settings["training"].items() if name not in MANNER}
    training |= {"order": "resident"} if settings["training"]["prefix"] == "resident" else {}
    return digest({"settings": settings | {"training": training}, "seed": seed, "inputs": inputs, "code": code})


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


def open_events(path: Path, settings: dict[str, Any], seed: int, processes: Processes) -> Events:
    """The events of a run, appended to those of earlier attempts; of several processes only the main one's count."""
    name = {part: settings[part] for part in ("preset", "backbone", "method")}
    device = describe_device(pick_device())
    device["count"] *= processes.count
    if not processes.main:
        return Events(Path(os.devnull))
    return Events.gathered(path, **name, seed=seed, device=device)


@contextmanager
def memory_advice(training: dict[str, Any]) -> Iterator[None]:
    """Say what to change where a GPU's memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SlqError(
            f"out of GPU memory ({error}); lower training.micro_batch, now {training['micro_batch']}, with "
            f"training.two_pass on, now {'on' if training['two_pass'] else 'off'}, or spread it over several GPUs with "
            f"training.sharding, now {'on' if training['sharding'] else 'off'}; the run goes on from its checkpoint"
        ) from error
