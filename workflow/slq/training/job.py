"""When a process trains: alone at its run, until time is up or a signal comes, then queued again."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from slq.common.errors import SlqError
from slq.common.files import try_lock

PATIENCE = 300  # seconds: what a killed workflow has left behind often ends by then; below the limits of collectives
# A scheduler's warnings: SIGTERM comes before SIGKILL at the end of an allocation, and SIGUSR1 where it is asked for.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
Asked = Callable[[], str | None]


@contextmanager
def sole_owner(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Own a run's folder in scratch, as soon as no other process does.

    Raises:
        SlqError: the folder cannot be written, or another process owned it longer than `patience` (s).
    """
    path = folder / "owner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise SlqError(
            f"{folder}: cannot be written: {error.strerror}; `scratch` in config.yaml names the folder for it"
        ) from error
    with file:
        end, waited = time.monotonic() + patience, False
        while not try_lock(file):
            owner = path.read_text(encoding="utf-8") or "another process"
            if time.monotonic() >= end:
                raise SlqError(f"{folder}: {owner} trains this run; wait for it, or end it")
            if not waited:
                print(f"slq: waiting: {owner} trains this run ({folder})", file=sys.stderr, flush=True)
            waited = True
            time.sleep(min(1.0, patience / 10))
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


class Interrupted(SlqError):
    """Training stopped early, with a checkpoint: the same command goes on with it."""

    status = 75  # EX_TEMPFAIL: to a scheduler, try again

    def __init__(self, message: str, steps: int = 0) -> None:
        """`steps`: that were taken since it began, or went on."""
        super().__init__(message)
        self.steps = steps


def end_of_allocation(environment: Mapping[str, str], started: float, minutes: float) -> float | None:
    """When the allocation ends, in seconds since 1970; None where there is no allocation.

    Slurm says when; an older one does not, and then a job has asked for so many `minutes`, and `started` about now.
    """
    if "SLURM_JOB_END_TIME" in environment:
        return float(environment["SLURM_JOB_END_TIME"])
    return started + 60 * minutes if "SLURM_JOB_ID" in environment else None


def minutes_left(minutes: float) -> float | None:
    """Of this process's allocation, as `end_of_allocation`, from now on."""
    now = time.time()
    end = end_of_allocation(os.environ, now, minutes)
    return None if end is None else (end - now) / 60


def require_time(minutes: float, margin: float) -> None:
    """Raise SlqError if the allocation ends before a first step could; arguments as of `asked_to_stop`."""
    left = minutes_left(minutes)
    if left is not None and left <= margin:
        raise SlqError(no_time(left, margin))


def no_time(left: float, margin: float) -> str:
    """Says that an allocation is too short, and what to do."""
    return (
        f"the allocation has {left:.3g} minutes, and training.stop_minutes, {margin:g}, stay free at its end: that "
        "leaves no time for a step; ask for a longer one (`resources.train.hours`), or lower training.stop_minutes"
    )


@contextmanager
def asked_to_stop(minutes: float, margin: float) -> Iterator[Asked]:
    """A function that says why training has to stop now, if it has to.

    Args:
        minutes: that the job has asked for, counted from now.
        margin: so many minutes before the end of the allocation it is time.
    """
    left = minutes_left(minutes)
    # The monotonic clock goes on where the time of day is set while a run trains.
    stop = None if left is None else time.monotonic() + 60 * (left - margin)
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in SIGNALS}

    def asked() -> str | None:
        if received:
            return signal.Signals(received[0]).name
        return f"the allocation ends in {margin:g} minutes" if stop and time.monotonic() > stop else None

    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def requeued(asked: Asked, main: bool, too_short: str = "") -> Iterator[None]:
    """Where training was interrupted inside a Slurm job, ask for the same job again; the main process does.

    Not after SIGTERM: then the job is being ended, by a person or by Slurm, which requeues what it takes back itself.

    Args:
        asked: of `asked_to_stop`, which is still listening.
        too_short: what is wrong with an allocation whose time is up when its first step is done.

    Raises:
        SlqError: that is so: the next allocation would come no further. The step is kept in a checkpoint.
    """
    try:
        yield
    except Interrupted as error:
        reason = asked()
        if error.steps == 1 and reason is not None and reason not in {number.name for number in SIGNALS}:
            raise SlqError(f"{error}, and is not put back into the queue after a single step: {too_short}") from error
        if main and "SLURM_JOB_ID" in os.environ and reason != signal.SIGTERM.name:
            print(f"slq: {requeue(os.environ['SLURM_JOB_ID'])}", file=sys.stderr, flush=True)
        raise


def requeue(job: str) -> str:
    """Put this job back into the queue, and say what came of it. Slurm then ends what still runs of it."""
    try:
        answer = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    except FileNotFoundError:
        return f"job {job} is not requeued: no scontrol on PATH of this node"
    if answer.returncode:
        return f"job {job} is not requeued: {answer.stderr.strip()}"
    return f"job {job} is requeued, to go on"
