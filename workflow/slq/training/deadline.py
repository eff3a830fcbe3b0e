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


def end_of_allocation(environment: Mapping[str, str], started: float, minutes: float) -> float | None:
    """When the allocation ends, in seconds since 1970; None where there is no allocation.

    Slurm says when; an older one does not, and then a job has asked for so many `minutes`, and `started` about now.
    """
    if "SLURM_JOB_END_TIME" in environment:
        return float(environment["SLURM_JOB_END_TIME"])
    return started + 60 * minutes if "SLURM_JOB_ID" in environment else None


@contextmanager
def asked_to_stop(minutes: float, margin: float) -> Iterator[Asked]:
    """A function that says why training has to stop now, if it has to.

    Args:
        minutes: that the job has asked for, counted from now.
        margin: so many minutes before the end of the allocation it is time.
    """
    end = end_of_allocation(os.environ, time.time(), minutes)
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in SIGNALS}

    def asked() -> str | None:
        if received:
            return signal.Signals(received[0]).name
        return f"the allocation ends in {margin:g} minutes" if end and time.time() > end - 60 * margin else None

    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
