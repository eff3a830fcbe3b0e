"""What happened when: one JSON object per line (docs/hours.md), the ledger's only source."""

import json
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from slq import nvml
from slq.files import read_lines, write_text

SCHEMA = 1


class Events:
    """Appends events to a file. Spans end only when the device has finished its work."""

    def __init__(self, path: Path, **common: Any) -> None:
        """`common` is repeated in every line: which run, which device, which attempt."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.file = path, path.open("a", encoding="utf-8")
        self.common = common
        self.seconds: dict[str, float] = defaultdict(float)
        self.gpus = nvml.visible_gpus()
        job = {"slurm_job": os.environ.get("SLURM_JOB_ID")}
        self.write("attempt", schema=SCHEMA, gpus=[gpu.identity() for gpu in self.gpus], **job)

    @classmethod
    def gathered(cls, path: Path, **common: Any) -> "Events":
        """Events of one more attempt, behind those of the attempts that the file has."""
        return cls(path, **common, attempt=next_attempt(path))

    def write(self, event: str, **fields: Any) -> None:
        line = {"event": event, "time": time.time(), **self.common, **fields}
        self.file.write(json.dumps(line, sort_keys=True) + "\n")
        self.file.flush()

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
            used = {} if energy is None or after is None else {"joules": after - energy}
            measured = fields | used | failed | {"memory_gb": peak_memory()}
            self.write("span", name=name, start=start, seconds=seconds, **measured)
            if not failed:
                self.seconds[name] += seconds

    def energy(self) -> float | None:
        """Joules of the GPU since its driver was loaded; None where nothing counts them."""
        readings = [gpu.joules() for gpu in self.gpus if gpu.joules]
        return sum(readings) if readings else None

    def publish(self, path: Path) -> None:
        """Copy the events of all attempts to where they are declared."""
        write_text(path, self.path.read_text(encoding="utf-8"))


def next_attempt(path: Path) -> int:
    """Number of this attempt, from the events that earlier ones left; a line that a kill tore is cut off."""
    if not path.is_file():
        return 1
    whole, _, torn = path.read_text(encoding="utf-8").rpartition("\n")
    if torn:
        write_text(path, f"{whole}\n" if whole else "")
    return 1 + max((line.get("attempt", 1) for line in read_lines(path)), default=0)


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
