"""`slq doctor`: a report on whether a run can start, its forecast cost, and the command that starts it."""

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

WIDTH, INDENT = 100, 17  # widths in characters: of the report, and of its column with severity and subject
EVALUATION_RULES = ("evaluate_retrieval", "evaluate_retention", "evaluate_blind", "check_equivalence")
OUTPUT_FOLDERS = ("results", "paper_tables", "logs")  # in the clone; the run also writes to scratch


@dataclass(frozen=True)
class CostEstimate:
    """Forecast cost of the planned jobs.

    Attributes:
        gpu_hours: range of the GPU hours; None if they are unknown.
        memory_gb: largest memory of a job on one GPU, in GB.
        largest_training_gb: disk space of the largest planned training, in GB.
        all_trainings_gb: disk space of all planned trainings, in GB.
        unknown_reason: reason why there is no forecast; empty if there is one.
    """

    gpu_hours: Range | None
    memory_gb: float
    largest_training_gb: float
    all_trainings_gb: float
    unknown_reason: str = ""


def run_preflight(files: Sequence[Path], preset: str, options: Sequence[str]) -> tuple[str, int]:
    """Run all checks; return the report and the number of errors.

    The last line of the report is the command that starts the run.

    Args:
        files: the configuration file and its overrides.
        preset: the preset to run.
        options: options of the snakemake command: its profiles and default resources.
    """
    config = load_merged_config(files, preset)
    named_files = [] if list(files) == [Path("config.yaml")] else [*map(str, files)]
    configfile_options = ["--configfile", *named_files] if named_files else []
    snakemake_options = ["--cores", "all", *options, "--config", f"preset={preset}", *configfile_options]
    findings: list[Finding] = []
    try:
        plan: WorkflowPlan | None = plan_workflow(snakemake_options)
    except SlqError as error:
        plan = None
        advice = "run snakemake -n with the options of the run to see the full message"
        findings.append(Finding(ERROR, "plan", str(error), advice))
    config = plan.config if plan else config
    cost, missing, scratch = _forecast_cost(config, plan), missing_sources(config, preset), Path(config["scratch"])
    findings += check_slurm(plan, cost.memory_gb)
    sources_gb = sources_disk_space(config, missing)
    findings.append(check_disk(scratch, sources_gb, cost.largest_training_gb, cost.all_trainings_gb))
    findings.append(check_writable([*map(Path, OUTPUT_FOLDERS), scratch]))
    findings += check_local_data(config, preset, missing)
    findings.append(check_sources(config, preset, missing, is_offline(), named_files))
    if plan is not None:
        findings.append(check_gpu_hours(plan, cost, config["presets"][preset]["forecast"]["device"]))
    page = [line for finding in findings for line in format_finding(finding)]
    num_errors = sum(finding.severity == ERROR for finding in findings)
    return "\n".join([*page, "", shlex.join(["snakemake", *snakemake_options])]), num_errors


def _forecast_cost(config: Config, plan: WorkflowPlan | None) -> CostEstimate:
    """Forecast the cost of the planned jobs; if an architecture or size is unknown, the estimate has the reason."""
    settings = forecast_settings(config)
    # Equivalence checks run the base method even if no row of the tables shows it.
    settings["methods"] = sorted({BASE, *settings["methods"]})
    try:
        run_forecasts, _ = forecast_preset(settings)
    except UnknownCostError as error:
        return CostEstimate(None, 0.0, 0.0, 0.0, unknown_reason=str(error))
    return sum_costs(run_forecasts, plan.submitted if plan else ())


def sum_costs(run_forecasts: Sequence[RunForecast], jobs: Sequence[PlannedJob]) -> CostEstimate:
    """Sum the forecasts of the planned jobs; a partly finished evaluation is counted in full."""
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
    """Report the range of forecast GPU hours, and the GPU hours that the first attempts reserve.

    If no job uses a GPU, report the core hours that the first attempts reserve.
    """
    reserved_hours = sum(job.gpus * job.minutes for job in plan.submitted) / 60
    if cost.unknown_reason:
        text = f"no estimate of GPU hours or of disk space for adapters and checkpoints ({cost.unknown_reason})"
        return Finding(NOTE, "forecast", f"{text}; first attempts reserve {reserved_hours:,.0f} GPU hours")
    if not reserved_hours:
        cores = sum(job.cpus * job.minutes for job in plan.submitted) / 60
        return Finding(OK, "forecast", f"no GPU hours; first attempts reserve {cores:,.0f} core hours")
    if cost.gpu_hours is None:
        text = "GPU hours are unknown, because accounting.devices has no peak of the device"
        return Finding(NOTE, "forecast", f"{text}; first attempts reserve {reserved_hours:,.0f}")
    low, high = cost.gpu_hours.low, cost.gpu_hours.high
    text = f"GPU hours of {device}: {low:,.1f}-{high:,.1f}; first attempts reserve {reserved_hours:,.0f}"
    num_baseline_jobs = sum(bool(job.baseline) for job in plan.submitted)
    baseline_note = f"; the forecast omits {num_baseline_jobs} jobs of baselines" if num_baseline_jobs else ""
    return Finding(OK, "forecast", f"{text}{baseline_note}")


def format_finding(finding: Finding) -> Iterator[str]:
    """Yield the lines of a finding: severity, subject and message, then the advice on separate lines."""
    head, rest = f"[{finding.severity}] {finding.subject} ".ljust(INDENT), " " * INDENT
    wrapper = TextWrapper(WIDTH, head, rest, break_long_words=False, break_on_hyphens=False)
    yield from wrapper.wrap(finding.message)
    wrapper.initial_indent = rest
    yield from wrapper.wrap(finding.advice)
