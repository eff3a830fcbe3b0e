"""The page of the GPU check, docs/gpu.md, from the stored results of its stages."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slq.common.files import read_csv
from slq.config.cost_settings import forecast_settings
from slq.config.loading import load_merged_config
from slq.cost.forecast import BackboneCostModel, forecast_preset
from slq.cost.measured_speed import apply_measurements
from slq.methods.registry import find_method

ROOT = Path(__file__).parents[2]
TABLE3 = ROOT / "paper_tables/reference/table3.csv"
GB = 1e9


def format_page(results: Mapping[str, Any], names: Sequence[str], preset: str) -> str:
    """Format the page: circumstances, what was asserted, what was measured, and the hours that follow."""
    stages = {name: results["stages"].get(name) for name in names}
    benches = [one["result"]["bench"] for one in stages.values() if one and "bench" in one.get("result", {})]
    config = load_merged_config([ROOT / "config.yaml"], preset)
    parts = [
        ["# The code on a GPU", "", *circumstance_lines(results, stages), "", "## Correctness (asserted)", ""],
        correctness_lines(stages),
        ["", "## Time and memory (reported)", ""],
        step_lines(stages, forecast_settings(config)) if benches else ["Not run."],
        ["", "## Hours of Table 3", ""],
        hour_lines(forecast_settings(config), benches) if benches else ["Not run."],
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def circumstance_lines(results: Mapping[str, Any], stages: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about device, versions and date."""
    found = results["circumstances"]
    device, versions = found["device"], ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    if device["kind"] != "cuda":
        yield "**Not a measurement of a GPU**: a trial of the check on a CPU, with the mini backbones."
        yield ""
    memory = f", {found['memory_gb']} GB, {found['num_gpus']} of them, CUDA {found['cuda']}" if "cuda" in found else ""
    dates = sorted({one["date"] for one in stages.values() if one})
    yield f"{device['name']}{memory}. {versions}. {' to '.join(dict.fromkeys([dates[0], dates[-1]])) if dates else ''}."
    yield f"Random weights, bfloat16. Written by `make test-gpu`; code {found['code'][:12]}."


def correctness_lines(stages: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the stages that assert, with the numbers that they compare."""
    yield from ("| Stage | Outcome | Numbers |", "|---|---|---|")
    for name, one in stages.items():
        if one is None:
            yield f"| {name} | not run | |"
        elif not one["passed"]:
            yield f"| {name} | **failed** | {one['error'].replace('|', '/')} |"
        elif "bench" not in one["result"] and "out of memory" not in one["result"]:
            not_run = one["result"].get("not run")
            outcome = "passed" if set(one["result"]) - {"not run"} else "not run"
            yield f"| {name} | {outcome} | {format_numbers(one['result']) if outcome == 'passed' else not_run} |"


def format_numbers(values: Mapping[str, Any]) -> str:
    """Format nested numbers in a line."""
    parts = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            parts.append(f"{name}: {format_numbers(value)}")
        else:
            parts.append(f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}")
    return "; ".join(parts) if any(isinstance(value, Mapping) for value in values.values()) else ", ".join(parts)


def step_lines(stages: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of all timed steps: seconds, speedup over the released algorithm, MFU, memory and its forecast."""
    yield from (
        "`of FLOPs` is the speedup over the released algorithm if all FLOPs took equal time. The peak of full",
        "fine-tuning includes a bfloat16 copy of the language model, which the bench keeps beside the trained weights.",
        "",
    )
    yield "| Backbone | Variant | Pairs | s/step | pairs/s | TFLOP | MFU | speedup | of FLOPs | peak GB | forecast GB |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for one in stages.values():
        result = one["result"] if one and one["passed"] else {}
        if "out of memory" in result:
            cells = [result["backbone"], "", str(result["batch"]), result["out of memory"], *[""] * 7]
            yield f"| {' | '.join(cells)} |"
        for row in result.get("bench", {}).get("rows", ()):
            yield format_row(result["bench"], row, settings)


def format_row(bench: Mapping[str, Any], row: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Format one variant of a bench."""
    reference = next((one for one in bench["rows"] if one["variant"] == "reference"), None)
    micro = f" ({bench['micro_batch_size']} at once)" if bench["micro_batch_size"] < bench["batch"] else ""
    steps = [f"{row['speedup']:.2f}", f"{reference['flops'] / row['flops']:.2f}"] if reference else ["", ""]
    memory = [
        f"{row['peak_bytes'] / GB:.1f}" if row["peak_bytes"] else "",
        f"{forecast_gb(bench, row['variant'], settings):.1f}" if row["variant"] != "reference" else "",
    ]
    mfu = f"{row['mfu']:.1%}" if row["mfu"] else ""
    cells = [bench["backbone"], row["variant"], f"{bench['batch']}{micro}", f"{row['seconds']:.3g}"]
    cells += [f"{row['pairs_per_second']:.4g}", f"{row['flops'] / 1e12:.3g}", mfu, *steps, *memory]
    return f"| {' | '.join(cells)} |"


def forecast_gb(bench: Mapping[str, Any], variant: str, settings: Mapping[str, Any]) -> float:
    """Return the memory on a device that the forecast predicts for a step of a bench, on one device."""
    backbone = copy.deepcopy(next(one for one in settings["backbones"] if one["name"] == bench["backbone"]))
    method = variant if variant in backbone["training"] else "slq"
    whole = bench["grad_cache"]
    backbone["gpus"][method] = 1
    backbone["training"][method] |= {"batch_size": bench["batch"], "micro_batch_size": bench["micro_batch_size"]}
    backbone["training"][method] |= {"sharding": False, "image_cache": "none", "grad_cache": whole}
    backbone["training"][method]["gradient_checkpointing"] &= whole
    return BackboneCostModel(settings, backbone).forecast_run(method).device_gb[0]


def hour_lines(settings: Mapping[str, Any], benches: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the hours of each cell of Table 3 at the measured speeds, beside the paper's."""
    measured = apply_measurements(settings, benches)
    paper = {(row["backbone"], row["method"]): row["printed"] for row, _ in read_csv(TABLE3)[1]
             if row["column"] == "gpu_hours"}  # fmt: skip
    yield from (
        "Training of one run in hours of this device: the forecast at the measured speeds (`slq forecast --bench`), on",
        "one device, without loading images. `*`: not measured on this backbone; estimated from the others' speeds.",
        "",
    )
    yield "| Backbone | Method | Paper | Measured speed | Assumed speed (`accounting.mfu`) |"
    yield "|---|---|---|---|---|"
    runs, assumed = forecast_preset(measured)[0], forecast_preset(settings)[0]
    for run, before in zip(runs, assumed, strict=True):
        if not run.flops:
            continue
        backbone = next(one for one in measured["backbones"] if one["name"] == run.backbone)
        is_measured = BackboneCostModel(measured, backbone).find_measured_speed(run.method).is_measured
        rows = [
            (find_method(run.method).label, paper.get((run.backbone, run.method), ""), run.train_hours, is_measured)
        ]
        if "released" in run.relative_flops:
            speed = measured["measured_speeds"].find_speed(run.backbone, "reference")
            flops = run.flops * run.relative_flops["released"]
            hours = type(run.train_hours)(flops / speed.high / 3600, flops / speed.low / 3600)
            rows.append((f"{find_method(run.method).label} as released", "", hours, speed.is_measured))
        for number, (label, printed, hours, is_own) in enumerate(rows):
            old = (
                ""
                if number or before.train_hours is None
                else f"{before.train_hours.low:.3g} to {before.train_hours.high:.3g}"
            )
            star = "" if is_own else "*"
            yield f"| {run.label} | {label} | {printed} | {hours.low:.3g} to {hours.high:.3g}{star} | {old} |"
