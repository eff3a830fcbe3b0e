"""What a call would submit: its jobs as Snakemake itself plans them, and what each asks a cluster for.

Run as `python -m slq.preflight.planned_jobs`, with that call's options, it prints them as JSON: a process of its own,
as reading a Snakefile changes the environment and the path of the process that does it.
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
    """A job that is due. Without a partition it takes the site's default.

    `backbone`, `method`, `seed`: of the run that it works on, `baseline`: that it evaluates; empty where it works on
    none. `minutes_again`: that its last attempt asks for, if those before failed.
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
        return " ".join(filter(None, (self.rule, self.backbone, self.method)))


@dataclass(frozen=True)
class WorkflowPlan:
    """`config`: the configuration, with what profiles lay over it."""

    config: Config
    jobs: tuple[PlannedJob, ...]

    @property
    def submitted(self) -> list[PlannedJob]:
        return [job for job in self.jobs if not job.local]


def plan_workflow(options: Sequence[str]) -> WorkflowPlan:
    """The plan of `snakemake` with these options.

    Raises:
        SlqError: Snakemake cannot plan: its own message.
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
    """The fields of a plan, in this process."""
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
        rule_order = {rule.name: place for place, rule in enumerate(workflow.rules)}  # of the stages
        jobs = [
            _job_record(job, job.rule.name in workflow._localrules, args.retries + 1)
            for job in sorted(workflow.dag.needrun_jobs(), key=lambda job: (rule_order[job.rule.name], *job.wildcards))
            if not job.rule.norun
        ]
    return {"config": workflow.globals["config"], "jobs": jobs}


def _job_record(job: Any, local: bool, max_attempts: int) -> dict[str, Any]:
    """The fields of a job."""
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
    job.attempt = max_attempts  # whose resources are another's
    return entry | {"minutes_again": job.resources.get("runtime", 0)}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = compute_plan_record(sys.argv[1:])
    print(json.dumps(found))
