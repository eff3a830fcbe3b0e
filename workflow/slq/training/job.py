"""Job control: a lock per run, stopping at the time limit or on a signal, and requeuing of Slurm jobs."""

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
    300  # seconds: long enough for most processes left by a killed workflow, below the timeouts of collectives
)
# Schedulers warn before the end of an allocation with SIGTERM, or with SIGUSR1 if a job requests it.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
StopCheck = Callable[[], str | None]


@contextmanager
def run_lock(folder: Path, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Acquire the lock of a run's scratch folder, waiting while another process holds it, and hold it in the context.

    Raises:
        SlqError: the folder cannot be written, or the lock was not free within `timeout` seconds.
    """
    path = folder / "owner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise SlqError(
            f"{folder}: cannot be written: {error.strerror}; set `scratch` in config.yaml to a writable folder"
        ) from error
    with file:
        end, waited = time.monotonic() + timeout, False
        while not try_lock(file):
            owner = path.read_text(encoding="utf-8") or "another process"
            if time.monotonic() >= end:
                raise SlqError(f"{folder}: {owner} is already training this run; wait for it to finish, or end it")
            if not waited:
                print(f"slq: waiting: {owner} is already training this run ({folder})", file=sys.stderr, flush=True)
            waited = True
            time.sleep(min(1.0, timeout / 10))
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


class TrainingInterrupted(SlqError):
    """Error that training stopped early with a checkpoint, from which the same command resumes."""

    status = 75  # EX_TEMPFAIL, which tells a scheduler to try again

    def __init__(self, message: str, steps: int) -> None:
        """Create the error.

        Args:
            steps: number of steps that this attempt took.
        """
        super().__init__(message)
        self.steps = steps


def minutes_left(time_limit_minutes: float) -> float:
    """Return the remaining minutes of this process's Slurm allocation, or infinity outside an allocation.

    Args:
        time_limit_minutes: minutes that the job requested, counted from now. They are used if Slurm does not set
            SLURM_JOB_END_TIME, which only newer versions do.
    """
    if "SLURM_JOB_END_TIME" in os.environ:
        return (float(os.environ["SLURM_JOB_END_TIME"]) - time.time()) / 60
    return time_limit_minutes if "SLURM_JOB_ID" in os.environ else math.inf


def require_time_for_step(time_limit_minutes: float, margin: float) -> None:
    """Check that more than `margin` minutes of the allocation are left, so that at least one step can be taken.

    Args:
        time_limit_minutes, margin: see `listen_for_stop`.
    """
    left = minutes_left(time_limit_minutes)
    if left <= margin:
        raise SlqError(time_limit_message(left, margin))


def time_limit_message(left: float, margin: float) -> str:
    """Format the message that an allocation is too short for a step, with the remedy."""
    return (
        f"the allocation has {left:.3g} minutes left, of which training.time_limit_margin_minutes, {margin:g}, are "
        "reserved at its end, so there is no time for a step; request a longer allocation (`resources.train.hours`), "
        "or lower training.time_limit_margin_minutes"
    )


@contextmanager
def listen_for_stop(time_limit_minutes: float, margin: float) -> Iterator[StopCheck]:
    """Yield a function that returns the reason why training must stop now, or None.

    Args:
        time_limit_minutes: see `minutes_left`.
        margin: training must stop this many minutes before the end of the allocation.
    """
    # The monotonic clock is not affected if the system time is changed during training.
    deadline = time.monotonic() + 60 * (minutes_left(time_limit_minutes) - margin)
    received: list[int] = []
    previous_handlers = {
        number: signal.signal(number, lambda number, _: received.append(number)) for number in STOP_SIGNALS
    }

    def should_stop() -> str | None:
        """Return the name of the first received signal, a notice that the allocation ends soon, or None."""
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
    """Requeue the Slurm job from the main process if training in it was interrupted.

    A job is not requeued after SIGTERM, because then a user has cancelled it, or Slurm has preempted it and requeues it
    itself.

    Args:
        should_stop: the function that `listen_for_stop` yields, whose context must still be active.
        too_short_message: error message for an allocation in which there is time for a single step only.

    Raises:
        SlqError: the time was up after a single step, so the next allocation would not get further. The step is saved
            in a checkpoint.
    """
    try:
        yield
    except TrainingInterrupted as error:
        reason = should_stop()
        if error.steps == 1 and reason is not None and reason not in {number.name for number in STOP_SIGNALS}:
            raise SlqError(f"{error}, but the job is not requeued after a single step: {too_short_message}") from error
        if is_main_process and "SLURM_JOB_ID" in os.environ and reason != signal.SIGTERM.name:
            print(f"slq: {requeue_job(os.environ['SLURM_JOB_ID'])}", file=sys.stderr, flush=True)
        raise


def requeue_job(job_id: str) -> str:
    """Requeue a Slurm job and return a message with the outcome; Slurm then ends the job's remaining processes."""
    try:
        answer = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True)
    except FileNotFoundError:
        return f"job {job_id} is not requeued: no scontrol on PATH of this node"
    if answer.returncode:
        return f"job {job_id} is not requeued: {answer.stderr.strip()}"
    return f"job {job_id} is requeued and will resume from its checkpoint"
