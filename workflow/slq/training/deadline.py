"""When a training has to stop: before its allocation ends, or when a signal asks for it."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from slq.errors import SlqError

# A scheduler's warnings: SIGTERM comes before SIGKILL at the end of an allocation, and SIGUSR1 where it is asked for.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
Asked = Callable[[], str | None]


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
