"""What Slurm says of itself: partitions, their limits and nodes, and how long it remembers a finished job."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from slq.errors import SlqError

COMMANDS = ("sbatch", "squeue", "sinfo", "scontrol")
SECONDS = 60  # that a command may take: a busy controller answers late
UNLIMITED = float("inf")
# Exactly alike: without it sinfo reports the least of several nodes' memory as all nodes'.
NODES = ("sinfo", "-h", "-e", "-o", "%P|%a|%l|%D|%c|%m|%G")


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind: how many, and of each its cores, MB of memory and GPUs by type, '' where it has none."""

    count: int
    cpus: int
    mem_mb: int
    gpus: Mapping[str, int]


@dataclass(frozen=True)
class Partition:
    """`minutes`: that a job may run."""

    name: str
    default: bool
    up: bool
    minutes: float
    nodes: tuple[Nodes, ...]

    @property
    def gpus(self) -> dict[str, int]:
        """All GPUs, by type."""
        found: dict[str, int] = {}
        for nodes in self.nodes:
            for model, count in nodes.gpus.items():
                found[model] = found.get(model, 0) + count * nodes.count
        return found


@dataclass(frozen=True)
class Cluster:
    """`min_job_age`: seconds that squeue knows a finished job; None where Slurm does not say.

    `queued`: names of this user's jobs that wait or run.
    """

    partitions: Mapping[str, Partition]
    min_job_age: int | None
    accounting: bool
    queued: tuple[str, ...]

    @property
    def default(self) -> str:
        """The partition of a job that names none; '' if there is no default."""
        return next((name for name, partition in self.partitions.items() if partition.default), "")


def read_cluster() -> Cluster | None:
    """None on a machine without Slurm's commands.

    Raises:
        SlqError: a command is missing, or does not answer.
    """
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if len(missing) == len(COMMANDS):
        return None
    if missing:
        raise SlqError(f"{', '.join(missing)}: not on PATH, where {COMMANDS[-1]} or another command of Slurm's is")
    config = _answer("scontrol", "show", "config")
    age = re.search(r"^MinJobAge\s*=\s*(\d+)\s*sec", config, re.MULTILINE)
    return Cluster(
        partitions=read_partitions(_answer(*NODES)),
        min_job_age=int(age[1]) if age else None,
        accounting=bool(re.search(r"^AccountingStorageType\s*=.*slurmdbd", config, re.MULTILINE)),
        queued=tuple(_answer("squeue", "-h", "--me", "-o", "%j").split()),
    )


def read_partitions(text: str) -> dict[str, Partition]:
    """Of sinfo's lines, one for each kind of nodes in a partition."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, state, limit, count, cpus, memory, gres = line.split("|")
        key = name.removesuffix("*")
        nodes = Nodes(int(count), int(cpus), int(memory), read_gpus(gres))
        before = found[key].nodes if key in found else ()
        found[key] = Partition(key, name != key, state == "up", read_minutes(limit), (*before, nodes))
    return found


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


def _answer(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SlqError(f"{command[0]} has not answered in {SECONDS} seconds") from error
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or [f"ended with {answer.returncode}"]
        raise SlqError(f"does not answer: {said[-1]}")
    return answer.stdout
