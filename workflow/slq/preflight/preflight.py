"""`slq doctor`: whether a run can start, what it would cost, and the command to type."""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import TextWrapper

from slq.common.errors import SlqError
from slq.config.cost_slices import forecast_settings
from slq.config.loading import Config
from slq.cost.architecture import NotForecast
from slq.cost.forecast import Cell, Range, forecast
from slq.preflight.checks import FIRST, NOTE, OK, Finding, data, disk, gb_of, missing_sources, slurm, sources, writable
from slq.preflight.planned_jobs import Job, Plan, planned
from slq.sources.fetch import offline
from slq.sources.listing import merged

WIDTH, INDENT = 100, 17  # columns of the page, and of marks and subjects
EVALUATING = ("retrieve", "retain", "blind", "prove")
WRITTEN = ("results", "paper_tables", "logs")  # folders of the clone, beside scratch


@dataclass(frozen=True)
class Cost:
    """What the jobs that are due will take, by the forecast.

    `hours`: of a GPU, None where the forecast does not know them; `memory_gb`: of a GPU, at most; `one_gb`, `all_gb`:
    disk of the largest training that is due, and of all; `reason`: why none is forecast.
    """

    hours: Range | None
    memory_gb: float
    one_gb: float
    all_gb: float
    reason: str = ""


def examine(files: Sequence[Path], preset: str, options: Sequence[str]) -> tuple[str, int]:
    """The page, whose last line is the command to type, and how many things have to be done before a run can start.

    Args:
        files: the configuration and what is laid over it; none: config.yaml.
        options: further ones of the call of snakemake: its profiles and default resources.

    Raises:
        SlqError: the configuration is not sound, or has no such preset.
    """
    config = merged(files or [Path("config.yaml")])
    if preset not in config["presets"]:
        raise SlqError(f"--preset {preset}: there are {', '.join(config['presets'])}")
    over = ["--configfile", *map(str, files)] if files else []
    call = ["--cores", "all", *options, "--config", f"preset={preset}", *over]
    findings: list[Finding] = []
    try:
        plan: Plan | None = planned(call)
    except SlqError as error:
        plan = None
        advice = "snakemake -n, with the options of the run, says it in full"
        findings.append(Finding(FIRST, "plan", str(error), advice))
    config = plan.config if plan else config | {"preset": preset}
    spent, missing, scratch = _cost(config, plan), missing_sources(config, preset), Path(config["scratch"])
    findings += slurm(plan, spent.memory_gb)
    findings.append(disk(scratch, gb_of(config, missing), spent.one_gb, spent.all_gb))
    findings.append(writable([*map(Path, WRITTEN), scratch]))
    findings += data(config, preset, missing)
    findings.append(sources(config, preset, missing, offline()))
    if plan is not None:
        findings.append(hours(plan, spent, config["presets"][preset]["forecast"]["device"]))
    page = [line for finding in findings for line in _printed(finding)]
    return "\n".join([*page, "", shlex.join(["snakemake", *call])]), sum(finding.mark == FIRST for finding in findings)


def _cost(config: Config, plan: Plan | None) -> Cost:
    settings = json.loads(forecast_settings(config))
    settings["methods"] = sorted({"base", *settings["methods"]})  # a proof asks base, shown or not
    try:
        cells, _ = forecast(settings)
    except NotForecast as error:
        return Cost(None, 0.0, 0.0, 0.0, reason=str(error))
    return cost(cells, plan.submitted if plan else ())


def cost(cells: Sequence[Cell], jobs: Sequence[Job]) -> Cost:
    """Of the jobs that are due; an evaluation that is due in part counts whole."""
    by_run = {(cell.backbone, cell.method): cell for cell in cells}
    training = [by_run[job.backbone, job.method] for job in jobs if job.rule == "train"]
    runs = {(job.backbone, job.method, job.seed) for job in jobs if job.rule in EVALUATING}
    evaluating = [by_run[backbone, method] for backbone, method, _ in sorted(runs)]
    found = [*(cell.train for cell in training), *(cell.evaluate for cell in evaluating)]
    known = [one for one in found if one is not None]
    return Cost(
        sum(known, Range(0.0, 0.0)) if len(known) == len(found) else None,
        max((cell.memory[0] for cell in [*training, *evaluating]), default=0.0),
        max((cell.disk for cell in training), default=0.0),
        sum(cell.disk for cell in training),
    )


def hours(plan: Plan, cost: Cost, device: str) -> Finding:
    """GPU hours low to high, of jobs on processors core hours, and what first attempts reserve of them."""
    reserved = sum(job.gpus * job.minutes for job in plan.submitted) / 60
    if cost.reason:
        text = f"no hours, and no disk of adapters and checkpoints ({cost.reason})"
        return Finding(NOTE, "forecast", f"{text}; the jobs reserve {reserved:,.0f} GPU hours at first")
    if not reserved:
        cores = sum(job.cpus * job.minutes for job in plan.submitted) / 60
        return Finding(OK, "forecast", f"no GPU hours; the jobs reserve {cores:,.0f} core hours at first")
    if cost.hours is None:
        text = "GPU hours are not known without a peak of the device under accounting.devices"
        return Finding(NOTE, "forecast", f"{text}; the jobs reserve {reserved:,.0f} at first")
    text = f"GPU hours of {device}: {cost.hours.low:,.1f}-{cost.hours.high:,.1f}; the jobs reserve {reserved:,.0f}"
    rows = sum(bool(job.row) for job in plan.submitted)
    apart = f"; {rows} jobs of rows that are no runs are not in them" if rows else ""
    return Finding(OK, "forecast", f"{text} at first{apart}")


def _printed(finding: Finding) -> Iterator[str]:
    """A finding's lines: beside its subject what was found, and what to do on lines of its own."""
    head, rest = f"[{finding.mark}] {finding.subject}".ljust(INDENT), " " * INDENT
    wrap = TextWrapper(WIDTH, head, rest, break_long_words=False, break_on_hyphens=False)
    yield from wrap.wrap(finding.text)
    wrap.initial_indent = rest
    yield from wrap.wrap(finding.advice)
