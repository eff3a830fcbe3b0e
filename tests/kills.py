"""Kill what runs, at a moment that is waited for, and know afterwards where it was: for all that can be killed."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path

from sliced import Slice
from slq.common.errors import SlqError
from slq.common.files import read_jsonl

# Enough steps and checkpoints to be killed at; the best epoch is kept, so that it must survive too.
MANY_STEPS = {"epochs": 2, "checkpoint_steps": 3, "checkpoint_selection": "best"}
STEPS = 30


@dataclass(frozen=True)
class Kill:
    """Where a process was when it was killed: after which optimizer step, and whether it wrote a checkpoint."""

    step: int
    writing: bool


def kill_at(process: subprocess.Popen, moment: Callable[[], bool], group: bool = False) -> bool:
    """SIGKILL as soon as `moment` says so, to the process or to its whole group; False if it ended before."""
    while not moment():
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    if process.poll() is not None:
        return False
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    return True


class Trail:
    """What a run leaves in its folder of scratch while it trains."""

    def __init__(self, work: Path) -> None:
        """`work`: the `work_folder` of the job `train`, in which this run is the only one."""
        self.work = work

    def last(self) -> tuple[int, int]:
        """The attempt that took a step last, and the step; zeros before the first."""
        lines = [line for path in self.work.glob("*/events.jsonl") for line in path.read_bytes().splitlines()]
        for line in reversed(lines):
            if b'"event": "step"' in line and line.endswith(b"}"):
                event = json.loads(line)
                return event["attempt"], event["step"]
        return 0, 0

    def reached(self, step: int) -> Callable[[], bool]:
        """Whether an attempt that begins from now on has taken this step, or a later one."""
        before, _ = self.last()
        return lambda: self.last() >= (before + 1, step)

    def writing(self) -> bool:
        """Whether a checkpoint is, or was, being written."""
        return any(self.work.glob("*/checkpoints/.step-*"))

    def found(self) -> Kill:
        return Kill(self.last()[1], self.writing())


def steps_to_kill_at(count: int, steps: int, seed: int) -> list[int]:
    """So many steps of a training, one drawn from each of as many parts of its interior, in order."""
    draw = random.Random(seed)
    edges = [1 + (steps - 3) * part // count for part in range(count + 1)]
    return [draw.randrange(low, max(high, low + 1)) for low, high in itertools.pairwise(edges)]


def losses(events: Path) -> dict[int, float]:
    """The loss of each step, as the attempt saw it that the run went on from."""
    return {line["step"]: line["loss"] for line in read_jsonl(events) if line["event"] == "step"}


def trainer(slice_: Slice, method: str, name: str) -> "Forked":
    """A process that trains a run of the slice, or goes on with it."""
    return Forked(lambda: slice_.train(method, name, MANY_STEPS), slice_.root / f"{name}.log")


def report(work: Callable[[], None], log: Path) -> None:
    """Do some work as the command line does: an error is a message and a status, in the log as everything else."""
    sys.stderr = log.open("a", buffering=1)
    try:
        work()
    except SlqError as error:
        print(f"slq: error: {error}", file=sys.stderr)
        sys.exit(error.status)


class Forked(ForkProcess):
    """A fork of this process, with what it has imported: a kill then costs no start. As much of Popen as is used."""

    def __init__(self, work: Callable[[], None], log: Path) -> None:
        super().__init__(target=report, args=(work, log))
        self.start()

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode
