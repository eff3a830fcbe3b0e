"""Killing of trainings at a chosen step or during a checkpoint write, for tests of resuming."""

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

# Enough steps and checkpoints to kill a run at. The best epoch is kept, so it must survive a kill too.
MANY_STEPS = {"epochs": 2, "checkpoint_steps": 3, "checkpoint_selection": "best"}
STEPS = 30


@dataclass(frozen=True)
class Kill:
    """State of a process at its kill: the last optimizer step, and whether it was writing a checkpoint."""

    step: int
    writing: bool


def kill_at(process: subprocess.Popen, moment: Callable[[], bool], group: bool = False) -> bool:
    """Send SIGKILL to the process or its whole group as soon as `moment` is true; False if it ended before."""
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
    """The files that a training writes to its scratch folder while it runs."""

    def __init__(self, work: Path) -> None:
        """`work`: the `work_folder` of the job `train`, with no other run in it."""
        self.work = work

    def last(self) -> tuple[int, int]:
        """Return the attempt and number of the latest step; zeros before the first step."""
        lines = [line for path in self.work.glob("*/events.jsonl") for line in path.read_bytes().splitlines()]
        for line in reversed(lines):
            if b'"event": "step"' in line and line.endswith(b"}"):
                event = json.loads(line)
                return event["attempt"], event["step"]
        return 0, 0

    def reached(self, step: int) -> Callable[[], bool]:
        """Return a check whether a new attempt, started after this call, has taken this step or a later one."""
        before, _ = self.last()
        return lambda: self.last() >= (before + 1, step)

    def writing(self) -> bool:
        """Return whether a partly written checkpoint exists."""
        return any(self.work.glob("*/checkpoints/.step-*"))

    def found(self) -> Kill:
        return Kill(self.last()[1], self.writing())


def steps_to_kill_at(count: int, steps: int, seed: int) -> list[int]:
    """Draw `count` steps of a training in order, one from each of `count` equal parts of it."""
    draw = random.Random(seed)
    edges = [1 + (steps - 3) * part // count for part in range(count + 1)]
    return [draw.randrange(low, max(high, low + 1)) for low, high in itertools.pairwise(edges)]


def losses(events: Path) -> dict[int, float]:
    """Read the loss of each step; for a repeated step, the loss of its latest attempt."""
    return {line["step"]: line["loss"] for line in read_jsonl(events) if line["event"] == "step"}


def trainer(slice_: Slice, method: str, name: str) -> "Forked":
    """Create a process that starts or resumes a training of the slice."""
    return Forked(lambda: slice_.train(method, name, MANY_STEPS), slice_.root / f"{name}.log")


def report(work: Callable[[], None], log: Path) -> None:
    """Run a function as the command line does: errors become a message in the log and an exit status."""
    sys.stderr = log.open("a", buffering=1)
    try:
        work()
    except SlqError as error:
        print(f"slq: error: {error}", file=sys.stderr)
        sys.exit(error.status)


class Forked(ForkProcess):
    """A fork of this process with its imports, so that a restart is fast; it has the used part of Popen's interface."""

    def __init__(self, work: Callable[[], None], log: Path) -> None:
        super().__init__(target=report, args=(work, log))
        self.start()

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode
