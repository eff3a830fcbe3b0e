"""What happened when: one JSON object per line (docs/results.md), the ledger's only source."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class Events:
    """Appends events to a file. Spans end only when the device has finished its work."""

    def __init__(self, path: Path, **common: Any) -> None:
        """`common` is repeated in every line: which run, which device."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("a", encoding="utf-8")
        self.common = common
        self.seconds: dict[str, float] = defaultdict(float)

    def write(self, event: str, **fields: Any) -> None:
        line = {"event": event, "time": time.time(), **self.common, **fields}
        self.file.write(json.dumps(line, sort_keys=True) + "\n")
        self.file.flush()

    @contextmanager
    def span(self, name: str, **fields: Any) -> Iterator[None]:
        """Measure a stretch of work: init, staging, train, eval or save. Nothing is written if it raises."""
        start, clock = time.time(), time.perf_counter()
        yield
        synchronize()
        seconds = time.perf_counter() - clock
        self.seconds[name] += seconds
        self.write("span", name=name, start=start, seconds=seconds, **fields)


def synchronize() -> None:
    """Wait until the device has finished its work; a clock that is read before it has measures nothing."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


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
