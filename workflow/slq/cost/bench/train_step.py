"""`slq bench train-step`: a step of every way to train, in alternation, after they were found to learn the same."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from slq.common.errors import SlqError
from slq.common.events import describe_device, synchronize
from slq.cost.architecture import Architecture, read_architecture
from slq.cost.bench.shapes import coco_pairs, shaped_backbone
from slq.cost.bench.variants import SLQ, Variant, variants
from slq.cost.flops import total
from slq.models.backbone import pick_device

SCHEMA = 1
SHOWN = {  # what is printed of each way to train
    **{"seconds": "s/step", "times_faster": "times faster", "pairs_per_second": "pairs/s", "flops": "TFLOP"},
    **{"mfu": "MFU", "held_bytes": "held GB", "share_held": "share held", "hours": "hours"},
}
# What losses and gradients may differ by where the same is computed in another way, relative: rounding.
ALIKE = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 5e-2}


def bench_train_step(settings: Mapping[str, Any], names: Sequence[str], repeats: int, folder: Path) -> dict[str, Any]:
    """Rows of what each variant takes, and the circumstances.

    Args:
        settings: of `cost_settings.step_settings`.
        repeats: timed ones, after one that is not.
        folder: on the disk that prefixes would be stored on.

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
        "rows": with_ratios(rows, settings["pairs"]),
    }


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


def seconds(work: Callable[[], Any]) -> float:
    """Time one call, until the device has finished it."""
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def held_bytes(work: Callable[[], Any], given: list[Tensor]) -> int:
    """Bytes that a call holds for the gradient at once, without those of `given` tensors, the weights."""
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    return sum(held.values())


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
        "held_bytes": held_bytes(variant.first_step, weights),
        "flops": total(parts),
        "flops_by_part": parts,
        "mfu": total(parts) / took / (peak_tflops * 1e12) if peak_tflops else None,
    }


def with_ratios(rows: list[dict[str, Any]], pairs: float) -> list[dict[str, Any]]:
    """Rows with what each is to the reference, and hours of one device for so many `pairs`."""
    reference = next((row for row in rows if row["variant"] == "reference"), None)
    for row in rows:
        row["hours"] = pairs / row["pairs_per_second"] / 3600
        row["times_faster"] = reference["seconds"] / row["seconds"] if reference else None
        row["share_held"] = row["held_bytes"] / reference["held_bytes"] if reference else None
    return rows


def step_table(found: Mapping[str, Any]) -> str:
    """Print a line for each way to train."""
    device = found["device"]
    head = (
        f"A training step of {found['backbone']}, random weights in {found['dtype']}, {found['batch']} at once, "
        f"median of {found['repeats']}, on {device['count']} x {device['name']}; N = {found['queries']}."
    )
    rows = pd.DataFrame(found["rows"], dtype=object).set_index("variant")[list(SHOWN)].astype(float)
    rows = rows.assign(flops=rows["flops"] / 1e12, held_bytes=rows["held_bytes"] / 1e9)
    apart = (f"{name} {one['loss']:.0e}/{one['gradient']:.0e}" for name, one in found["agreement"].items())
    return f"""{head}
Resident is the mean over the captions of an image, in steps that follow each other.

{rows.rename(columns=SHOWN).rename_axis(None).to_string(float_format="{:.4g}".format, na_rep="-")}

Faster, share held: against the released algorithm (reference). Hours: of one such device, for all epochs of the
preset's training set.
Loss and gradient of the queries, relative to the reference's:
{", ".join(apart)}."""
