"""Jobs that a Snakemake command would submit, planned by Snakemake itself, with their cluster resources.

`python -m slq.preflight.planned_jobs`, with the options of the Snakemake command, prints the jobs as JSON. This is a
separate process, because reading a Snakefile changes the process's environment and import path.
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
    """Job that Snakemake would run, with the resources that it requests.

    Attributes:
        rule: name of the rule.
        backbone: backbone of the job's run; empty if the job belongs to no run.
        method: method of the job's run; empty if the job belongs to no run.
        seed: seed of the job's run, as text; empty if the job belongs to no run.
        baseline: baseline that the job evaluates; empty if there is none.
        local: whether the job runs on the submitting host.
        gpus: number of GPUs.
        cpus: number of CPU cores.
        minutes: time limit that the first attempt requests.
        minutes_again: time limit that the last attempt requests.
        gpu_model: type of the GPUs; empty for any type.
        partition: Slurm partition; empty for the default partition.
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
        """Return the rule, backbone and method, without empty fields."""
        return " ".join(filter(None, (self.rule, self.backbone, self.method)))


@dataclass(frozen=True)
class WorkflowPlan:
    """Jobs that a Snakemake command would run.

    Attributes:
        config: the configuration, including the overrides of profiles.
        jobs: all jobs, in the order of the rules.
    """

    config: Config
    jobs: tuple[PlannedJob, ...]

    @property
    def submitted(self) -> list[PlannedJob]:
        """Jobs that are submitted to the cluster."""
        return [job for job in self.jobs if not job.local]


def plan_workflow(options: Sequence[str]) -> WorkflowPlan:
    """Plan a `snakemake` command with these options, in a separate process.

    Raises:
        SlqError: Snakemake cannot plan the command; the message is the last line of Snakemake's message.
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
    """Plan a `snakemake` command in this process; return the fields of a `WorkflowPlan`."""
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
        ).printd3dag()  # called because it builds the DAG; its output is not used
        workflow = workflow_api._workflow
        rule_order = {rule.name: place for place, rule in enumerate(workflow.rules)}  # as in the Snakefile
        jobs = [
            _job_record(job, job.rule.name in workflow._localrules, args.retries + 1)
            for job in sorted(workflow.dag.needrun_jobs(), key=lambda job: (rule_order[job.rule.name], *job.wildcards))
            if not job.rule.norun
        ]
    return {"config": workflow.globals["config"], "jobs": jobs}


def _job_record(job: Any, local: bool, max_attempts: int) -> dict[str, Any]:
    """Return the fields of a `PlannedJob`. This changes the job: its attempt is set to the last one."""
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
    job.attempt = max_attempts  # the requested time depends on the attempt
    return entry | {"minutes_again": job.resources.get("runtime", 0)}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = compute_plan_record(sys.argv[1:])
    print(json.dumps(found))
