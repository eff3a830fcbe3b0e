"""Learning-rate sweep with the same grid and budget for every method, selected on val; the paper states no rates."""

from pathlib import Path
from typing import Any

from slq.caching.feature_cache import read_training_inputs
from slq.common.events import EventLog, describe_device
from slq.common.files import hash_json, write_json
from slq.datasets.splits import Split
from slq.training.distributed import DistributedContext
from slq.training.loop import RunContext, TrainingDiverged, sum_of_recalls
from slq.training.run import Validate, prepare_retriever, train_on_splits

SCHEMA = 2


def sweep_learning_rates(
    settings: dict[str, Any],
    seed: int,
    backbone_folder: Path,
    data: Path,
    train_dataset: str,
    work_folder: Path,
    output_file: Path,
    validate: Validate,
) -> None:
    """Train once per learning rate of the grid; write each rate's recalls, the best rate, and the cost.

    Args:
        settings: settings of the rule: training settings without a learning rate, and `lr_sweep` (learning_rates,
            epochs).
        validate: function that computes a retriever's recalls on the val split. The learning rate with the highest sum
            of recalls is selected; the lower rate wins a tie.
    """
    splits, inputs = read_training_inputs(backbone_folder, data, train_dataset)
    device = describe_device()
    key = hash_json({"settings": settings, "seed": seed, "inputs": inputs})[:16]
    events = EventLog(work_folder / key / "events.jsonl", method=settings["method"], seed=seed, device=device)
    trials = [
        {"learning_rate": rate}
        | train_with_learning_rate(rate, settings, seed, backbone_folder, splits, events, validate)
        for rate in sorted(settings["lr_sweep"]["learning_rates"])
    ]
    finite_trials = [trial for trial in trials if trial["val"] is not None]
    best = max(finite_trials, key=lambda trial: sum_of_recalls(trial["val"]), default=None)
    write_json(
        output_file,
        {
            "schema": SCHEMA,
            **{part: settings[part] for part in ("preset", "backbone", "method")},
            "seed": seed,
            "best_learning_rate": best and best["learning_rate"],
            "criterion": "the highest sum of recalls on val; the lower rate of two equals",
            "trials": trials,
            "seconds": dict(events.seconds_by_span),
            "device": device,
            "inputs": inputs,
            "settings": settings,
        },
    )


def train_with_learning_rate(
    learning_rate: float,
    settings: dict[str, Any],
    seed: int,
    backbone_folder: Path,
    splits: dict[str, Split],
    events: EventLog,
    validate: Validate,
) -> dict[str, Any]:
    """Train from scratch with one learning rate and return `val`, the recalls on the val split.

    If training diverged, `val` is None and `error` contains the message.
    """
    settings = settings | {
        "training": settings["training"] | {"epochs": settings["lr_sweep"]["epochs"], "checkpoint_selection": "last"},
        "hyperparameters": settings["hyperparameters"] | {"learning_rate": learning_rate},
    }
    context = RunContext(events, DistributedContext(), checkpoints=None, should_stop=lambda: None)
    with events.span("init"):
        retriever = prepare_retriever(settings, seed, backbone_folder, context.distributed)
    try:
        result = train_on_splits(splits, retriever, settings, seed, context, validate, {})
    except TrainingDiverged as error:
        return {"val": None, "error": str(error)}
    return {"val": result.val_recalls[-1]}
