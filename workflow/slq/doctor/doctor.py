"""`slq doctor`: every check, in the order of the page."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from slq.accounting.architecture import NotForecast
from slq.accounting.forecast import forecast
from slq.accounting.sizes import read_benches
from slq.arguments import offline
from slq.config import Config
from slq.cost_settings import forecast_settings
from slq.doctor.cost import Cost, cost
from slq.doctor.finding import FIRST, OK, Finding
from slq.doctor.machine import disk, environment, installed, latex, versions
from slq.doctor.page import page
from slq.doctor.plan import Plan, planned
from slq.doctor.site import site_findings
from slq.doctor.slurm import read_cluster
from slq.doctor.supply import supply, supply_findings
from slq.errors import SlqError
from slq.sources.listing import merged

REQUIREMENTS = Path("envs/requirements.txt")


def examine(files: Sequence[Path], preset: str, options: Sequence[str]) -> tuple[str, int]:
    """The page, and how many things have to be done before a run can start.

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
    plan, findings = _planned(call)
    config = plan.config if plan else config | {"preset": preset}
    device, spent = config["presets"][preset]["forecast"]["device"], _cost(config, plan)
    findings += _of_slurm(plan, spent)
    found = supply(config, preset)
    findings.append(disk(Path(config["scratch"]), found.gb, spent.one_gb, spent.all_gb))
    findings += supply_findings(found, preset, offline())
    on_gpus = plan is not None and any(job.gpus for job in plan.submitted)
    findings += versions(installed(REQUIREMENTS), on_gpus)
    findings += [environment(os.environ), latex()]
    return page(findings, plan, call, spent, device), sum(finding.mark == FIRST for finding in findings)


def _planned(options: Sequence[str]) -> tuple[Plan | None, list[Finding]]:
    try:
        return planned(options), []
    except SlqError as error:
        return None, [Finding(FIRST, "plan", str(error), "snakemake -n, with the options of the run, says it in full")]


def _cost(config: Config, plan: Plan | None) -> Cost:
    settings = json.loads(forecast_settings(config))
    try:
        cells, _ = forecast(settings, read_benches(settings, Path("results")))
    except NotForecast as error:
        return Cost(None, None, 0.0, 0.0, 0.0, reason=str(error))
    return cost(cells, plan.submitted if plan else ())


def _of_slurm(plan: Plan | None, spent: Cost) -> Iterator[Finding]:
    """What Slurm says; without a plan, only whether it is there."""
    try:
        cluster = read_cluster()
    except SlqError as error:
        yield Finding(FIRST, "Slurm", str(error), "ask those who run the cluster")
        return
    if cluster is None:
        text = "none of its commands is on PATH, so --profile slurm cannot submit from this machine"
        yield Finding(FIRST, "Slurm", text, "call where sbatch is; or compute here: snakemake --cores all, no profile")
        return
    yield Finding(OK, "Slurm", f"answers; partitions: {', '.join(cluster.partitions)}")
    if plan is not None:
        yield from site_findings(cluster, plan, spent.memory_gb)
