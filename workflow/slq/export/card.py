"""Model card of an export: the run's scores, read from its results, and instructions for use."""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from slq.common.errors import SlqError
from slq.common.files import read_json, write_text
from slq.config.loading import Config
from slq.config.runs import is_method, method_entry
from slq.evaluation.reference_recalls import RECALL_METRICS
from slq.evaluation.statistics import accuracy_interval
from slq.export.adapters import BaseModelInfo
from slq.export.trained_run import TrainedRun
from slq.methods.registry import find_method, method_name
from slq.results.cells import with_numbers
from slq.results.layout import find_layout
from slq.results.load import as_rows, list_numbers, load_files

HUB_LICENCES = ("apache-2.0", "mit")  # licences that the hub knows under these names
DIRECTION_NAMES = {"t2i": "text to image", "i2t": "image to text"}
WEIGHTS = ("*.safetensors", "*_Dense/*.safetensors")  # an export's own, without those of its base model
ACCURACY = ("retention", "accuracy", "")  # kind, metric and question type of a score's row


def render_template(template: str, **values: Any) -> str:
    """Render a template of this folder.

    Values are escaped automatically in HTML templates; a Markdown template escapes a value with the filter `md`.
    """
    environment = Environment(
        loader=PackageLoader("slq.export", "."),
        undefined=StrictUndefined,
        autoescape=select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = lambda text: re.sub(r"[\\`*_\[\]<>|~$&#]", r"\\\g<0>", text)
    return environment.get_template(template).render(values)


def write_model_card(run: TrainedRun, base: BaseModelInfo, config: Config, folder: Path) -> None:
    """Write README.md of an export; call this last, because the card states the size of the other files."""
    entry = config["backbones"].get(run.run_record["backbone"], {})
    labels = {name: one["label"] for name, one in config["datasets"].items()}
    licence = "MIT" if "pretrain" in entry else "not stated"
    if "source" in entry:
        licence = str(config["sources"][entry["source"]]["licence"])
    audit = run.preset_folder / "audit.json"
    splits = read_json(audit)["splits"] if audit.exists() else {}
    tests = {name.removesuffix("/test"): split for name, split in splits.items() if name.endswith("/test")}
    method, retriever = find_method(method_name(run.adapter_record)), read_json(folder / "retriever.json")
    text = render_template(
        "card.md.j2",
        run=run.run_record,
        name=run.name,
        label=entry.get("label", run.run_record["backbone"]),
        method=method,
        method_label=method_label(run, config),
        description=method.card_description.format(
            read_out=retriever["read_out"], trainable=run.run_record["parameters"]["trainable"]
        ),
        base=base,
        peft=(folder / "adapter_config.json").exists(),
        told=retriever,
        licence=licence,
        licence_id=licence.lower() if licence.lower() in HUB_LICENCES else "other",
        **read_scores(run, labels),
        train_dataset=describe_train_split(run, splits),
        audit={labels.get(name, name): len(split["leaked"]) for name, split in tests.items()} if splits else None,
        kilobytes=sum(path.stat().st_size for pattern in WEIGHTS for path in folder.glob(pattern)) / 1e3,
        synthetic="pretrain" in entry,
    )
    write_text(folder / "README.md", text)


def method_label(run: TrainedRun, config: Config) -> str:
    """Return the label of a run's method; add the name of a variant that is not configured."""
    name, parent = run.run_record["method"], find_method(method_name(run.adapter_record))
    preset = config["presets"].get(run.run_record["preset"], {"hyperparameters": {}})
    if name == parent.name or not is_method(preset, name):
        return parent.label if name == parent.name else f"{parent.label} ({name})"
    return method_entry(preset, name).label


def read_scores(run: TrainedRun, labels: Mapping[str, str]) -> dict[str, list[Any]]:
    """Read a run's scores, in percent, each with its 95 % confidence interval.

    Returns:
        A dictionary with three lists. `retrieval` has a row per dataset and direction. `retention` has a row per
            dataset; `inherited` marks answers that equal the base model's by construction. `stale` has a reason for
            each omitted file; a file is omitted if its metrics no longer match its ranks or answers.
    """
    layout = find_layout(run.preset_folder, {}, {}, [run.results_folder])
    files = load_files(run.preset_folder, layout)
    for file in as_rows(files[files["state"] == "missing"]):
        if file.path.exists():
            raise SlqError(f"{file.path}: {file.reason}; put it there, or delete {file.path}")
    numbers = list_numbers(files[files["kind"] != "run"])
    fresh = [row for row in with_numbers(as_rows(numbers)) if not row.variant]
    retrieval = []
    for dataset, direction in product(layout.retrieval_datasets, DIRECTION_NAMES):
        rows = [row for row in fresh if (row.dataset, row.direction) == (dataset.name, direction)]
        retrieval += _recall_rows(rows, labels)
    retention = [_accuracy_row(row, labels) for row in fresh if (row.kind, row.metric, row.question_type) == ACCURACY]
    stale = list(files.loc[files["state"] == "stale", "reason"])
    return {"retrieval": retrieval, "retention": retention, "stale": stale}


def _recall_rows(rows: Sequence[Any], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Build the table row for one dataset and direction; return no row if the file is stale."""
    recalls = {row.metric: row for row in rows if row.metric in RECALL_METRICS}
    if not recalls:
        return []
    first = recalls[RECALL_METRICS[0]]
    cells = [f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]" for row in (recalls[key] for key in RECALL_METRICS)]
    label = labels.get(first.dataset, first.dataset)
    return [{"dataset": label, "way": DIRECTION_NAMES[first.direction], "cells": cells, "n": first.record.value("n")}]


def _accuracy_row(row: Any, labels: Mapping[str, str]) -> dict[str, Any]:
    """Build the table row for one retention dataset."""
    count, accuracy = int(row.record.number("n", "items")), row.value
    interval = accuracy_interval(round(accuracy * count / 100), count)
    cell = f"{accuracy:.1f} [{interval.low:.1f}, {interval.high:.1f}]"
    return {"dataset": labels.get(row.dataset, row.dataset), "cell": cell, "n": count, "inherited": row.inherits}


def describe_train_split(run: TrainedRun, splits: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the name, number of images and SHA-256 of the training split; None for a run without training.

    The training split is the one among the audited `splits` whose hash is recorded in run.json.
    """
    sha256 = run.run_record["inputs"].get("train")
    if sha256 is None:
        return None
    for name, split in splits.items():
        if split["sha256"] == sha256:
            return {"name": name.removesuffix("/train"), "items": split["items"], "sha256": sha256}
    return {"name": "not known", "items": None, "sha256": sha256}
