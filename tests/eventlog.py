"""A simulated event log of a job, for tests of the hours and attempts computed from events."""

import json
from pathlib import Path

from slq.common.attempts import EVENT_SCHEMA

DEVICE = {"kind": "cuda", "name": "NVIDIA H200", "count": 2}


class Told:
    """A writer of a job's events with a simulated clock."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock, self.attempt = path, 1_000_000.0, 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, event: str, **fields) -> None:
        line = {"event": event, "time": self.clock, "attempt": self.attempt, "device": DEVICE, **fields}
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def begin_attempt(self, resumed: int | None = None, pause: float = 60.0) -> None:
        self.clock += pause
        self.attempt += 1
        self.write("attempt", schema=EVENT_SCHEMA, gpus=[], slurm_job=str(40 + self.attempt))
        if resumed is not None:
            self.write("resumed", step=resumed)

    def span(self, name: str, seconds: float) -> None:
        start = self.clock
        self.write("begin", name=name, start=start)
        self.clock += seconds
        self.write("span", name=name, start=start, seconds=seconds)

    def train(self, first: int, last: int, each: float, killed: bool = False) -> None:
        """Write steps of `each` seconds in one span, which a kill leaves open."""
        start = self.clock
        self.write("begin", name="train", start=start)
        for step in range(first, last + 1):
            self.clock += each
            counts = {
                "image": {
                    "num_messages": 4,
                    "tokens": 40,
                    "squared_tokens": 400,
                    "image_tokens": 36,
                    "squared_image_tokens": 324,
                }
            }
            counts["text"] = {
                "num_messages": 4,
                "tokens": 40,
                "squared_tokens": 400,
                "image_tokens": 0,
                "squared_image_tokens": 0,
            }
            self.write("step", step=step, token_counts=counts)
        if not killed:
            self.write("span", name="train", start=start, seconds=self.clock - start)
