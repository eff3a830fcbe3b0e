"""Benchmark of `slq bench`, which checks that all variants agree and then times their steps in alternation.

A step is one micro-batch without memory saving, or a whole step of a preset with its GradCache and gradient
checkpointing.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
import transformers
from torch import Tensor

from slq.common.errors import SlqError
from slq.common.events import describe_device, synchronize
from slq.cost.architecture import Architecture, read_architecture
from slq.cost.bench.random_inputs import build_random_backbone, make_coco_like_batches
from slq.cost.bench.variants import SLQ_VARIANTS, StepVariant, build_variants
from slq.cost.flops import total_flops
from slq.cost.measured_speed import BENCH_SCHEMA
from slq.models.backbone import pick_device

COLUMN_TITLES = {  # titles of the printed columns
    **{"seconds": "s/step", "speedup": "speedup", "pairs_per_second": "pairs/s", "flops": "TFLOP"},
    **{"mfu": "MFU", "peak_bytes": "peak GB"},
    **{"saved_bytes": "saved GB", "saved_ratio": "saved ratio", "hours": "hours"},
}
# Largest relative difference between the losses or gradients of two variants that rounding errors can explain. In
# bfloat16 gradients differ by 0.013, 0.028 and 0.032 after 6, 24 and 28 layers of width 128; backbones have up to 36.
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 1e-1}


def bench_train_step(settings: Mapping[str, Any], names: Sequence[str], repeats: int, folder: Path) -> dict[str, Any]:
    """Measure a training step of each variant; return the measurements with device, versions and sizes.

    Args:
        settings: from `cost_settings.train_step_settings`.
        names: names of the variants.
        repeats: number of timed repetitions, after one warm-up repetition.
        folder: a folder on the disk where an image cache would be stored.

    Raises:
        SlqError: the loss or gradient of a variant of SLQ differs from those of the first variant.
    """
    backbone = build_random_backbone(settings, pick_device(), seed=1)
    batches = make_coco_like_batches(
        backbone,
        settings["batch"],
        settings["captions"],
        settings["pixels"],
        settings["prompt_overhead_tokens"],
        seed=1,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        step_variants = build_variants(backbone, batches, settings, names, Path(scratch))
        relative_errors = check_agreement(step_variants, settings["dtype"])
        timings: dict[str, list[float]] = {variant.name: [] for variant in step_variants}
        peaks: dict[str, int | None] = {}
        for _ in range(1 + repeats):
            for variant in step_variants:
                seconds, peaks[variant.name] = measure_call(variant.take_steps)
                timings[variant.name].append(seconds)
        architecture, device = read_architecture(settings["architecture"]), describe_device()
        peak_tflops = settings["devices"].get(device["name"])
        rows = [
            measure_variant(variant, timings[variant.name][1:], architecture, peak_tflops)
            | {"peak_bytes": peaks[variant.name]}
            for variant in step_variants
        ]
    keys = ("backbone", "dtype", "batch", "micro_batch_size", "grad_cache", "queries", "captions")
    return {
        "schema": BENCH_SCHEMA,
        **{key: settings[key] for key in keys},
        "repeats": repeats,
        "device": device,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "relative_errors": relative_errors,
        "rows": add_ratios(rows, settings["pairs"]),
    }


def check_agreement(step_variants: Sequence[StepVariant], dtype: str) -> dict[str, dict[str, float]]:
    """Check that the loss and gradient of each variant of SLQ agree with the first's; return the relative errors."""
    errors_by_variant = {}
    slq = [variant for variant in step_variants if variant.name in SLQ_VARIANTS]
    first_steps = [variant.take_first_step() for variant in slq]
    for variant, (loss, gradient) in zip(slq, first_steps, strict=True):
        reference_loss, reference_gradient = first_steps[0]
        relative_errors = {
            "loss": abs(loss - reference_loss) / abs(reference_loss),
            "gradient": ((gradient - reference_gradient).norm() / reference_gradient.norm()).item(),
        }
        if not max(relative_errors.values()) <= TOLERANCES[dtype]:
            raise SlqError(
                f"{variant.name} and {slq[0].name}: relative differences are {relative_errors}; "
                f"expected at most {TOLERANCES[dtype]:g}"
            )
        errors_by_variant[variant.name] = relative_errors
    return errors_by_variant


def measure_call(call: Callable[[], Any]) -> tuple[float, int | None]:
    """Measure one call, until the device has finished it.

    Returns:
        its seconds, and the peak of bytes allocated on the GPU (weights of all variants included), None without a GPU.
    """
    synchronize()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - start, torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def measure_saved_bytes(call: Callable[[], Any], excluded: list[Tensor]) -> int:
    """Measure the bytes of the tensors that a call saves for the backward pass.

    Args:
        excluded: tensors that are not counted: the weights.
    """
    excluded_pointers = {tensor.untyped_storage().data_ptr() for tensor in excluded}
    saved_bytes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        """Record the storage of a tensor that is saved for the backward pass."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in excluded_pointers:
            saved_bytes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return sum(saved_bytes.values())


def measure_variant(
    variant: StepVariant, times: list[float], architecture: Architecture, peak_tflops: float | None
) -> dict[str, Any]:
    """Measure one step of a variant as the mean over its consecutive steps.

    Args:
        times: seconds of each repetition of all its steps.
        peak_tflops: peak TFLOP/s of the device; if None, the MFU is None.
    """
    steps, pairs = len(list(variant.read_batches())), variant.count_pairs()
    flops_by_part = {part: value / steps for part, value in variant.compute_flops(architecture).items()}
    step_seconds = median(times) / steps
    weights = [*variant.retriever.backbone.model.parameters(), *variant.retriever.trainable_parameters()]
    return {
        "variant": variant.name,
        "seconds": step_seconds,
        "all_seconds": [time / steps for time in times],
        "pairs_per_second": pairs / steps / step_seconds,
        "saved_bytes": measure_saved_bytes(variant.take_first_step, weights),
        "flops": total_flops(flops_by_part),
        "flops_by_part": flops_by_part,
        "mfu": total_flops(flops_by_part) / step_seconds / (peak_tflops * 1e12) if peak_tflops else None,
    }


def add_ratios(rows: list[dict[str, Any]], num_pairs: float) -> list[dict[str, Any]]:
    """Add to each row its ratios to the reference, and the hours that one device would need for a training.

    Args:
        num_pairs: number of pairs of the training over all epochs.
    """
    reference = next((row for row in rows if row["variant"] == "reference"), None)
    for row in rows:
        row["hours"] = num_pairs / row["pairs_per_second"] / 3600
        row["speedup"] = reference["seconds"] / row["seconds"] if reference else None
        row["saved_ratio"] = row["saved_bytes"] / reference["saved_bytes"] if reference else None
    return rows


def format_step_table(measurements: Mapping[str, Any]) -> str:
    """Format the measurements as a table with one line per variant."""
    device = measurements["device"]
    head = (
        f"A training step of {measurements['backbone']}, random weights in {measurements['dtype']}, "
        f"{measurements['batch']} pairs, {measurements['micro_batch_size']} at once, "
        f"{'with GradCache, ' * measurements['grad_cache']}median of {measurements['repeats']} repetitions, on "
        f"{device['count']} x {device['name']}; N = {measurements['queries']}."
    )
    rows = pd.DataFrame(measurements["rows"], dtype=object).set_index("variant")[list(COLUMN_TITLES)].astype(float)
    rows = rows / pd.Series({"flops": 1e12, "peak_bytes": 1e9, "saved_bytes": 1e9}).reindex(rows.columns, fill_value=1)
    error_texts = (
        f"{name} {one['loss']:.0e}/{one['gradient']:.0e}" for name, one in measurements["relative_errors"].items()
    )
    return f"""{head}
Variant batch: mean over consecutive steps, one for each caption of an image.

{rows.rename(columns=COLUMN_TITLES).rename_axis(None).to_string(float_format="{:.4g}".format, na_rep="-")}

Speedup and saved ratio are relative to the released algorithm (reference). Peak: memory allocated on the GPU, including
the weights of all variants. Saved: tensors kept for the backward pass. Hours: time on one such device for all epochs of
the preset's training set.
Relative difference of the queries' loss and gradient from the reference:
{", ".join(error_texts)}."""
