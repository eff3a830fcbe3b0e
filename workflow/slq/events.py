"""What happened when: one JSON object per line (docs/hours.md), the ledger's only source."""

import json
import os
import resource
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from slq import nvml
from slq.attempts import readable_lines
from slq.errors import SlqError
from slq.files import write_bytes

SCHEMA = 1


class Events:
    """Appends events to a file. Spans end only when the device has finished its work.

    No fault of the file stops the work that the events tell of: what cannot be written is kept, said once, and tried
    again with the next event.
    """

    def __init__(self, path: Path, **common: Any) -> None:
        """`common` is repeated in every line: which run, which device, which attempt."""
        self.path, self.common = path, {**common, "process": uuid.uuid4().hex[:8]}
        self.own, self.written, self.said = bytearray(), 0, False
        self.seconds: dict[str, float] = defaultdict(float)
        self.gpus = nvml.visible_gpus()
        job = {"slurm_job": os.environ.get("SLURM_JOB_ID")}
        self.write("attempt", schema=SCHEMA, gpus=[gpu.identity() for gpu in self.gpus], **job)

    @classmethod
    def gathered(cls, path: Path, **common: Any) -> "Events":
        """Events of one more attempt, behind those of the attempts that the file has."""
        return cls(path, **common, attempt=next_attempt(path))

    def write(self, event: str, **fields: Any) -> None:
        line = {"event": event, "time": time.time(), "clock": time.perf_counter(), **self.common, **fields}
        self.own += json.dumps(line, sort_keys=True).encode() + b"\n"
        try:
            self._append()
        except OSError as error:
            if not self.said:
                print(f"slq: events are kept, not written: {self.path}: {error.strerror}", file=sys.stderr, flush=True)
            self.said = True

    def _append(self) -> None:
        """Add to the file what it does not have yet of this process's lines: all of them if it was removed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as file:
            length = file.seek(0, os.SEEK_END) if self.path.is_file() else None
            if length == 0:
                self.written = 0
            elif length and not self.written:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line that was torn does not take this one with it
                    file.write(b"\n")
            while self.written < len(self.own):
                self.written += file.write(self.own[self.written :]) or 0

    @contextmanager
    def span(self, name: str, **fields: Any) -> Iterator[None]:
        """Measure a stretch of work: init, staging, train, eval or save.

        Its beginning is written too: of a process that is killed, the time until its last event is known. A span that
        raises is written as `failed`.
        """
        start, clock, energy = time.time(), time.perf_counter(), self.energy()
        self.write("begin", name=name, start=start, **fields)
        failed = {"failed": True}
        try:
            yield
            synchronize()
            failed = {}
        finally:
            seconds = time.perf_counter() - clock
            after = self.energy()
            used = {} if energy is None or after is None or after < energy else {"joules": after - energy}
            measured = fields | used | failed | {"memory_gb": peak_memory()}
            self.write("span", name=name, start=start, seconds=seconds, **measured)
            if not failed:
                self.seconds[name] += seconds

    def energy(self) -> float | None:
        """Joules of the GPU since its driver was loaded; None where nothing counts them."""
        readings = [gpu.joules() for gpu in self.gpus if gpu.joules]
        known = [reading for reading in readings if reading is not None]
        return sum(known) if known and len(known) == len(readings) else None

    def content(self) -> bytes:
        """The events of all attempts; a file that cannot be read, or lacks events of this one, is told as odd."""
        own = bytes(self.own)
        try:
            lines = self.path.read_bytes().splitlines()
            what = "does not hold all events of its last attempt"
        except OSError as error:
            lines, what = [], f"cannot be read ({error.strerror}): only events of its last attempt are known"
        if not set(own.splitlines()) <= set(lines):
            others = [line for line in lines if self.common["process"].encode() not in line]
            lines = [*others, odd(f"{self.path.name} {what}"), *own.splitlines()]
        return b"".join(line + b"\n" for line in lines)

    def publish(self, path: Path) -> None:
        """Copy the events of all attempts to where they are declared."""
        write_bytes(path, whole(self.content()))


def odd(what: str) -> bytes:
    """A line that says what is odd about the events beside it."""
    return json.dumps({"event": "odd", "what": what}).encode()


def whole(data: bytes) -> bytes:
    """Events as they are published: a line that is none, e.g. one that was torn, is told as odd in its place."""
    lines = zip(data.split(b"\n"), readable_lines(data), strict=False)
    kept = [
        odd(f"line {number}: cut off, or no event; left out") if content is None else line
        for line, (number, content) in lines
    ]
    return b"".join(line + b"\n" for line in kept)


def next_attempt(path: Path) -> int:
    """Number of this attempt, from the events that earlier ones left; a line that a kill tore is cut off."""
    try:
        data = path.read_bytes()
        kept, _, torn = data.rpartition(b"\n")
        if torn:
            write_bytes(path, kept + b"\n" if kept else b"")
    except (OSError, SlqError):  # nothing to go on from: `Events` says what cannot be written
        return 1
    numbers = [line.get("attempt", 1) for _, line in readable_lines(kept) if line is not None]
    return 1 + max((number for number in numbers if isinstance(number, int)), default=0)


def synchronize() -> None:
    """Wait until the device has finished its work; a clock that is read before it has measures nothing."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> float:
    """GB that were in use at most since the process began: on the GPU, or, without one, of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def describe_device(device: str) -> dict[str, Any]:
    """Kind, name and count (GPUs, or CPU threads) of what the work runs on."""
    if device == "cuda":
        return {"kind": "cuda", "name": torch.cuda.get_device_name(), "count": 1}
    return {"kind": "cpu", "name": cpu_name(), "count": torch.get_num_threads()}


def cpu_name() -> str:
    """The processor's model name, from Linux or else from the platform."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    import platform

    return platform.processor() or platform.machine()
