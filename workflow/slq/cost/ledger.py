"""Ledger of the cost of a preset's runs over all attempts: one row per run and stage, and one per shared stage."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slq.common.attempts import JobAttempt, Step, is_finite_number, read_attempts
from slq.common.errors import SlqError
from slq.common.files import read_json, write_text
from slq.config.runs import BASE_SEED
from slq.cost.architecture import is_known_architecture, read_architecture
from slq.cost.flops import CACHED_SHARES, TokenTotals, cache_build_flops, method_plan, total_flops, train_flops
from slq.results.ledger import BASELINE_STAGE, LedgerRow, format_ledger_csv

STAGES = ("train", "retrieval", "retention", "equivalence", "blind")
CACHE_STAGE = "feature_cache"  # builds the image cache that the runs of all seeds read
MAX_FLAGS = 3  # anomalies that a row spells out; further ones are only counted
# -X: only whole jobs, because their steps would be counted twice. -D: also the earlier attempts of requeued jobs.
SACCT_COMMAND = ("sacct", "-X", "-D", "-P", "-n", "--format=JobIDRaw,State,ElapsedRaw,AllocTRES")


def write_ledger(settings: Mapping[str, Any], results: Path, out: Path) -> None:
    """Write the ledger of a preset's runs to `out`; the other arguments are those of `read_ledger`."""
    write_text(out, format_ledger_csv(read_ledger(settings, results)))


def read_ledger(settings: Mapping[str, Any], results: Path) -> list[LedgerRow]:
    """Build the rows of every run of the preset that has events, in the order of Table 3, then of every baseline.

    Args:
        settings: from `cost_settings.ledger_settings`.
        results: the results folder, which has one folder per preset.
    """
    ledger_rows: list[LedgerRow] = []
    folder = results / settings["preset"]

    def add_stage(backbone: Mapping[str, Any], run_id: tuple[str, str, int], stage: str, path: Path) -> None:
        """Append the row of a stage if its events file exists and is not empty."""
        if path.exists() and path.stat().st_size:
            ledger_rows.append(read_stage(settings, backbone, run_id, stage, path))

    for backbone in settings["backbones"]:
        for method in settings["methods"]:
            for seed in settings["seeds"][method]:
                events = folder / backbone["name"] / method / f"seed{seed}" / "events"
                for stage in STAGES:
                    add_stage(backbone, (backbone["name"], method, seed), stage, events / f"{stage}.jsonl")
            ledger_rows += read_shared_stages(settings, backbone, method, results)
    # The row of a baseline has its name as `method` and BASELINE_STAGE as its only stage. Comparators have no backbone.
    for baseline in settings["baselines"]:
        path = folder / BASELINE_STAGE / baseline["name"] / "events" / "retrieval.jsonl"
        add_stage({"architecture": {}}, (baseline["backbone"], baseline["name"], BASE_SEED), BASELINE_STAGE, path)
    return ledger_rows


def read_stage(
    settings: Mapping[str, Any], backbone: Mapping[str, Any], run_id: tuple[str, str, int], stage: str, path: Path
) -> LedgerRow:
    """Sum the cost of all attempts at one stage of a run; anomalies in their events become flags of the row.

    Args:
        run_id: backbone, method and seed.
        path: the stage's events file.

    Raises:
        SlqError: attempts ran on different devices, whose hours are different units.
    """
    stage_attempts = read_attempts(path)
    attempts, anomalies = stage_attempts.attempts, list(stage_attempts.anomalies)
    devices = [attempt.device for attempt in attempts if attempt.device]
    if len({(device["kind"], device["name"]) for device in devices}) > 1:
        names = sorted({device["name"] for device in devices})
        raise SlqError(f"{path}: attempts on {names}; expected one device, because hours of several cannot be added")
    if not devices:
        anomalies.append("no event names a device: hours are not known")
    device_name = devices[0]["name"] if devices else ""
    hours = spent_hours(attempts, devices[0]["count"]) if devices else dict.fromkeys(("train", "repeated", "total"))
    flops, grad_cache, released = spent_flops(settings, backbone, run_id[1], stage, attempts)
    spans = [span.fields for attempt in attempts for span in attempt.spans]
    joules = [span["joules"] for span in spans if is_finite_number(span.get("joules"))]
    reused = sum(span["reused"] for span in spans if is_finite_number(span.get("reused")))
    jobs = list(dict.fromkeys(attempt.slurm_job for attempt in attempts if attempt.slurm_job))
    sacct_hours = read_sacct_hours(jobs)
    return LedgerRow(
        *run_id,
        stage,
        device_name,
        max((one["count"] for one in devices), default=0),
        len(attempts),
        hours["train"],
        hours["repeated"],
        hours["total"],
        flops and flops / 1e15,
        grad_cache and grad_cache / 1e15,
        released and released / 1e15,
        model_flops_utilisation(flops, hours["train"], settings["devices"].get(device_name, {}).get("peak_tflops")),
        sum(joules) / 3.6e6 if joules else None,
        max((span["memory_gb"] for span in spans if is_finite_number(span.get("memory_gb"))), default=None),
        compute_cost(hours["total"], settings),
        f"{reused} answers of an earlier attempt" if reused else "",
        " ".join(jobs),
        sacct_hours,
        None if sacct_hours is None or hours["total"] is None else sacct_hours - hours["total"],
        path.as_posix(),
        format_flags(anomalies),
    )


def spent_hours(attempts: Iterable[JobAttempt], devices: float) -> dict[str, float | None]:
    """Sum the device hours of attempts: `train`, `repeated` training, and `total`.

    Args:
        devices: number of devices of an attempt whose events do not record it.
    """
    hours = dict.fromkeys(("train", "repeated", "total"), 0.0)
    for attempt in attempts:
        seconds = attempt.seconds_by_span()
        count = (attempt.device["count"] if attempt.device else devices) / 3600
        hours["train"] += seconds.get("train", 0.0) * count
        hours["repeated"] += seconds.get("repeated", 0.0) * count
        hours["total"] += sum(seconds.values()) * count
    return dict(hours)


def model_flops_utilisation(flops: float | None, hours: float | None, peak_tflops: float | None) -> float | None:
    """Compute the MFU: FLOPs over the peak FLOPs of the device in these hours; None if one of them is unknown."""
    return flops / (hours * 3600 * peak_tflops * 1e12) if flops and hours and peak_tflops else None


def compute_cost(hours: float | None, settings: Mapping[str, Any]) -> float | None:
    """Compute the price of the hours; None if the hours or the price are unknown."""
    price = settings["price"]["device_hour"]
    return hours * price if price and hours is not None else None


def format_flags(anomalies: Sequence[str]) -> str:
    """Join the first MAX_FLAGS anomalies and the number of further ones."""
    more = [f"and {len(anomalies) - MAX_FLAGS} more"] if len(anomalies) > MAX_FLAGS else []
    return "; ".join([*anomalies[:MAX_FLAGS], *more])


def read_shared_stages(
    settings: Mapping[str, Any], backbone: Mapping[str, Any], method: str, results: Path
) -> list[LedgerRow]:
    """Read the stages that all runs of a method share: the learning-rate sweep and the image cache.

    The hours of a shared stage are counted once, in its own row, and not in the rows of the runs that reuse it. The row
    states how many runs share it.
    """
    ledger_rows = []
    folder, seeds = results / settings["preset"] / backbone["name"] / method, settings["seeds"][method]
    num_runs = len(seeds)
    reused = f"shared by {num_runs} runs, counted once" if num_runs > 1 else ""
    cache_events = folder / f"{CACHE_STAGE}.jsonl"
    if cache_events.exists():
        ledger_row = read_stage(settings, backbone, (backbone["name"], method, seeds[0]), CACHE_STAGE, cache_events)
        ledger_rows.append(replace(ledger_row, reused=reused))
    for path in (folder / f"seed{seed}" / "lr_sweep.json" for seed in seeds):
        if path.exists():
            ledger_rows.append(read_lr_sweep(settings, backbone, method, path, reused))
    return ledger_rows


def read_lr_sweep(
    settings: Mapping[str, Any], backbone: Mapping[str, Any], method: str, path: Path, reused: str
) -> LedgerRow:
    """Sum the cost of the trials of a learning-rate search, apart from the one that is the method's own run."""
    run_file = path.with_name("run.json")
    own = read_json(run_file)["settings"]["hyperparameters"]["learning_rate"] if run_file.exists() else None
    trials = read_json(path)["trials"]
    hours = sum(trial["hours"] for trial in trials if trial["learning_rate"] != own)
    device = trials[0]["device"]
    run = (backbone["name"], method, int(path.parent.name.removeprefix("seed")), "lr_sweep", device["name"])
    spent = {"train_hours": 0.0, "repeated_hours": 0.0, "total_hours": hours, "cost": compute_cost(hours, settings)}
    return LedgerRow(*run, device["count"], attempts=len(trials), **spent, reused=reused, source=path.as_posix())


def spent_flops(
    settings: Mapping[str, Any],
    backbone: Mapping[str, Any],
    method: str,
    stage: str,
    attempts: Iterable[JobAttempt],
) -> tuple[float | None, ...]:
    """Compute the FLOPs of the steps that the finished stage consists of.

    Returns:
        Three numbers for the same steps: the FLOPs as spent, the FLOPs with GradCache (Gao et al. 2021), and the FLOPs
        of the released algorithm, which has no image cache. GradCache gives the same result in two passes with less
        memory. The third number is None for a method without queries; for the stage that builds the image cache, only
        the first is known. All are None if the events have no steps or the architecture has no closed form.
    """
    totals_by_input = sum_token_totals(step for attempt in attempts for step in attempt.retained_steps())
    if not totals_by_input or not is_known_architecture(backbone["architecture"]):
        return None, None, None
    architecture = read_architecture(backbone["architecture"])
    if stage == CACHE_STAGE:
        return (
            sum(total_flops(cache_build_flops(architecture, work, state)) for state, work in totals_by_input.items()),
            None,
            None,
        )

    plan = method_plan(settings, method, architecture)

    def flops(cached_shares: Mapping[str, Mapping[str, Any]] = CACHED_SHARES, **changes: Any) -> float:
        """Compute the FLOPs of the same steps under a changed plan."""
        plans = {state: replace(plan, **changes, **cached_shares.get(state, {})) for state in totals_by_input}
        return sum(
            total_flops(train_flops(architecture, plans[state], work)) for state, work in totals_by_input.items()
        )

    released = (
        plan.num_queries and plan.keeps_prefix
    )  # SLQ's released code, which keeps no prefix, is another way to run it
    return flops(), flops(num_forward_passes=2), flops({}, whole_sequence=True) if released else None


def sum_token_totals(steps: Iterable[Step]) -> dict[str, TokenTotals]:
    """Sum the tokens of steps: captions under `text`, images under the level of their cache (models/prefix.py)."""
    sums: dict[str, TokenTotals] = {}
    for step in steps:
        for cache_level, token_counts in (step.token_counts or {}).items():
            sums[cache_level] = sums.get(cache_level, TokenTotals()) + TokenTotals(**token_counts)
    return sums


def read_sacct_hours(jobs: Sequence[str]) -> float | None:
    """Sum the device hours that Slurm recorded for all attempts of jobs.

    The result is None without Slurm's accounting. If sacct fails, it is None too, and the reason is printed to standard
    error.
    """
    if not jobs or shutil.which(SACCT_COMMAND[0]) is None:
        return None
    answer = subprocess.run([*SACCT_COMMAND, "-j", ",".join(jobs)], capture_output=True, text=True)
    problem = answer.stderr.strip() if answer.returncode else ""
    try:
        if not answer.returncode:
            return sum(_parse_device_seconds(line) for line in answer.stdout.splitlines()) / 3600
    except ValueError:
        problem = f"unexpected output: {answer.stdout.strip()[:100]!r}"
    print(f"sacct: {problem}: hours are not compared with Slurm's records", file=sys.stderr)
    return None


def _parse_device_seconds(line: str) -> float:
    """Parse a line of sacct; return its seconds times its number of GPUs or, without GPUs, of CPUs."""
    _, _, seconds, allocated = line.split("|")
    counts: dict[str, str] = dict(re.findall(r"(?:^|,)(gres/gpu|cpu)=(\d+)", allocated))
    return int(seconds) * int(counts.get("gres/gpu") or counts.get("cpu") or 0)
