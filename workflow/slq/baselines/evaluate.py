"""Evaluation of a baseline of any kind, with its metrics, ranks, description and event log as output."""

from pathlib import Path
from typing import Any

from slq.baselines.registry import find_kind
from slq.common.events import EventLog, current_plan, provenance
from slq.common.files import hash_json, write_json
from slq.common.snapshots import snapshot_sha256
from slq.evaluation.retrieval import adapter_hash, write_retrieval_results

SCHEMA = 2  # of baseline.json
NON_RANK_SETTINGS = ("preset", "baseline", "kind", "datasets")  # settings that do not affect a dataset's ranks


def evaluate_baseline(settings: dict[str, Any], inputs: dict[str, Path], data: Path, work: Path, out: Path) -> None:
    """Evaluate a baseline on the test split of every retrieval dataset; write metrics, ranks and a description.

    The description, baseline.json, records the settings, the software and the hardware of the evaluation.

    Args:
        settings: settings of the rule (`slq.config.baseline_settings.baseline_settings`).
        inputs: manifests of models and adapter.json files of runs, by their names in metrics files.
        work: scratch folder that collects the events of all attempts.
    """
    description = {key: settings[key] for key in ("preset", "baseline", "kind")}
    labels = {key: settings[key] for key in ("preset", "baseline")}
    events = EventLog.for_next_attempt(work / "retrieval.jsonl", **labels)
    kind = find_kind(settings["kind"])
    folders = {name: file.parent for name, file in inputs.items()}
    image_processor, ranked_datasets = kind.evaluate(settings, folders, data, out, events)
    hashes = {
        name: adapter_hash(file.parent) if file.name == "adapter.json" else snapshot_sha256(file.parent)
        for name, file in inputs.items()
    }
    hashes["settings"] = hash_json({key: value for key, value in settings.items() if key not in NON_RANK_SETTINGS})
    for entry, split, variants, table in ranked_datasets:
        write_retrieval_results(out / "retrieval", entry, table, variants, hashes | {"dataset": split.sha256})
    environment = {"plan": current_plan(), "provenance": provenance(image_processor)}
    environment |= {"device": events.common_fields["device"]}
    write_json(out / "baseline.json", {"schema": SCHEMA, **description, "settings": settings, **environment})
    events.publish(out / "events" / "retrieval.jsonl")
