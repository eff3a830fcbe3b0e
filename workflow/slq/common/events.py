"""Events of jobs, the only input of the ledger of hours: one JSON object per line (docs/hours.md).

They record when each stage of a job ran, on which device, and how long it took.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from slq.common.attempts import EVENT_SCHEMA, parse_event_lines
from slq.common.errors import SlqError
from slq.common.files import write_bytes

RECORDED_PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "pillow", "snakemake")


class EventLog:
    """An event file to which one process appends. A span ends only when the device has finished its work.

    An I/O error of the file does not stop the work that the events describe: events that cannot be written stay in
    memory, a warning is printed once, and writing them is tried again with the next event.
    """

    def __init__(self, path: Path, **common_fields: Any) -> None:
        """Read the events of earlier attempts and write the `attempt` event of this one.

        Args:
            path: the event file.
            common_fields: fields that every line repeats: which run, which device, which attempt.
        """
        self.path, self.common_fields = path, {**common_fields, "process": uuid.uuid4().hex[:8]}
        self.earlier_bytes = read_earlier_events(path)
        # Keep the next line apart from a torn one that could not be removed.
        ends_torn = self.earlier_bytes and not self.earlier_bytes.endswith(b"\n")
        self.own_bytes, self.num_bytes_written, self.has_warned = bytearray(b"\n" if ends_torn else b""), 0, False
        self.seconds_by_span: dict[str, float] = defaultdict(float)
        gpus, self.read_joules = probe_gpu()
        self.write("attempt", schema=EVENT_SCHEMA, gpus=gpus, slurm_job=os.environ.get("SLURM_JOB_ID"))

    @classmethod
    def for_next_attempt(cls, path: Path, **common_fields: Any) -> "EventLog":
        """Open the event file for one more attempt, whose events follow those of the attempts that it holds.

        They name the device of this process, unless `common_fields` has another `device`.
        """
        return cls(path, **{"device": describe_device()} | common_fields, attempt=next_attempt_number(path))

    def write(self, event: str, **fields: Any) -> None:
        """Append an event with its wall time, monotonic clock and the common fields."""
        line = {"event": event, "time": time.time(), "clock": time.perf_counter(), **self.common_fields, **fields}
        self.own_bytes += json.dumps(line, sort_keys=True).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                while self.num_bytes_written < len(self.own_bytes):
                    self.num_bytes_written += file.write(self.own_bytes[self.num_bytes_written :]) or 0
        except OSError as error:
            if not self.has_warned:
                print(f"slq: events are kept, not written: {self.path}: {error.strerror}", file=sys.stderr, flush=True)
            self.has_warned = True

    @contextmanager
    def span(self, name: str, **fields: Any) -> Iterator[None]:
        """Measure a stretch of work: init, staging, feature_cache, train, eval or save.

        Its beginning is written too, so that the time of a process that is killed is known up to its last event. A span
        whose body raises is written with `failed`.
        """
        start, start_clock, joules_before = time.time(), time.perf_counter(), self.read_joules()
        self.write("begin", name=name, start=start, **fields)
        failed = {"failed": True}
        try:
            yield
            synchronize()
            failed = {}
        finally:
            seconds = time.perf_counter() - start_clock
            joules_after = self.read_joules()
            energy_fields = (
                {}
                if joules_before is None or joules_after is None or joules_after < joules_before
                else {"joules": joules_after - joules_before}
            )
            measured = fields | energy_fields | failed | {"memory_gb": peak_memory_gb()}
            self.write("span", name=name, start=start, seconds=seconds, **measured)
            if not failed:
                self.seconds_by_span[name] += seconds

    def content(self) -> bytes:
        """Return the events of all attempts as bytes, even if the file itself could not be written or is lost."""
        return self.earlier_bytes + bytes(self.own_bytes)

    def publish(self, path: Path) -> None:
        """Copy the events of all attempts to `path`, the output that the rule declares."""
        write_bytes(path, replace_invalid_lines(self.content()))


def read_earlier_events(path: Path) -> bytes:
    """Read the events of earlier attempts; if the file exists but cannot be read, return a line with an anomaly."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        what = f"{path.name} cannot be read ({error.strerror}): only events of its last attempt are known"
        return anomaly_line(what) + b"\n"


def anomaly_line(message: str) -> bytes:
    """Format an anomaly of the events beside it as a line of JSON, without a line end."""
    return json.dumps({"event": "anomaly", "message": message}).encode()


def replace_invalid_lines(data: bytes) -> bytes:
    """Replace each line that is not a JSON object, e.g. one that was torn, with an anomaly, for publication."""
    lines = [
        anomaly_line(f"line {number}: cut off, or no event; left out") if content is None else line
        for line, (number, content) in zip(data.split(b"\n"), parse_event_lines(data), strict=False)
    ]
    return b"".join(line + b"\n" for line in lines)


def next_attempt_number(path: Path) -> int:
    """Return the number of this attempt, one more than the highest in the event file.

    A last line that a kill left incomplete is removed from the file.
    """
    try:
        data = path.read_bytes()
        complete_lines, _, torn_line = data.rpartition(b"\n")
        if torn_line:
            write_bytes(path, complete_lines + b"\n" if complete_lines else b"")
    except (OSError, SlqError):  # no earlier events; `EventLog` reports write errors
        return 1
    numbers = [line.get("attempt", 1) for _, line in parse_event_lines(complete_lines) if line is not None]
    return 1 + max((number for number in numbers if isinstance(number, int)), default=0)


def synchronize() -> None:
    """Wait until the device has finished its work; a clock that is read before then does not measure that work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory_gb() -> float:
    """Return the peak memory since the process began, in GB: reserved on the GPU, or without one, resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def describe_device() -> dict[str, Any]:
    """Return kind, name and count (GPUs, or CPU threads) of the device that this process computes on."""
    if torch.cuda.is_available():
        return {"kind": "cuda", "name": torch.cuda.get_device_name(), "count": 1}
    return {"kind": "cpu", "name": cpu_name(), "count": torch.get_num_threads()}


def cpu_name() -> str:
    """Return the processor's model name, from Linux or else from the platform."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def probe_gpu() -> tuple[list[dict[str, Any]], Callable[[], float | None]]:
    """Return this process's GPU with its power limit (an empty list without a GPU), and a function that reads joules.

    NVML is queried by UUID, as it ignores CUDA_VISIBLE_DEVICES. The energy counter starts when the driver is loaded and
    counts all users of the GPU, so on a shared GPU it does not measure one job. Power limit and joules are None where
    the driver, or this GPU, does not answer.
    """
    if not torch.cuda.is_available():
        return [], lambda: None
    import pynvml

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    uuid, memory_gb = f"GPU-{properties.uuid}", properties.total_memory / 1e9
    gpu: dict[str, Any] = {"name": properties.name, "uuid": uuid, "memory_gb": memory_gb, "power_limit_w": None}
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:  # no driver library in a container, or a part of a GPU
        return [gpu], lambda: None

    def query_driver(query: Callable[[Any], int]) -> float | None:
        """Query the driver for a value in thousandths (milliwatts, millijoules) and convert it to watts or joules."""
        try:
            return query(handle) / 1000
        except pynvml.NVMLError:
            return None

    gpu["power_limit_w"] = query_driver(pynvml.nvmlDeviceGetPowerManagementLimit)
    return [gpu], lambda: query_driver(pynvml.nvmlDeviceGetTotalEnergyConsumption)


def provenance(image_processor: Any) -> dict[str, Any]:
    """Return the provenance of a result: commit, versions of Python and packages, image processor and Slurm job."""
    return {
        "git": git_state(),
        "python": platform.python_version(),
        "versions": package_versions(),
        "image_processor": type(image_processor).__name__,
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that results depend on."""
    return {name: version(name) for name in RECORDED_PACKAGES}


def git_state() -> dict[str, Any] | None:
    """Return commit and dirty flag of the working folder; None outside a repository or if git fails.

    Changed or new files in `results` make nothing dirty: runs write them there for a person to commit. That git refuses
    the repository of another owner is said on stderr, with the command that permits it.
    """
    status = ("status", "--porcelain", "--", ":/", ":(top,exclude)results")
    try:
        commit, changed = _run_git("rev-parse", "HEAD"), _run_git(*status)
    except OSError:  # no git
        return None
    except subprocess.CalledProcessError as error:
        if b"safe.directory" in error.stderr:
            command = error.stderr.decode(errors="replace").strip().splitlines()[-1].strip()
            print(
                f"slq: no commit is noted: git does not trust the owner of this folder; call {command}", file=sys.stderr
            )
        return None
    return {"commit": commit.decode(), "dirty": bool(changed)}


def _run_git(*words: str) -> bytes:
    """Return what git prints, without blanks around it.

    Raises:
        OSError: there is no git.
        subprocess.CalledProcessError: it fails.
    """
    return subprocess.run(["git", *words], capture_output=True, check=True).stdout.strip()
