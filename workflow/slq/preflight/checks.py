"""What is looked at before a run: the cluster, what has to be fetched or brought, room, the forecast."""

import math
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slq.common.errors import SlqError
from slq.config.loading import Config, tested_sets
from slq.preflight.planned_jobs import Job, Plan
from slq.sources.listing import fetched

OK, NOTE, FIRST = "ok", "--", "!!"  # well; good to know; to be done first
CHOOSE = "--default-resources slurm_partition=NAME, or a second --profile (docs/cluster.md)"
ASK_LESS = "another partition (slurm_partition), or less under presets.<preset>.resources"
COMMANDS = ("sbatch", "squeue", "sinfo", "scontrol")
SECONDS = 60  # that a command may take: a busy controller answers late
UNLIMITED = float("inf")
SINFO = ("sinfo", "-h", "-o", "%P|%a|%l|%D|%G")
QUERIES = "write the queries, one a line (docs/data.md), or name another file"


@dataclass(frozen=True)
class Finding:
    """What a check found: its mark says whether a run can start as it is, `advice` what to do where it is not well."""

    mark: str
    subject: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind in a partition: how many, and of each its GPUs by type, '' without one.

    Of the partition: `default`: of jobs that name none; `up`: takes jobs; `minutes`: that a job may run.
    """

    partition: str
    default: bool
    up: bool
    minutes: float
    count: int
    gpus: Mapping[str, int]


# ---- the cluster -----------------------------------------------------------------------------------------------------


def slurm(plan: Plan | None, memory_gb: float) -> Iterator[Finding]:
    """What Slurm offers, held against what jobs ask for; without a plan, only whether it answers.

    Args:
        memory_gb: that a job holds on each GPU, at most.
    """
    try:
        cluster = read_cluster()
    except SlqError as error:
        yield Finding(FIRST, "Slurm", str(error), "ask those who run the cluster")
        return
    if cluster is None:
        text = "none of its commands is on PATH, so --profile slurm cannot submit from this machine"
        yield Finding(FIRST, "Slurm", text, "call where sbatch is; or compute here: snakemake --cores all, no profile")
        return
    yield Finding(OK, "Slurm", f"answers; partitions: {_names(cluster)}")
    asked: dict[str, list[Job]] = {}
    for job in plan.submitted if plan else ():
        asked.setdefault(job.partition, []).append(job)
    for names, jobs in asked.items():
        yield from _partition(cluster, names, jobs, memory_gb)


def _partition(cluster: Sequence[Nodes], names: str, jobs: Sequence[Job], memory_gb: float) -> Iterator[Finding]:
    """Of the jobs for one partition, or for the best of several with commas between them."""
    wanted = set(names.split(",")) if names else {kind.partition for kind in cluster if kind.default}
    nodes = [kind for kind in cluster if kind.partition in wanted]
    if not wanted:
        yield Finding(FIRST, "partition", f"none given, and no default among {_names(cluster)}", CHOOSE)
    elif lost := wanted - {kind.partition for kind in nodes}:
        text = f"{', '.join(sorted(lost))}: no such partition; there are {_names(cluster)}"
        yield Finding(FIRST, "partition", text, CHOOSE)
    elif not any(kind.up for kind in nodes):
        yield Finding(FIRST, "partition", f"{_names(nodes)}: takes no jobs now", CHOOSE)
    else:
        yield Finding(OK, "partition", f"{_names(nodes)}, {'as given' if names else 'the default of the site'}")
        if on_gpus := [job for job in jobs if job.gpus]:
            yield _gpus(nodes, on_gpus, memory_gb)
        yield _time(max(kind.minutes for kind in nodes), jobs)


def _names(nodes: Sequence[Nodes]) -> str:
    return ", ".join(dict.fromkeys(kind.partition for kind in nodes))


def _gpus(nodes: Sequence[Nodes], jobs: Sequence[Job], memory_gb: float) -> Finding:
    """Whether one node has each job's GPUs, of the type that it asks for."""
    offered: Counter[str] = Counter()
    for kind in nodes:
        offered.update({model: kind.count * count for model, count in kind.gpus.items()})
    there = ", ".join(f"{count} x {model or 'no type'}" for model, count in offered.items()) or "none"
    misfits = [job for job in jobs if not _with_gpus(nodes, job)]
    most = max(misfits or jobs, key=lambda job: job.gpus)
    if misfits:
        asked = f"{most.gpus}{f' x {most.gpu_model}' if most.gpu_model else ''}"
        text = f"{there}; {len(misfits)} of {len(jobs)} jobs find no node: {most} asks for {asked} in one"
        return Finding(FIRST, "GPUs", text, ASK_LESS)
    text = f"{there}; jobs ask for up to {most.gpus} in a node, and fill up to {math.ceil(memory_gb)} GB of each"
    if len(offered) > 1 and not all(job.gpu_model for job in jobs):
        return Finding(NOTE, "GPUs", text, "hours mean most where all are of one type: gpu_model, docs/cluster.md")
    return Finding(OK, "GPUs", text)


def _time(longest: float, jobs: Sequence[Job]) -> Finding:
    """Whether every job may run as long as it asks for, of at most so many minutes."""
    most, again = max(jobs, key=lambda job: job.minutes), max(job.minutes_again for job in jobs)
    limit = "no limit" if longest == UNLIMITED else f"at most {longest / 60:,.1f} h"
    text = f"{limit}; jobs ask for up to {most.minutes / 60:,.1f} h ({most})"
    if longest < most.minutes:
        advice = f"another partition, or `hours: {longest / 60:.3g}` in a file of yours (docs/cluster.md, Short limits)"
        return Finding(FIRST, "time", text, advice)
    if longest < again:
        text += f"; a second attempt asks for {again / 60:,.1f} h, and is refused or waits for ever"
        return Finding(NOTE, "time", text, "--retries 0, and the same command again after a failure")
    return Finding(OK, "time", text)


def _with_gpus(nodes: Sequence[Nodes], job: Job) -> list[Nodes]:
    """Nodes that have a job's GPUs; of its type, if it asks for one."""
    model = job.gpu_model
    return [kind for kind in nodes if (kind.gpus.get(model, 0) if model else sum(kind.gpus.values())) >= job.gpus]


# ---- data and disk ---------------------------------------------------------------------------------------------------


def missing_sources(config: Config, preset: str) -> list[str]:
    """Names of the sources of a preset that are not whole here."""
    scratch = Path(config["scratch"])
    return [name for place, name in fetched(config, preset) if not (scratch / place / "manifest.json").is_file()]


def gb_of(config: Config, missing: Sequence[str]) -> float:
    """Disk that sources take, unpacked, the largest archive beside its files for a while."""
    parts = [part for name in missing for part in config["sources"][name]["parts"]]
    return sum(part["gb"] for part in parts) + max((part["gb"] for part in parts if "archive" in part), default=0.0)


def data(config: Config, preset: str, missing: Sequence[str]) -> Iterator[Finding]:
    """Folders that a person has to fill and files of queries that are not there, with what is to be done about each."""
    settings = config["presets"][preset]
    sets = [config["sets"][name] for name in (settings["train_set"], *tested_sets(settings))]
    models = [config["backbones"][name] for name in settings["backbones"]]
    models += [config["encoders"][name] for name in settings["instruments"]]
    named = [*(entry.get("supplied") for entry in sets), *(entry.get("local") for entry in models)]
    folders = dict.fromkeys(filter(None, named), "fill it, or name another")
    parts = [part for name in missing for part in config["sources"][name]["parts"]]
    folders |= {part["supplied"]: part["obtain"] for part in parts if "supplied" in part}
    lacking = {f"{folder}: no such folder": how for folder, how in folders.items() if not Path(folder).is_dir()}
    files = [entry["queries"] for entry in sets if entry.get("queries")]
    lacking |= {f"{file}: no such file": QUERIES for file in files if not Path(file).is_file()}
    return (Finding(FIRST, "data", text, how) for text, how in lacking.items())


def sources(config: Config, preset: str, missing: Sequence[str], offline: bool) -> Finding:
    """What is to be fetched, and by whom."""
    asked = len(fetched(config, preset))
    here = f"{asked - len(missing)} of {asked} here"
    if not missing:
        text = f"{here}, each whole: offline from now on" if asked else "nothing is fetched for this preset"
        return Finding(OK, "sources", text)
    text = f"{here}; to come, {gb_of(config, missing):,.1f} GB of disk: {', '.join(missing)}"
    command = f"snakemake --cores all fetch --config preset={preset}"
    if offline:
        advice = f"HF_HUB_OFFLINE says that this host is offline: {command}, on one with internet that sees this folder"
        return Finding(FIRST, "sources", text, advice)
    advice = f"the run fetches them on this host, which needs internet; else, on one that has it: {command}"
    return Finding(NOTE, "sources", text, f"{advice}. Terms to accept: slq sources --preset {preset}")


def disk(scratch: Path, sources_gb: float, one_gb: float, all_gb: float) -> Finding:
    """Whether what a run keeps finds room.

    Args:
        sources_gb: still to be fetched, unpacked.
        one_gb: the largest training that is due, with its checkpoints.
        all_gb: all of them, as if they trained at once.
    """
    free = shutil.disk_usage(_there(scratch)).free / 1e9
    where = f"{scratch}: {free:,.0f} GB free"
    text = f"{where}; sources {sources_gb:,.0f} GB, trainings {all_gb:,.0f} GB if all run at once"
    advice = "make room, or name another folder that all nodes see as `scratch` in a file of yours (--configfile)"
    if free < sources_gb + one_gb:
        needed = f"sources {sources_gb:,.0f} GB and the largest training {one_gb:,.0f} GB"
        return Finding(FIRST, "disk", f"{where}, too little for {needed}", advice)
    if free < sources_gb + all_gb:
        return Finding(NOTE, "disk", text, f"{advice}; or fewer at once: --jobs")
    return Finding(OK, "disk", text)


def writable(folders: Sequence[Path]) -> Finding:
    """Whether results, and what they are made of, can be written."""
    closed = [str(there) for folder in folders if not os.access(there := _there(folder), os.W_OK)]
    if closed:
        text, advice = f"{', '.join(closed)}: cannot be written", "change who may, or clone to a folder of your own"
        return Finding(FIRST, "results", text, advice)
    return Finding(OK, "results", f"{', '.join(map(str, folders))} can be written")


def _there(folder: Path) -> Path:
    """A folder, or the one that exists and would hold it."""
    whole = folder.resolve()
    return next(parent for parent in (whole, *whole.parents) if parent.exists())


# ---- what Slurm says of itself ---------------------------------------------------------------------------------------


def read_cluster() -> list[Nodes] | None:
    """Every kind of nodes of each partition; None on a machine without Slurm's commands.

    Raises:
        SlqError: a command is missing, or does not answer.
    """
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if len(missing) == len(COMMANDS):
        return None
    if missing:
        raise SlqError(f"{', '.join(missing)}: not on PATH, where another command of Slurm's is")
    try:
        answer = subprocess.run(SINFO, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SlqError(f"{SINFO[0]} has not answered in {SECONDS} seconds") from error
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or [f"ended with {answer.returncode}"]
        raise SlqError(f"does not answer: {said[-1]}")
    return [read_nodes(line) for line in answer.stdout.splitlines()]


def read_nodes(line: str) -> Nodes:
    """Of a line of sinfo."""
    name, state, limit, count, gres = line.split("|")
    key = name.removesuffix("*")
    return Nodes(key, name != key, state == "up", read_minutes(limit), int(count), read_gpus(gres))


def read_gpus(gres: str) -> dict[str, int]:
    """Of `gpu:h100:4(S:0-1),gpu:2`: {'h100': 4, '': 2}."""
    found: dict[str, int] = {}
    for model, count in re.findall(r"(?:^|,)gpu:(?:([^:,()]+):)?(\d+)", gres):
        found[model] = found.get(model, 0) + int(count)
    return found


def read_minutes(limit: str) -> float:
    """Of `1-12:00:00`, `2:00:00` or `30:00`; what is no time, like `infinite`, is no limit."""
    time = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", limit)
    if not time:
        return UNLIMITED
    days, hours, minutes, seconds = (int(part or 0) for part in time.groups())
    return (days * 24 + hours) * 60 + minutes + seconds / 60
