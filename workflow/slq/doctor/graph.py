"""The jobs that a call of Snakemake would start, as JSON: python -m slq.doctor.graph, and that call's options.

A process of its own, as reading a Snakefile changes the environment and the path of the process that does it.
"""

import contextlib
import json
import sys
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.cli import parse_args, parse_config
from snakemake.settings.types import ConfigSettings, DAGSettings, ResourceSettings
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

ASKED = ("cpus_per_task", "mem_mb", "runtime", "gpu", "gpu_model", "slurm_partition", "slurm_account")


def due(options: list[str]) -> dict[str, Any]:
    """Jobs to be run, each with what it asks for; of the call what a cluster has to go with, and its configuration."""
    _, args = parse_args(options)
    with SnakemakeApi() as api:
        call = api.workflow(
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
        call.dag(DAGSettings(rerun_triggers=args.rerun_triggers)).printd3dag()  # builds it; what it prints is not used
        workflow = call._workflow
        order = {rule.name: place for place, rule in enumerate(workflow.rules)}  # of the stages
        jobs = [
            _entry(job, job.rule.name in workflow._localrules, args.retries + 1)
            for job in sorted(workflow.dag.needrun_jobs(), key=lambda job: (order[job.rule.name], *job.wildcards))
            if not job.rule.norun
        ]
    executor = ExecutorPluginRegistry().get_plugin(args.executor).get_settings(args)
    return {
        "config": workflow.globals["config"],
        "jobs": jobs,
        "at_once": args.jobs,
        "init_seconds": executor.init_seconds_before_status_checks,
        "prefix": executor.jobname_prefix,
    }


def _entry(job: Any, local: bool, attempts: int) -> dict[str, Any]:
    asks = {name: value for name in ASKED if (value := job.resources.get(name)) is not None}
    job.attempt = attempts
    return {
        "rule": job.rule.name,
        "wildcards": dict(job.wildcards_dict),
        "local": local,
        "asks": asks,
        "minutes_again": job.resources.get("runtime", 0),
    }


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = due(sys.argv[1:])
    print(json.dumps(found))
