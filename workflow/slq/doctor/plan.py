"""What a call would submit: its jobs as Snakemake itself plans them, and what each asks a cluster for."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slq.config import Config
from slq.errors import SlqError


@dataclass(frozen=True)
class Job:
    """A job that is due. Without a partition or an account it takes the site's default.

    `backbone`, `method`, `seed`: of the run that it works on, `row`: of Table 1 that is no run; empty where it works on
    none. `minutes_again`: that its last attempt asks for, if those before failed.
    """

    rule: str
    backbone: str
    method: str
    seed: str
    row: str
    local: bool
    gpus: int
    cpus: int
    mem_mb: int
    minutes: int
    minutes_again: int
    gpu_model: str
    partition: str
    account: str


@dataclass(frozen=True)
class Plan:
    """`config`: the configuration, with what profiles lay over it; `at_once`: jobs in the queue at most; `prefix`: what
    their names begin with; `init_seconds`: until the executor first asks for their states.
    """

    config: Config
    jobs: tuple[Job, ...]
    at_once: int
    init_seconds: int
    prefix: str

    @property
    def submitted(self) -> list[Job]:
        return [job for job in self.jobs if not job.local]


def planned(options: Sequence[str]) -> Plan:
    """The plan of `snakemake` with these options.

    Raises:
        SlqError: Snakemake cannot plan: its own message.
    """
    answer = subprocess.run([sys.executable, "-m", "slq.doctor.graph", *options], capture_output=True, text=True)
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or ["no message"]
        raise SlqError(said[-1].strip())
    return read_plan(json.loads(answer.stdout))


def read_plan(found: Mapping[str, Any]) -> Plan:
    """A plan from what `slq.doctor.graph` prints."""
    jobs = tuple(_job(entry) for entry in found["jobs"])
    return Plan(found["config"], jobs, found["at_once"], found["init_seconds"], found["prefix"])


def _job(entry: Mapping[str, Any]) -> Job:
    asks, run = entry["asks"], entry["wildcards"]
    return Job(
        rule=entry["rule"],
        **{key: run.get(key, "") for key in ("backbone", "method", "seed", "row")},
        local=entry["local"],
        gpus=asks.get("gpu", 0),
        cpus=asks.get("cpus_per_task", 1),
        mem_mb=asks.get("mem_mb", 0),
        minutes=asks.get("runtime", 0),
        minutes_again=entry["minutes_again"],
        gpu_model=asks.get("gpu_model", ""),
        partition=asks.get("slurm_partition", ""),
        account=asks.get("slurm_account", ""),
    )
