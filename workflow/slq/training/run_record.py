"""run.json, the record of a run: for trained runs, and for the untouched backbone, which is not trained."""

from pathlib import Path
from typing import Any

from slq.common.attempts import parse_attempts
from slq.common.events import EventLog, current_plan, provenance, replace_invalid_lines
from slq.common.files import write_json, write_text
from slq.common.snapshots import snapshot_sha256
from slq.config.runs import BASE_SEED
from slq.methods.adapter import SCHEMA as ADAPTER_SCHEMA
from slq.methods.adapter import build_retriever, save_adapter
from slq.methods.registry import BASE
from slq.models.backbone import Backbone, hash_weights

SCHEMA = 2


def register_base(settings: dict[str, Any], backbone_folder: Path, adapter_folder: Path, run_file: Path) -> None:
    """Record the untouched backbone as a run without training: the zero-shot control (`base`)."""
    backbone = Backbone.load(backbone_folder, settings["family"], settings["dtype"])
    sha256 = snapshot_sha256(backbone_folder)
    retriever = build_retriever(BASE, backbone, {}, BASE_SEED)
    temperature = settings["training"]["temperature"]
    weights_hash = hash_weights(backbone.model)
    weights = {"before": weights_hash, "after": weights_hash}
    save_adapter(
        BASE, {}, temperature, adapter_folder, {"backbone_sha256": sha256, "hyperparameters": {}, "weights": weights}
    )
    no_measurements: dict[str, Any] = {"spans": {}, "device": None, "val": None}
    inputs = {"backbone": sha256}
    write_json(
        run_file, build_run_record(settings, BASE_SEED, retriever, weights=weights, inputs=inputs, **no_measurements)
    )


def record_diverged_trial(
    settings: dict[str, Any],
    seed: int,
    inputs: dict[str, str],
    message: str,
    events: EventLog,
    adapter_folder: Path,
    run_file: Path,
    events_file: Path,
) -> None:
    """Write the outputs of a trial whose training diverged: run.json without recalls, its events, and no weights.

    Args:
        message: the error, which names the step.
    """
    write_json(
        adapter_folder / "adapter.json", {"schema": ADAPTER_SCHEMA, "method": settings["method"], "diverged": message}
    )
    record = {"schema": SCHEMA, **{part: settings[part] for part in ("preset", "backbone", "method")}, "seed": seed}
    record |= {"plan": current_plan()}
    measurements = {
        "spans": parse_attempts(events.content()).seconds_by_span(),
        "device": events.common_fields["device"],
    }
    write_json(
        run_file, record | measurements | {"settings": settings, "inputs": inputs, "val": None, "diverged": message}
    )
    write_text(events_file, replace_invalid_lines(events.content()).decode(errors="replace"))


def build_run_record(settings: dict[str, Any], seed: int, retriever: Any, **measurements: Any) -> dict[str, Any]:
    """Build the content of run.json: the run's identity, settings, provenance and measurements.

    The number of trainable parameters excludes the temperature, as in the paper's parameter counts.
    """
    backbone = retriever.backbone
    return {
        "schema": SCHEMA,
        **{part: settings[part] for part in ("preset", "backbone", "method")},
        "seed": seed,
        "hidden_size": backbone.hidden_size,
        "parameters": {
            "trainable": sum(tensor.numel() for tensor in retriever.trainable_parameters()),
            "total": sum(tensor.numel() for tensor in backbone.model.parameters()),
        },
        "settings": settings,
        "plan": current_plan(),
        "provenance": provenance(backbone.family.image_processor),
        **measurements,
    }
