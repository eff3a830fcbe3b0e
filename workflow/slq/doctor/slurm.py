"""What Slurm says of itself: partitions, their limits and nodes."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from slq.errors import SlqError

COMMANDS = ("sbatch", "squeue", "sinfo", "scontrol")
SECONDS = 60  # that a command may take: a busy controller answers late
UNLIMITED = float("inf")
SINFO = ("sinfo", "-h", "-o", "%P|%a|%l|%D|%G")


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
