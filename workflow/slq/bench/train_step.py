"""`slq bench train-step`: a step of every way to train, in alternation, after they were found to learn the same."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from slq.accounting.architecture import Architecture, read_architecture
from slq.accounting.flops import total
from slq.bench.measure import ALIKE, held_bytes, peak_bytes, seconds
from slq.bench.shapes import coco_pairs, shaped_backbone
from slq.bench.variants import SLQ, Variant, variants
from slq.errors import SlqError
from slq.events import describe_device
from slq.models.backbone import pick_device
from slq.reporting.records import Reference

SCHEMA = 1


def bench_train_step(
    settings: Mapping[str, Any], names: Sequence[str], repeats: int, folder: Path, printed: Mapping[str, float]
) -> dict[str, Any]:
    """Rows of what each variant takes, and the circumstances.

    Args:
        settings: of `cost_settings.step_settings`.
        repeats: timed ones, after one that is not.
        folder: on the disk that prefixes would be stored on.
        printed: the paper's GPU hours on this backbone, by method.

    Raises:
        SlqError: a variant of SLQ learns something else than the reference.
    """
    backbone = shaped_backbone(settings, pick_device(), seed=1)
    batches = coco_pairs(
        backbone, settings["batch"], settings["captions"], settings["pixels"], settings["turn_tokens"], seed=1
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = variants(backbone, batches, settings, names, Path(scratch))
        alike = agreement(made, settings["dtype"])
        timed: dict[str, list[float]] = {variant.name: [] for variant in made}
        for _ in range(1 + repeats):
            for variant in made:
                timed[variant.name].append(seconds(variant.take_steps))
        architecture, device = read_architecture(settings["architecture"]), describe_device(pick_device())
        peak = settings["devices"].get(device["name"])
        rows = [row(variant, timed[variant.name][1:], architecture, peak) for variant in made]
    keys = ("backbone", "dtype", "batch", "queries", "captions")
    return {
        "schema": SCHEMA,
        **{key: settings[key] for key in keys},
        "repeats": repeats,
        "device": device,
        "torch": torch.__version__,
        "agreement": alike,
        "rows": with_ratios(rows, settings["pairs"], printed),
    }


def printed_hours(folder: Path, reference: str) -> dict[str, float]:
    """The paper's GPU hours of each method on a backbone, from Table 3; none of one that it does not have."""
    table = Reference(folder, folder).table3
    found = {method: quote.value for (name, method, column), quote in table.items()
             if (name, column) == (reference, "gpu_hours")}  # fmt: skip
    return {method: value for method, value in found.items() if value is not None}


def agreement(made: Sequence[Variant], dtype: str) -> dict[str, dict[str, float]]:
    """How far loss and gradient of each variant of SLQ lie from the first's, relative to them.

    Raises:
        SlqError: farther than rounding explains.
    """
    found = {}
    slq = [variant for variant in made if variant.name in SLQ]
    of_one = [variant.first_step() for variant in slq]
    for variant, (loss, gradient) in zip(slq, of_one, strict=True):
        expected, wanted = of_one[0]
        apart = {
            "loss": abs(loss - expected) / abs(expected),
            "gradient": ((gradient - wanted).norm() / wanted.norm()).item(),
        }
        if not max(apart.values()) <= ALIKE[dtype]:
            raise SlqError(f"{variant.name} and {slq[0].name} differ, relative, by {apart}; expected {ALIKE[dtype]:g}")
        found[variant.name] = apart
    return found


def row(variant: Variant, times: list[float], architecture: Architecture, peak_tflops: float | None) -> dict[str, Any]:
    """What one step of a variant takes: of several in a row, the mean."""
    steps, pairs = len(list(variant.read())), variant.pairs()
    parts = {part: value / steps for part, value in variant.flops(architecture).items()}
    took = median(times) / steps
    weights = [*variant.retriever.backbone.model.parameters(), *variant.retriever.trainable()]
    return {
        "variant": variant.name,
        "seconds": took,
        "all_seconds": [time / steps for time in times],
        "pairs_per_second": pairs / steps / took,
        "peak_bytes": peak_bytes(variant.take_steps),
        "held_bytes": held_bytes(variant.first_step, weights),
        "flops": total(parts),
        "flops_by_part": parts,
        "mfu": total(parts) / took / (peak_tflops * 1e12) if peak_tflops else None,
    }


def with_ratios(rows: list[dict[str, Any]], pairs: float, printed: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows with what each is to the reference, and hours of one device for so many `pairs` beside the paper's."""
    reference = next((row for row in rows if row["variant"] == "reference"), None)
    for row in rows:
        row["paper_hours"] = printed.get({"reference": "slq"}.get(row["variant"], row["variant"]))
        row["hours"] = pairs / row["pairs_per_second"] / 3600
        row["times_faster"] = reference["seconds"] / row["seconds"] if reference else None
        row["share_held"] = row["held_bytes"] / reference["held_bytes"] if reference else None
    return rows
