"""Interpolation of a trained run with base: an adapter between the two, without training."""

import os
from pathlib import Path
from typing import Any

import torch

from slq.caching.feature_cache import read_training_inputs
from slq.common.events import EventLog, describe_device
from slq.common.files import read_json, write_json
from slq.common.tensors import read_tensors
from slq.methods.adapter import ADAPTER_WEIGHTS, build_retriever, save_adapter, trainable_state_dict
from slq.methods.registry import find_method, method_name
from slq.models.backbone import Backbone, hash_weights, pick_device
from slq.training.run import Validate
from slq.training.run_record import build_run_record


def interpolate_run(
    settings: dict[str, Any],
    seed: int,
    fraction: float,
    backbone_folder: Path,
    data: Path,
    train_dataset: str,
    trained_folder: Path,
    adapter_folder: Path,
    run_file: Path,
    validate: Validate,
) -> None:
    """Write the adapter of a run whose update of the backbone is scaled, and run.json with its recalls on val.

    Args:
        settings: as for training the run (`slq.training.run.run_training`).
        fraction: share of the update: 0 gives base's numbers, 1 the run's.
        trained_folder: folder of the run's adapter.
    """
    splits, inputs = read_training_inputs(backbone_folder, data, train_dataset)
    device = describe_device()
    events = EventLog(Path(os.devnull))
    with events.span("init"):
        backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"], pick_device())
        retriever = build_retriever(method_name(settings), backbone, settings["hyperparameters"], seed)
        before = hash_weights(backbone.model)
        method, trained = find_method(method_name(settings)), read_tensors(trained_folder / ADAPTER_WEIGHTS)
        with torch.no_grad():
            for name, parameter in retriever.named_trainable_parameters():
                tensor = trained[name].to(parameter)
                parameter.copy_(method.interpolate(name, parameter.clone(), tensor, fraction))
        weights = {"before": before, "after": hash_weights(backbone.model)}
    with events.span("eval", split="val"):
        recalls = validate(retriever, backbone, splits["val"], None)
    adapter = read_json(trained_folder / "adapter.json")
    origin = {"backbone_sha256": inputs["backbone"], "weights": weights, "interpolated": fraction}
    origin |= {key: settings[key] for key in ("hyperparameters", "variant_of") if key in settings}
    tensors = trainable_state_dict(retriever)
    save_adapter(settings["method"], tensors, adapter["temperature"], adapter_folder, origin)
    spans = {"train": 0.0} | events.seconds_by_span  # nothing is trained
    measurements = {"spans": spans, "device": device, "weights": weights, "inputs": inputs}
    val = {"recalls": [recalls], "selected_epoch": 0}
    write_json(run_file, build_run_record(settings, seed, retriever, **measurements, val=val))
