"""Training of one run: from its settings to an adapter (in scratch), run.json and an event log (in results)."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from slq.caching.feature_cache import FeatureCache, open_feature_caches, read_cache_manifest, read_training_inputs
from slq.common.attempts import parse_attempts
from slq.common.errors import SlqError
from slq.common.events import EventLog, describe_device, package_versions
from slq.common.files import hash_json
from slq.config.runs import DISK_CACHE_MODES
from slq.datasets.splits import Split
from slq.methods.adapter import build_retriever, save_adapter, trainable_state_dict
from slq.methods.registry import method_name
from slq.models.backbone import Backbone, backbone_weights, hash_weights, pick_device, set_attention_implementation
from slq.models.prefix import require_texts_fit
from slq.training.checkpoints import CheckpointManager
from slq.training.completed import NAME_KEYS, CompletedRun
from slq.training.distributed import DistributedContext
from slq.training.execution import (
    enable_determinism,
    enable_gradient_checkpointing,
    shard_language_model,
    upcast_trainable_parameters,
)
from slq.training.job import (
    StopCheck,
    listen_for_stop,
    minutes_left,
    requeue_if_interrupted,
    require_time_for_step,
    run_lock,
    time_limit_message,
)
from slq.training.loop import RunContext, TrainingDiverged, TrainingResult, train
from slq.training.pairs import PairDataset
from slq.training.run_record import build_run_record, record_diverged_trial
from slq.training.selection import RecallsByDirection

# Keys of `training` that change how a run is computed but not what it learns. A run may resume with other values.
EXECUTION_KEYS = {
    "micro_batch_size",
    "grad_cache",
    "gradient_checkpointing",
    "attention",
    "deterministic",
    "cache_images_in_memory",
    "num_workers",
}
EXECUTION_KEYS |= {"sharding", "checkpoint_steps", "time_limit_margin_minutes", "image_cache"}
Validate = Callable[[Any, Backbone, Split, FeatureCache | None], RecallsByDirection]


def run_training(
    settings: dict[str, Any],
    seed: int,
    backbone_folder: Path,
    data: Path,
    train_dataset: str,
    work_folder: Path,
    adapter_folder: Path,
    run_file: Path,
    events_file: Path,
    validate: Validate,
    code_fingerprint: str,
    time_limit_minutes: float,
    cache_manifest: Path | None,
    is_trial: bool = False,
) -> None:
    """Train a run, resuming an earlier attempt, and write its adapter (in scratch), run.json and event log.

    Every process of the run calls this function; only the main process writes files.

    Args:
        settings: settings of the rule: preset, backbone, method, family, dtype, prompt, training, hyperparameters.
        work_folder: scratch folder for checkpoints and the events of all attempts, in a subfolder named after the run's
            identity (`run_key`).
        validate: function that computes a retriever's recalls on the val split.
        code_fingerprint: fingerprint of the training code.
        time_limit_minutes: time limit of the job, used inside a Slurm allocation; infinity without a limit.
        cache_manifest: manifest of the feature cache, if `training.image_cache` needs one.
        is_trial: whether the run is a trial of the learning-rate search. If it diverges, this is recorded and is no
            error.

    Raises:
        SlqError: the required manifest is missing, frozen weights changed, or there is no time for a step. Nothing is
            saved.
        TrainingInterrupted: training had to stop; the same call resumes it.
    """
    distributed = DistributedContext()
    image_cache = settings["training"]["image_cache"]
    if image_cache in DISK_CACHE_MODES and cache_manifest is None:
        raise SlqError(
            f"training.image_cache is {image_cache}, which needs a feature cache: the rule `cache_features` builds it, "
            "and `cache_manifest` must be the path of its manifest"
        )
    splits, inputs = read_training_inputs(backbone_folder, data, train_dataset)
    key = run_key(settings, seed, inputs, code_fingerprint)
    folder = work_folder / key[:16]
    # The identity includes execution settings, because run.json records them: a finished run with other execution
    # settings must not be reused.
    run_identity = {"key": key, "settings": without_names(settings), "versions": package_versions()}
    completed_run = CompletedRun(folder, run_identity, settings, adapter_folder, run_file, events_file)
    with job_guards(folder, settings["training"], time_limit_minutes, distributed) as should_stop:
        if distributed.is_true_anywhere(distributed.is_main_process and completed_run.restore_outputs()):
            return
        require_time_for_step(time_limit_minutes, settings["training"]["time_limit_margin_minutes"])
        events = open_events(folder / "events.jsonl", settings, seed, distributed)
        checkpoints = CheckpointManager(folder / "checkpoints", key, distributed)
        context = RunContext(events, distributed, checkpoints, should_stop)
        try:
            training_outcome = load_and_train(
                settings, seed, backbone_folder, splits, context, validate, open_feature_caches(cache_manifest)
            )
        except TrainingDiverged as error:
            if not is_trial:
                raise
            if distributed.is_main_process:
                record_diverged_trial(settings, seed, inputs, str(error), events, adapter_folder, run_file, events_file)
                checkpoints.remove_all()
            return
        tensors = trainable_state_dict(training_outcome[0], keep_result=distributed.is_main_process)
        if distributed.is_main_process:
            save_run(settings, seed, training_outcome, tensors, inputs, events, completed_run, cache_manifest)
            checkpoints.remove_all()


def save_run(
    settings: dict[str, Any],
    seed: int,
    training_outcome: tuple[Any, TrainingResult, dict[str, str]],
    tensors: dict[str, torch.Tensor],
    inputs: dict[str, str],
    events: EventLog,
    completed_run: CompletedRun,
    cache_manifest: Path | None,
) -> None:
    """Save the adapter of a trained run, its record in scratch, and its declared outputs.

    Args:
        training_outcome: result of `load_and_train`.
        tensors: the trained tensors, from `trainable_state_dict`.
    """
    retriever, result, weights = training_outcome
    origin = {"backbone_sha256": inputs["backbone"], "weights": weights}
    origin |= {key: settings[key] for key in ("hyperparameters", "variant_of") if key in settings}
    with events.span("save"):
        save_adapter(settings["method"], tensors, result.temperature, completed_run.adapter_folder, origin)
    measurements = collect_measurements(events, weights, inputs, result, cache_manifest)
    completed_run.save(build_run_record(settings, seed, retriever, **measurements), events.content())
    completed_run.write_outputs()


@contextmanager
def job_guards(
    folder: Path, training: dict[str, Any], time_limit_minutes: float, distributed: DistributedContext
) -> Iterator[StopCheck]:
    """Yield the StopCheck of a run, in a context with the safeguards of its job.

    - The main process holds the run's lock.
    - The Slurm job is requeued if training is interrupted.
    - An out-of-memory error of a GPU becomes an SlqError with a remedy.
    """
    margin = training["time_limit_margin_minutes"]
    with (
        run_lock(folder) if distributed.is_main_process else nullcontext(),
        listen_for_stop(time_limit_minutes, margin) as should_stop,
        requeue_if_interrupted(
            should_stop, distributed.is_main_process, time_limit_message(minutes_left(time_limit_minutes), margin)
        ),
        explain_out_of_memory(training),
    ):
        yield should_stop


def collect_measurements(
    events: EventLog,
    weights: dict[str, str],
    inputs: dict[str, str],
    result: TrainingResult,
    cache_manifest: Path | None,
) -> dict[str, Any]:
    """Collect the measurements of a training for run.json; anomalies in its recorded times are reported on stderr.

    Args:
        cache_manifest: manifest of the feature cache. The time to build the cache is added as a span to each run that
            uses the cache.
    """
    stage_attempts = parse_attempts(events.content())
    for anomaly in stage_attempts.anomalies:
        print(f"slq: hours: {events.path}: {anomaly}", file=sys.stderr, flush=True)
    spans = stage_attempts.seconds_by_span() | (
        {"feature_cache": read_cache_manifest(cache_manifest)["seconds"]} if cache_manifest else {}
    )
    val = {"recalls": result.val_recalls, "selected_epoch": result.selected_epoch}
    return {"spans": spans, "device": events.common_fields["device"], "weights": weights, "inputs": inputs, "val": val}


def load_and_train(
    settings: dict[str, Any],
    seed: int,
    backbone_folder: Path,
    splits: dict[str, Split],
    context: RunContext,
    validate: Validate,
    feature_caches: dict[str, FeatureCache],
) -> tuple[Any, TrainingResult, dict[str, str]]:
    """Load a backbone, train a retriever on it, and check that frozen weights are unchanged.

    Returns:
        the trained retriever, the outcome of training, and the hashes of the backbone's weights `before` and `after`.

    Raises:
        SlqError: a caption needs more positions than the backbone has, or frozen weights changed.
    """
    events = context.events
    with events.span("init"):
        retriever = prepare_retriever(settings, seed, backbone_folder, context.distributed)
        backbone = retriever.backbone
        hash_before = hash_weights(backbone.model)
    with events.span("staging"):
        for split in splits.values():
            captions = (text for item in split.items for text in item["captions"])
            with split.naming_items():
                require_texts_fit(backbone, captions, settings["prompt"]["text"], retriever.num_query_tokens)
    result = train_on_splits(splits, retriever, settings, seed, context, validate, feature_caches)
    with events.span("save"):
        weights = {"before": hash_before, "after": hash_weights(backbone.model)}
        require_frozen_weights_unchanged(f"{settings['method']} on {settings['backbone']}", backbone, weights)
    return retriever, result, weights


def train_on_splits(
    splits: dict[str, Split],
    retriever: Any,
    settings: dict[str, Any],
    seed: int,
    context: RunContext,
    validate: Validate,
    feature_caches: dict[str, FeatureCache],
) -> TrainingResult:
    """Train a retriever from `prepare_retriever` on the `train` split and validate it on the `val` split.

    Args:
        feature_caches: cached data of the images, by split.
    """
    training, backbone = settings["training"], retriever.backbone
    pairs = PairDataset(
        backbone,
        splits["train"],
        settings["prompt"],
        cache_images_in_memory=training["cache_images_in_memory"],
        caption_sampling=training["caption_sampling"],
        group_by_image=training["image_cache"] == "batch",
        feature_cache=feature_caches.get("train"),
    )

    def validate_on_val(retriever: Any) -> RecallsByDirection:
        """Compute a retriever's recalls on the val split."""
        return validate(retriever, backbone, splits["val"], feature_caches.get("val"))

    return train(retriever, pairs, training, settings["hyperparameters"], seed, context, validate_on_val)


def prepare_retriever(
    settings: dict[str, Any], seed: int, backbone_folder: Path, distributed: DistributedContext
) -> Any:
    """Load a backbone, configure it by `training`, and build a retriever ready for training; all processes call it."""
    training = settings["training"]
    if training["deterministic"]:
        enable_determinism()
    backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
    set_attention_implementation(backbone, training["attention"])
    retriever = build_retriever(method_name(settings), backbone, settings["hyperparameters"], seed)
    upcast_trainable_parameters(retriever)
    if training["gradient_checkpointing"]:
        enable_gradient_checkpointing(retriever, settings["method"])
    if training["sharding"] and distributed.world_size > 1:
        shard_language_model(backbone, distributed)
    return retriever


def run_key(settings: dict[str, Any], seed: int, inputs: dict[str, str], code_fingerprint: str) -> str:
    """Compute the identity of a run, a hash of everything that determines the learned weights.

    Execution settings (EXECUTION_KEYS) are excluded. The names of the preset and of a variant or trial are excluded
    too, so that presets share equal runs, and a trial becomes its method's run if its rate is configured. `image_cache`
    is excluded except for `batch`, which changes the order of the pairs.
    """
    training = {name: value for name, value in settings["training"].items() if name not in EXECUTION_KEYS}
    training |= {"pair_order": "grouped_by_image"} if settings["training"]["image_cache"] == "batch" else {}
    identity = without_names(settings) | {"training": training}
    return hash_json({"settings": identity, "seed": seed, "inputs": inputs, "code": code_fingerprint})


def without_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run without the names of its preset and of its variant or trial.

    `method` is the method in the registry.
    """
    return {key: value for key, value in settings.items() if key not in NAME_KEYS} | {"method": method_name(settings)}


def require_frozen_weights_unchanged(run_name: str, backbone: Backbone, weights: dict[str, str]) -> None:
    """Check that training left the backbone's own weights unchanged, unless the method trains any of them."""
    trains_backbone = any(weight.requires_grad for weight in backbone_weights(backbone.model).values())
    if weights["before"] != weights["after"] and not trains_backbone:
        raise SlqError(
            f"{run_name}: the backbone's weights changed during training (sha256 {weights['before'][:12]} before, "
            f"{weights['after'][:12]} after), although this method keeps them frozen; nothing is saved, train it again"
        )


def open_events(path: Path, settings: dict[str, Any], seed: int, distributed: DistributedContext) -> EventLog:
    """Open the event log of a run, which continues the log of earlier attempts; only the main process writes to it."""
    run_fields = {part: settings[part] for part in ("preset", "backbone", "method")}
    device = describe_device()
    device["count"] *= distributed.world_size
    if not distributed.is_main_process:
        return EventLog(Path(os.devnull))
    return EventLog.for_next_attempt(path, **run_fields, seed=seed, device=device)


@contextmanager
def explain_out_of_memory(training: dict[str, Any]) -> Iterator[None]:
    """Convert an out-of-memory error of a GPU into an SlqError that names the settings to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SlqError(
            f"out of GPU memory ({error}); lower training.micro_batch_size, now {training['micro_batch_size']}, with "
            f"training.grad_cache on, now {'on' if training['grad_cache'] else 'off'}, or shard the model over several "
            f"GPUs with training.sharding, now {'on' if training['sharding'] else 'off'}; the run resumes "
            "from its checkpoint"
        ) from error
