"""A training that its allocation is too short for goes back into Slurm's queue by itself, however often."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from slq.errors import SlqError
from slq.training.deadline import SIGNALS, Asked, Interrupted


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
