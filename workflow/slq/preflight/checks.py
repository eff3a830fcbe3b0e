"""Checks before a run: cluster, missing sources and local data, disk space, write access."""

import math
import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slq.common.errors import SlqError
from slq.config.loading import Config, evaluation_datasets
from slq.config.values import describe_unquotable_python
from slq.preflight.planned_jobs import PlannedJob, WorkflowPlan
from slq.sources.listing import DiskSpace, list_fetched_sources, sources_disk_space

OK, NOTE, ERROR = "ok", "--", "!!"  # no problem; a note; must be fixed before a run
PARTITION_ADVICE = "--default-resources slurm_partition=NAME, or a second --profile (docs/cluster.md)"
GPU_ADVICE = "another partition (slurm_partition), or fewer gpus in resources of the preset or of backbones.<name>.runs"
SLURM_COMMANDS = ("sbatch", "squeue", "sinfo", "scontrol")
COMMAND_TIMEOUT_SECONDS = 60  # long enough for a busy Slurm controller
UNLIMITED = float("inf")
SINFO_COMMAND = ("sinfo", "-h", "-o", "%P|%a|%l|%D|%G")
QUERIES_ADVICE = "write the queries, one per line (docs/own-data.md), or name another file"


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        severity: OK, NOTE, or ERROR if the run cannot start.
        subject: subject of the check.
        message: what was found.
        advice: what the user should do; empty if there is nothing to do.
    """

    severity: str
    subject: str
    message: str
    advice: str = ""


@dataclass(frozen=True)
class NodeGroup:
    """Nodes of one kind in a partition.

    Attributes:
        partition: the name of the partition.
        is_default: whether this is the default partition, which gets all jobs that name no partition.
        is_up: whether the partition accepts jobs.
        time_limit_minutes: time limit of a job in the partition.
        num_nodes: number of nodes of this kind.
        gpus_by_model: number of GPUs in each node by type; the type is '' if Slurm does not name it.
    """

    partition: str
    is_default: bool
    is_up: bool
    time_limit_minutes: float
    num_nodes: int
    gpus_by_model: Mapping[str, int]


# ---- the cluster -----------------------------------------------------------------------------------------------------


def check_slurm(plan: WorkflowPlan | None, memory_gb: float) -> Iterator[Finding]:
    """Check that the cluster has the resources that the planned jobs request; without a plan, only that Slurm answers.

    Args:
        plan: the planned jobs, or None if Snakemake cannot plan.
        memory_gb: largest memory of a job on one GPU, in GB.
    """
    if fault := describe_unquotable_python():
        yield Finding(ERROR, "python", fault)
    try:
        cluster = read_cluster()
    except SlqError as error:
        yield Finding(ERROR, "Slurm", str(error), "ask the administrators of the cluster")
        return
    if cluster is None:
        text = "no Slurm command is on PATH, so --profile slurm cannot submit from this machine"
        advice = "run this where sbatch is available; or compute on this machine: snakemake --cores all, no profile"
        yield Finding(ERROR, "Slurm", text, advice)
        return
    yield Finding(OK, "Slurm", f"answers; partitions: {_join_partition_names(cluster)}")
    jobs_by_partition: dict[str, list[PlannedJob]] = {}
    for job in plan.submitted if plan else ():
        jobs_by_partition.setdefault(job.partition, []).append(job)
    for names, jobs in jobs_by_partition.items():
        yield from _check_partition(cluster, names, jobs, memory_gb)


def _check_partition(
    cluster: Sequence[NodeGroup], partition_names: str, jobs: Sequence[PlannedJob], memory_gb: float
) -> Iterator[Finding]:
    """Check the jobs of one partition, or of a comma-separated list of partitions.

    A check of a list passes if one partition of the list passes. An empty name stands for the default partition.
    """
    wanted = (
        set(partition_names.split(",")) if partition_names else {kind.partition for kind in cluster if kind.is_default}
    )
    nodes = [kind for kind in cluster if kind.partition in wanted]
    if not wanted:
        yield Finding(
            ERROR, "partition", f"none given, and none of {_join_partition_names(cluster)} is default", PARTITION_ADVICE
        )
    elif unknown := wanted - {kind.partition for kind in nodes}:
        text = f"{', '.join(sorted(unknown))}: no such partition; available: {_join_partition_names(cluster)}"
        yield Finding(ERROR, "partition", text, PARTITION_ADVICE)
    elif not any(kind.is_up for kind in nodes):
        yield Finding(ERROR, "partition", f"{_join_partition_names(nodes)}: accepts no jobs now", PARTITION_ADVICE)
    else:
        yield Finding(
            OK,
            "partition",
            f"{_join_partition_names(nodes)}, {'as given' if partition_names else 'the default partition'}",
        )
        if gpu_jobs := [job for job in jobs if job.gpus]:
            yield _check_gpus(nodes, gpu_jobs, memory_gb)
        yield _check_time_limit(max(kind.time_limit_minutes for kind in nodes), jobs)


def _join_partition_names(nodes: Sequence[NodeGroup]) -> str:
    """Join the distinct names of the nodes' partitions with commas."""
    return ", ".join(dict.fromkeys(kind.partition for kind in nodes))


def _check_gpus(nodes: Sequence[NodeGroup], jobs: Sequence[PlannedJob], memory_gb: float) -> Finding:
    """Check that each job fits on one node: enough GPUs, of the requested type."""
    offered: Counter[str] = Counter()
    for kind in nodes:
        offered.update({model: kind.num_nodes * count for model, count in kind.gpus_by_model.items()})
    available = ", ".join(f"{count} x {model or 'no type'}" for model, count in offered.items()) or "none"
    misfits = [job for job in jobs if not any(_has_gpus(kind, job) for kind in nodes)]
    largest = max(misfits or jobs, key=lambda job: job.gpus)
    if misfits:
        requested = f"{largest.gpus}{f' x {largest.gpu_model}' if largest.gpu_model else ''}"
        text = (
            f"{available}; {len(misfits)} of {len(jobs)} jobs fit no node: {largest} requests {requested} in one node"
        )
        return Finding(ERROR, "GPUs", text, GPU_ADVICE)
    text = f"{available}; jobs request up to {largest.gpus} in a node, and use up to {math.ceil(memory_gb)} GB of each"
    if len(offered) > 1 and not all(job.gpu_model for job in jobs):
        advice = "GPU hours are comparable only between GPUs of one type; request one: gpu_model, docs/cluster.md"
        return Finding(NOTE, "GPUs", text, advice)
    return Finding(OK, "GPUs", text)


def _check_time_limit(limit_minutes: float, jobs: Sequence[PlannedJob]) -> Finding:
    """Check that no job requests more minutes than the limit, in its first or its last attempt."""
    longest_job, retry_minutes = max(jobs, key=lambda job: job.minutes), max(job.minutes_again for job in jobs)
    limit = "no limit" if limit_minutes == UNLIMITED else f"at most {limit_minutes / 60:,.1f} h"
    text = f"{limit}; jobs request up to {longest_job.minutes / 60:,.1f} h ({longest_job})"
    if limit_minutes < longest_job.minutes:
        hours = f"{limit_minutes / 60:.3g}"
        advice = f"another partition, or `hours: {hours}` in your configuration file (docs/cluster.md, Time limits)"
        return Finding(ERROR, "time", text, advice)
    if limit_minutes < retry_minutes:
        text += f"; a second attempt requests {retry_minutes / 60:,.1f} h, and is refused or stays in the queue forever"
        return Finding(NOTE, "time", text, "use --retries 0, and run the same command again after a failure")
    return Finding(OK, "time", text)


def _has_gpus(nodes: NodeGroup, job: PlannedJob) -> bool:
    """Return whether each node of this kind has enough GPUs for a job, of the type that the job requests, if any."""
    counts = nodes.gpus_by_model
    return (counts.get(job.gpu_model, 0) if job.gpu_model else sum(counts.values())) >= job.gpus


# ---- data and disk ---------------------------------------------------------------------------------------------------


def missing_sources(config: Config, preset: str) -> list[str]:
    """List the sources of a preset that are not completely fetched."""
    scratch = Path(config["scratch"])
    return [
        name
        for place, name in list_fetched_sources(config, preset)
        if not (scratch / place / "manifest.json").is_file()
    ]


def check_local_data(config: Config, preset: str, missing: Sequence[str]) -> Iterator[Finding]:
    """Check that local folders and query files exist; report each missing path with advice."""
    settings = config["presets"][preset]
    datasets = [config["datasets"][name] for name in (settings["train_dataset"], *evaluation_datasets(settings))]
    models = [config["backbones"][name] for name in settings["backbones"]]
    models += [config["encoders"][name] for name in settings["reference_encoders"]]
    local_folders = [*(entry.get("local_dir") for entry in datasets), *(entry.get("local_dir") for entry in models)]
    folders = dict.fromkeys(filter(None, local_folders), "create and fill it, or name another folder")
    parts = [part for name in missing for part in config["sources"][name]["parts"]]
    folders |= {part["local_dir"]: part["instructions"] for part in parts if "local_dir" in part}
    missing_paths = {f"{folder}: no such folder": how for folder, how in folders.items() if not Path(folder).is_dir()}
    files = [entry["queries"] for entry in datasets if entry.get("queries")]
    missing_paths |= {f"{file}: no such file": QUERIES_ADVICE for file in files if not Path(file).is_file()}
    return (Finding(ERROR, "data", text, how) for text, how in missing_paths.items())


def check_sources(
    config: Config, preset: str, missing: Sequence[str], offline: bool, files: Sequence[str] = ()
) -> Finding:
    """Report which sources have to be fetched, and on which host.

    Args:
        files: the configuration files, if the commands of the advice need to name them.
    """
    num_sources = len(list_fetched_sources(config, preset))
    progress = f"{num_sources - len(missing)} of {num_sources} fetched"
    if not missing:
        text = f"{progress} completely: the run needs no network" if num_sources else "this preset fetches no source"
        return Finding(OK, "sources", text)
    text = f"{progress}; missing, {sources_disk_space(config, missing)}: {', '.join(missing)}"
    configfiles, configs = (
        ["--configfile", *files] * bool(files),
        [part for file in files for part in ("--config", file)],
    )
    command = shlex.join(["snakemake", "--cores", "all", "fetch", "--config", f"preset={preset}", *configfiles])
    if offline:
        advice = f"HF_HUB_OFFLINE is set on this host; on a host with internet access to this folder, run {command}"
        return Finding(ERROR, "sources", text, advice)
    terms = f"slq sources --preset {shlex.join([preset, *configs])}"
    advice = f"the run fetches them on this host, which needs internet; or run on a host with internet: {command}"
    return Finding(NOTE, "sources", text, f"{advice}. Terms to accept: {terms}")


def check_disk(scratch: Path, sources: DiskSpace, largest_training_gb: float, all_trainings_gb: float) -> Finding:
    """Check that scratch has space for sources, checkpoints and adapters.

    Args:
        scratch: folder of large files.
        sources: disk space of the sources that have to be fetched.
        largest_training_gb: size of the largest planned training with its checkpoints, in GB.
        all_trainings_gb: size of all planned trainings, as if they ran at once, in GB.
    """
    free = shutil.disk_usage(_existing_parent(scratch)).free / 1e9
    where = f"{scratch}: {free:,.0f} GB free"
    sources_gb = sources.files + sources.unpacking
    parts = f"sources {sources.files:.1f} + {sources.unpacking:.1f} GB"
    text = f"{where}; {parts}, trainings {all_trainings_gb:,.0f} GB if all run at once"
    advice = "free disk space, or set `scratch` to another shared folder in your configuration file (--configfile)"
    if free < sources_gb + largest_training_gb:
        needed = f"{parts} and the largest training {largest_training_gb:,.0f} GB"
        return Finding(ERROR, "disk", f"{where}, too little for {needed}", advice)
    if free < sources_gb + all_trainings_gb:
        return Finding(NOTE, "disk", text, f"{advice}; or run fewer jobs at once: --jobs")
    return Finding(OK, "disk", text)


def check_writable(folders: Sequence[Path]) -> Finding:
    """Check that the folders of results, outputs and scratch are writable."""
    unwritable = [str(there) for folder in folders if not os.access(there := _existing_parent(folder), os.W_OK)]
    if unwritable:
        text, advice = f"{', '.join(unwritable)}: cannot be written", "change the permissions, or clone to your folder"
        return Finding(ERROR, "results", text, advice)
    return Finding(OK, "results", f"{', '.join(map(str, folders))} can be written")


def _existing_parent(folder: Path) -> Path:
    """Return a folder, or its nearest existing parent."""
    resolved = folder.resolve()
    return next(parent for parent in (resolved, *resolved.parents) if parent.exists())


# ---- output of Slurm's commands --------------------------------------------------------------------------------------


def read_cluster() -> list[NodeGroup] | None:
    """Read the kinds of nodes of each partition from sinfo; return None on a machine without Slurm commands.

    Raises:
        SlqError: some but not all Slurm commands are missing, or sinfo fails or does not answer in time.
    """
    missing = [command for command in SLURM_COMMANDS if shutil.which(command) is None]
    if len(missing) == len(SLURM_COMMANDS):
        return None
    if missing:
        raise SlqError(f"{', '.join(missing)}: not on PATH, although other Slurm commands are")
    try:
        answer = subprocess.run(SINFO_COMMAND, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SlqError(f"{SINFO_COMMAND[0]} has not answered in {COMMAND_TIMEOUT_SECONDS} seconds") from error
    if answer.returncode:
        stderr_lines = answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"]
        raise SlqError(f"{SINFO_COMMAND[0]} failed: {stderr_lines[-1]}")
    return [parse_sinfo_line(line) for line in answer.stdout.splitlines()]


def parse_sinfo_line(line: str) -> NodeGroup:
    """Parse a line of sinfo's output: partition, state, time limit, number of nodes, GPUs."""
    name, state, limit, count, gres = line.split("|")
    key = name.removesuffix("*")
    return NodeGroup(key, name != key, state == "up", parse_minutes(limit), int(count), parse_gpus(gres))


def parse_gpus(gres: str) -> dict[str, int]:
    """Parse sinfo's list of GPUs: `gpu:h100:4(S:0-1),gpu:2` becomes {'h100': 4, '': 2}."""
    gpus_by_model: dict[str, int] = {}
    for model, count in re.findall(r"(?:^|,)gpu:(?:([^:,()]+):)?(\d+)", gres):
        gpus_by_model[model] = gpus_by_model.get(model, 0) + int(count)
    return gpus_by_model


def parse_minutes(limit: str) -> float:
    """Parse a time limit such as `1-12:00:00`, `2:00:00` or `30:00` into minutes; return infinity for other text."""
    time = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", limit)
    if not time:
        return UNLIMITED
    days, hours, minutes, seconds = (int(part or 0) for part in time.groups())
    return (days * 24 + hours) * 60 + minutes + seconds / 60
