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

LOCK_TIMEOUT = (
    300  # seconds: what a killed workflow has left behind often ends by then; below the limits of collectives
)
# A scheduler's warnings: SIGTERM comes before SIGKILL at the end of an allocation, and SIGUSR1 where it is asked for.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
StopCheck = Callable[[], str | None]


@contextmanager
def run_lock(folder: Path, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Own a run's folder in scratch, as soon as no other process does.

    Raises:
        SlqError: the folder cannot be written, or another process owned it longer than `timeout` (s).
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
        end, waited = time.monotonic() + timeout, False
        while not try_lock(file):
            owner = path.read_text(encoding="utf-8") or "another process"
            if time.monotonic() >= end:
                raise SlqError(f"{folder}: {owner} trains this run; wait for it, or end it")
            if not waited:
                print(f"slq: waiting: {owner} trains this run ({folder})", file=sys.stderr, flush=True)
            waited = True
            time.sleep(min(1.0, timeout / 10))
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


class TrainingInterrupted(SlqError):
    """Training stopped early, with a checkpoint: the same command goes on with it."""

    status = 75  # EX_TEMPFAIL: to a scheduler, try again

    def __init__(self, message: str, steps: int = 0) -> None:
        """`steps`: that were taken since it began, or went on."""
        super().__init__(message)
        self.steps = steps


def allocation_end_time(environment: Mapping[str, str], started: float, time_limit_minutes: float) -> float | None:
    """When the allocation ends, in seconds since 1970; None where there is no allocation.

    Slurm says when; an older one does not, and then a job has asked for so many `time_limit_minutes`, and `started`
    about now.
    """
    if "SLURM_JOB_END_TIME" in environment:
        return float(environment["SLURM_JOB_END_TIME"])
    return started + 60 * time_limit_minutes if "SLURM_JOB_ID" in environment else None


def minutes_left(time_limit_minutes: float) -> float | None:
    """Of this process's allocation, as `allocation_end_time`, from now on."""
    now = time.time()
    end = allocation_end_time(os.environ, now, time_limit_minutes)
    return None if end is None else (end - now) / 60


def require_time_for_step(time_limit_minutes: float, margin: float) -> None:
    """Raise SlqError if the allocation ends before a first step could; arguments as of `listen_for_stop`."""
    left = minutes_left(time_limit_minutes)
    if left is not None and left <= margin:
        raise SlqError(time_limit_message(left, margin))


def time_limit_message(left: float, margin: float) -> str:
    """Says that an allocation is too short, and what to do."""
    return (
        f"the allocation has {left:.3g} minutes, and training.time_limit_margin_minutes, {margin:g}, stay free at "
        "its end: that leaves no time for a step; ask for a longer one (`resources.train.hours`), or lower "
        "training.time_limit_margin_minutes"
    )


@contextmanager
def listen_for_stop(time_limit_minutes: float, margin: float) -> Iterator[StopCheck]:
    """A function that says why training has to stop now, if it has to.

    Args:
        time_limit_minutes: that the job has asked for, counted from now.
        margin: so many minutes before the end of the allocation it is time.
    """
    remaining = minutes_left(time_limit_minutes)
    # The monotonic clock goes on where the time of day is set while a run trains.
    deadline = None if remaining is None else time.monotonic() + 60 * (remaining - margin)
    received: list[int] = []
    previous_handlers = {
        number: signal.signal(number, lambda number, _: received.append(number)) for number in STOP_SIGNALS
    }

    def should_stop() -> str | None:
        if received:
            return signal.Signals(received[0]).name
        return f"the allocation ends in {margin:g} minutes" if deadline and time.monotonic() > deadline else None

    try:
        yield should_stop
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


@contextmanager
def requeue_if_interrupted(
    should_stop: StopCheck, is_main_process: bool, too_short_message: str = ""
) -> Iterator[None]:
    """Where training was interrupted inside a Slurm job, ask for the same job again; the main process does.

    Not after SIGTERM: then the job is being ended, by a person or by Slurm, which requeues what it takes back itself.

    Args:
        should_stop: of `listen_for_stop`, which is still listening.
        too_short_message: what is wrong with an allocation whose time is up when its first step is done.

    Raises:
        SlqError: that is so: the next allocation would come no further. The step is kept in a checkpoint.
    """
    try:
        yield
    except TrainingInterrupted as error:
        reason = should_stop()
        if error.steps == 1 and reason is not None and reason not in {number.name for number in STOP_SIGNALS}:
            raise SlqError(
                f"{error}, and is not put back into the queue after a single step: {too_short_message}"
            ) from error
        if is_main_process and "SLURM_JOB_ID" in os.environ and reason != signal.SIGTERM.name:
            print(f"slq: {requeue_job(os.environ['SLURM_JOB_ID'])}", file=sys.stderr, flush=True)
        raise


def requeue_job(job_id: str) -> str:
    """Put this job back into the queue, and say what came of it. Slurm then ends what still runs of it."""
    try:
        answer = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True)
    except FileNotFoundError:
        return f"job {job_id} is not requeued: no scontrol on PATH of this node"
    if answer.returncode:
        return f"job {job_id} is not requeued: {answer.stderr.strip()}"
    return f"job {job_id} is requeued, to go on"
