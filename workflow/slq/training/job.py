"""Job control: one job at a time trains a run, until time is up or a signal arrives; it is then requeued."""

import math
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slq.common.errors import SlqError
from slq.common.files import try_lock

LOCK_TIMEOUT = (
    300  # seconds: processes that a killed workflow left often end by then; below the timeouts of collectives
)
# A scheduler's warnings: SIGTERM before SIGKILL at the end of an allocation, and SIGUSR1 where a job requests it.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
StopCheck = Callable[[], str | None]


@contextmanager
def run_lock(folder: Path, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Hold the lock of a run's scratch folder, as soon as no other process holds it.

    Raises:
        SlqError: the folder cannot be written, or another process held the lock longer than `timeout` seconds.
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
    """Training stopped early, with a checkpoint: the same command continues from it."""

    status = 75  # EX_TEMPFAIL: to a scheduler, try again

    def __init__(self, message: str, steps: int) -> None:
        """Create the error.

        Args:
            steps: number of steps taken by this attempt.
        """
        super().__init__(message)
        self.steps = steps


def minutes_left(time_limit_minutes: float) -> float:
    """Return how many minutes of this process's allocation are left; infinitely many where there is none.

    Args:
        time_limit_minutes: minutes that the job requested, counted from now, in place of an end that Slurm does not
            give: only newer versions have it in the environment of a job.
    """
    if "SLURM_JOB_END_TIME" in os.environ:
        return (float(os.environ["SLURM_JOB_END_TIME"]) - time.time()) / 60
    return time_limit_minutes if "SLURM_JOB_ID" in os.environ else math.inf


def require_time_for_step(time_limit_minutes: float, margin: float) -> None:
    """Check that the allocation does not end before a first step could.

    Args:
        time_limit_minutes, margin: as of `listen_for_stop`.

    Raises:
        SlqError: at most `margin` minutes are left.
    """
    left = minutes_left(time_limit_minutes)
    if left <= margin:
        raise SlqError(time_limit_message(left, margin))


def time_limit_message(left: float, margin: float) -> str:
    """Return the message that an allocation is too short, and what to do."""
    return (
        f"the allocation has {left:.3g} minutes, and training.time_limit_margin_minutes, {margin:g}, stay free at "
        "its end: that leaves no time for a step; ask for a longer one (`resources.train.hours`), or lower "
        "training.time_limit_margin_minutes"
    )


@contextmanager
def listen_for_stop(time_limit_minutes: float, margin: float) -> Iterator[StopCheck]:
    """Yield a function that returns the reason why training must stop now, or None.

    Args:
        time_limit_minutes: as of `minutes_left`.
        margin: minutes before the end of the allocation at which training must stop.
    """
    # The monotonic clock is not changed when the time of day is set while a run trains.
    deadline = time.monotonic() + 60 * (minutes_left(time_limit_minutes) - margin)
    received: list[int] = []
    previous_handlers = {
        number: signal.signal(number, lambda number, _: received.append(number)) for number in STOP_SIGNALS
    }

    def should_stop() -> str | None:
        """Return the name of the first signal received, or that the allocation ends soon, or None."""
        if received:
            return signal.Signals(received[0]).name
        return f"the allocation ends in {margin:g} minutes" if time.monotonic() > deadline else None

    try:
        yield should_stop
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


@contextmanager
def requeue_if_interrupted(should_stop: StopCheck, is_main_process: bool, too_short_message: str) -> Iterator[None]:
    """Requeue the Slurm job, from the main process, if training was interrupted inside one.

    It is not requeued after SIGTERM: the job is then being ended by a person, or by Slurm, which itself requeues what
    it preempts.

    Args:
        should_stop: the function of `listen_for_stop`, which must still be active.
        too_short_message: what to say of an allocation whose time is up when its first step is done.

    Raises:
        SlqError: the time was up after a single step: the next allocation would come no further. The step is saved in a
            checkpoint.
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
    """Requeue a Slurm job, and return a message with the outcome; Slurm then ends what still runs of the job."""
    try:
        answer = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True)
    except FileNotFoundError:
        return f"job {job_id} is not requeued: no scontrol on PATH of this node"
    if answer.returncode:
        return f"job {job_id} is not requeued: {answer.stderr.strip()}"
    return f"job {job_id} is requeued, to go on"
