"""The jobs that a call of Snakemake would submit, as Snakemake itself plans them, with their cluster resources.

`python -m slq.preflight.planned_jobs`, with the options of that call, prints them as JSON. It is a separate process, as
reading a Snakefile changes the environment and import path of the process that does it.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slq.common.errors import SlqError
from slq.config.loading import Config


@dataclass(frozen=True)
class PlannedJob:
    """A job that Snakemake would run, with the resources that it requests.

    Attributes:
        rule: the name of its rule.
        backbone: the backbone of its run; empty if the job belongs to none.
        method: the method of its run; empty if the job belongs to none.
        seed: the seed of its run, as text; empty if the job belongs to none.
        baseline: the baseline that it evaluates; empty if the job belongs to none.
        local: whether it runs on the submitting host.
        gpus: number of GPUs.
        cpus: number of CPU cores.
        minutes: run time that the first attempt requests.
        minutes_again: run time that the last attempt requests, if all before it failed.
        gpu_model: type of its GPUs; empty if any will do.
        partition: Slurm partition; if empty, the site's default.
    """

    rule: str
    backbone: str
    method: str
    seed: str
    baseline: str
    local: bool
    gpus: int
    cpus: int
    minutes: int
    minutes_again: int
    gpu_model: str
    partition: str

    def __str__(self) -> str:
        """Return rule, backbone and method, without those that are empty."""
        return " ".join(filter(None, (self.rule, self.backbone, self.method)))


@dataclass(frozen=True)
class WorkflowPlan:
    """The jobs that a call of Snakemake would run.

    Attributes:
        config: the configuration, including the overrides of profiles.
        jobs: all jobs, in the order of the rules.
    """

    config: Config
    jobs: tuple[PlannedJob, ...]

    @property
    def submitted(self) -> list[PlannedJob]:
        """The jobs that are submitted to the cluster."""
        return [job for job in self.jobs if not job.local]


def plan_workflow(options: Sequence[str]) -> WorkflowPlan:
    """Plan a call of `snakemake` with these options, in a separate process.

    Raises:
        SlqError: Snakemake cannot plan; the last line of its own message.
    """
    answer = subprocess.run(
        [sys.executable, "-m", "slq.preflight.planned_jobs", *options], capture_output=True, text=True
    )
    if answer.returncode:
        stderr_lines = answer.stderr.strip().splitlines() or ["no message"]
        raise SlqError(stderr_lines[-1].strip())
    record = json.loads(answer.stdout)
    return WorkflowPlan(record["config"], tuple(PlannedJob(**entry) for entry in record["jobs"]))


def compute_plan_record(options: list[str]) -> dict[str, Any]:
    """Plan a call of `snakemake` in this process; return the fields of a `WorkflowPlan`."""
    from snakemake.api import SnakemakeApi
    from snakemake.cli import parse_args, parse_config
    from snakemake.settings.types import ConfigSettings, DAGSettings, ResourceSettings

    _, args = parse_args(options)
    with SnakemakeApi() as api:
        workflow_api = api.workflow(
            resource_settings=ResourceSettings(
                cores=args.cores,
                nodes=args.jobs,
                default_resources=args.default_resources,
                overwrite_resources=args.set_resources,
            ),
            config_settings=ConfigSettings(
                config=parse_config(args.config), configfiles=args.configfile, config_args=args.config
            ),
            snakefile=args.snakefile,
        )
        workflow_api.dag(
            DAGSettings(rerun_triggers=args.rerun_triggers)
        ).printd3dag()  # builds it; what it prints is not used
        workflow = workflow_api._workflow
        rule_order = {rule.name: place for place, rule in enumerate(workflow.rules)}  # as in the Snakefile
        jobs = [
            _job_record(job, job.rule.name in workflow._localrules, args.retries + 1)
            for job in sorted(workflow.dag.needrun_jobs(), key=lambda job: (rule_order[job.rule.name], *job.wildcards))
            if not job.rule.norun
        ]
    return {"config": workflow.globals["config"], "jobs": jobs}


def _job_record(job: Any, local: bool, max_attempts: int) -> dict[str, Any]:
    """Return the fields of a `PlannedJob`. Sets the job's attempt to the last one, whose resources differ."""
    wildcards, job_resources = job.wildcards_dict, job.resources
    entry = {
        "rule": job.rule.name,
        **{key: wildcards.get(key, "") for key in ("backbone", "method", "seed", "baseline")},
        "local": local,
        "gpus": job_resources.get("gpu", 0),
        "cpus": job_resources.get("cpus_per_task", 1),
        "minutes": job_resources.get("runtime", 0),
        "gpu_model": job_resources.get("gpu_model", ""),
        "partition": job_resources.get("slurm_partition", ""),
    }
    job.attempt = max_attempts  # resources depend on the attempt
    return entry | {"minutes_again": job.resources.get("runtime", 0)}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = compute_plan_record(sys.argv[1:])
    print(json.dumps(found))
