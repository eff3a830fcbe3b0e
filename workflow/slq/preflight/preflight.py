"""`slq doctor`: a report on whether a run can start, what it would cost, and the command that starts it."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import TextWrapper

from slq.common.errors import SlqError
from slq.config.cost_settings import forecast_settings
from slq.config.loading import Config, load_merged_config
from slq.cost.architecture import UnknownCostError
from slq.cost.forecast import Range, RunForecast, forecast_preset
from slq.methods.registry import BASE
from slq.preflight.checks import (
    ERROR,
    NOTE,
    OK,
    Finding,
    check_disk,
    check_local_data,
    check_slurm,
    check_sources,
    check_writable,
    missing_sources,
)
from slq.preflight.planned_jobs import PlannedJob, WorkflowPlan, plan_workflow
from slq.sources.fetch import is_offline
from slq.sources.listing import sources_disk_space

WIDTH, INDENT = 100, 17  # columns of the report, and of severity and subject
EVALUATION_RULES = ("evaluate_retrieval", "evaluate_retention", "evaluate_blind", "check_equivalence")
OUTPUT_FOLDERS = ("results", "paper_tables", "logs")  # folders of the clone, in addition to scratch


@dataclass(frozen=True)
class CostEstimate:
    """The forecast cost of the planned jobs.

    Attributes:
        gpu_hours: GPU hours, low to high; None if the forecast does not know them.
        memory_gb: largest memory of a job on one GPU, in GB.
        largest_training_gb: disk space of the largest planned training, in GB.
        all_trainings_gb: disk space of all planned trainings, in GB.
        unknown_reason: why there is no forecast; empty if there is one.
    """

    gpu_hours: Range | None
    memory_gb: float
    largest_training_gb: float
    all_trainings_gb: float
    unknown_reason: str = ""


def run_preflight(files: Sequence[Path], preset: str, options: Sequence[str]) -> tuple[str, int]:
    """Run all checks; return the report, whose last line is the command that starts the run, and the number of errors.

    Args:
        files: the configuration file and its overrides.
        preset: the preset to run.
        options: further options of the call of snakemake: its profiles and default resources.

    Raises:
        SlqError: the configuration is invalid, or has no such preset.
    """
    config = load_merged_config(files, preset)
    configfile_options = ["--configfile", *map(str, files)] if list(files) != [Path("config.yaml")] else []
    snakemake_options = ["--cores", "all", *options, "--config", f"preset={preset}", *configfile_options]
    findings: list[Finding] = []
    try:
        plan: WorkflowPlan | None = plan_workflow(snakemake_options)
    except SlqError as error:
        plan = None
        advice = "snakemake -n, with the options of the run, says it in full"
        findings.append(Finding(ERROR, "plan", str(error), advice))
    config = plan.config if plan else config
    cost, missing, scratch = _forecast_cost(config, plan), missing_sources(config, preset), Path(config["scratch"])
    findings += check_slurm(plan, cost.memory_gb)
    sources_gb = sources_disk_space(config, missing)
    findings.append(check_disk(scratch, sources_gb, cost.largest_training_gb, cost.all_trainings_gb))
    findings.append(check_writable([*map(Path, OUTPUT_FOLDERS), scratch]))
    findings += check_local_data(config, preset, missing)
    findings.append(check_sources(config, preset, missing, is_offline()))
    if plan is not None:
        findings.append(check_gpu_hours(plan, cost, config["presets"][preset]["forecast"]["device"]))
    page = [line for finding in findings for line in _format_finding(finding)]
    num_errors = sum(finding.severity == ERROR for finding in findings)
    return "\n".join([*page, "", shlex.join(["snakemake", *snakemake_options])]), num_errors


def _forecast_cost(config: Config, plan: WorkflowPlan | None) -> CostEstimate:
    """Forecast the cost of the planned jobs; the estimate holds the reason if an architecture or size is not known."""
    settings = forecast_settings(config)
    settings["methods"] = sorted({BASE, *settings["methods"]})  # equivalence checks run base even if no row shows it
    try:
        run_forecasts, _ = forecast_preset(settings)
    except UnknownCostError as error:
        return CostEstimate(None, 0.0, 0.0, 0.0, unknown_reason=str(error))
    return sum_costs(run_forecasts, plan.submitted if plan else ())


def sum_costs(run_forecasts: Sequence[RunForecast], jobs: Sequence[PlannedJob]) -> CostEstimate:
    """Sum the forecasts of the planned jobs; an evaluation of which only a part is left counts whole."""
    forecast_by_run = {(cell.backbone, cell.method): cell for cell in run_forecasts}
    training = [forecast_by_run[job.backbone, job.method] for job in jobs if job.rule == "train"]
    runs = {(job.backbone, job.method, job.seed) for job in jobs if job.rule in EVALUATION_RULES}
    evaluating = [forecast_by_run[backbone, method] for backbone, method, _ in sorted(runs)]
    hour_ranges = [*(cell.train_hours for cell in training), *(cell.evaluation_hours for cell in evaluating)]
    known_ranges = [one for one in hour_ranges if one is not None]
    return CostEstimate(
        sum(known_ranges, Range(0.0, 0.0)) if len(known_ranges) == len(hour_ranges) else None,
        max((cell.device_gb[0] for cell in [*training, *evaluating]), default=0.0),
        max((cell.disk_gb for cell in training), default=0.0),
        sum(cell.disk_gb for cell in training),
    )


def check_gpu_hours(plan: WorkflowPlan, cost: CostEstimate, device: str) -> Finding:
    """Report the forecast GPU hours, low to high, and the hours that the first attempts reserve.

    For jobs without GPUs these are core hours.
    """
    reserved_hours = sum(job.gpus * job.minutes for job in plan.submitted) / 60
    if cost.unknown_reason:
        text = f"no hours, and no disk of adapters and checkpoints ({cost.unknown_reason})"
        return Finding(NOTE, "forecast", f"{text}; the jobs reserve {reserved_hours:,.0f} GPU hours at first")
    if not reserved_hours:
        cores = sum(job.cpus * job.minutes for job in plan.submitted) / 60
        return Finding(OK, "forecast", f"no GPU hours; the jobs reserve {cores:,.0f} core hours at first")
    if cost.gpu_hours is None:
        text = "GPU hours are not known without a peak of the device under accounting.devices"
        return Finding(NOTE, "forecast", f"{text}; the jobs reserve {reserved_hours:,.0f} at first")
    low, high = cost.gpu_hours.low, cost.gpu_hours.high
    text = f"GPU hours of {device}: {low:,.1f}-{high:,.1f}; the jobs reserve {reserved_hours:,.0f}"
    num_baseline_jobs = sum(bool(job.baseline) for job in plan.submitted)
    baseline_note = f"; {num_baseline_jobs} jobs of baselines are not in them" if num_baseline_jobs else ""
    return Finding(OK, "forecast", f"{text} at first{baseline_note}")


def _format_finding(finding: Finding) -> Iterator[str]:
    """Yield the lines of a finding: severity, subject and message, and the advice on lines of its own."""
    head, rest = f"[{finding.severity}] {finding.subject}".ljust(INDENT), " " * INDENT
    wrapper = TextWrapper(WIDTH, head, rest, break_long_words=False, break_on_hyphens=False)
    yield from wrapper.wrap(finding.message)
    wrapper.initial_indent = rest
    yield from wrapper.wrap(finding.advice)
