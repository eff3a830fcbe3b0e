"""Event files of jobs, with one JSON object per line (docs/hours.md).

Events record when each stage of a job ran, on which device, and how long it took. They are the only input of the ledger
of GPU hours.
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
    """Event file to which one process appends.

    An I/O error does not stop the job: events that cannot be written are kept in memory, a warning is printed once, and
    the next event tries to write them again.
    """

    def __init__(self, path: Path, **common_fields: Any) -> None:
        """Read the events of earlier attempts and write the `attempt` event of this one.

        Args:
            path: the event file.
            common_fields: fields of every line: the run, the device, the attempt.
        """
        self.path, self.common_fields = path, {**common_fields, "process": uuid.uuid4().hex[:8]}
        self.earlier_bytes = read_earlier_events(path)
        # If a torn last line could not be removed, begin with a newline.
        ends_torn = self.earlier_bytes and not self.earlier_bytes.endswith(b"\n")
        self.own_bytes, self.num_bytes_written, self.has_warned = bytearray(b"\n" if ends_torn else b""), 0, False
        self.seconds_by_span: dict[str, float] = defaultdict(float)
        gpus, self.read_joules = probe_gpu()
        self.write("attempt", schema=EVENT_SCHEMA, gpus=gpus, slurm_job=os.environ.get("SLURM_JOB_ID"))

    @classmethod
    def for_next_attempt(cls, path: Path, **common_fields: Any) -> "EventLog":
        """Open the event file for another attempt, and append its events to those of earlier attempts.

        The events name the device of this process, unless `common_fields` has a `device`.
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
                message = f"events cannot be written and are kept in memory: {self.path}: {error.strerror}"
                print(f"slq: warning: {message}", file=sys.stderr, flush=True)
            self.has_warned = True

    @contextmanager
    def span(self, name: str, **fields: Any) -> Iterator[None]:
        """Measure a piece of work: init, staging, feature_cache, train, eval or save.

        The span ends when the device has finished its work. A `begin` event is written too, so that the time of a
        killed process is known up to its last event. If the body raises, the span is written with `failed`.
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
        """Return the events of all attempts as bytes, even if the file could not be written or was removed."""
        return self.earlier_bytes + bytes(self.own_bytes)

    def publish(self, path: Path) -> None:
        """Write the events of all attempts to `path`, an output of the rule."""
        write_bytes(path, replace_invalid_lines(self.content()))


def read_earlier_events(path: Path) -> bytes:
    """Read the events of earlier attempts; return a line with an anomaly if the file exists but cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        what = f"{path.name} cannot be read ({error.strerror}): only events of its last attempt are known"
        return anomaly_line(what) + b"\n"


def anomaly_line(message: str) -> bytes:
    """Format an anomaly as a line of JSON, without a newline."""
    return json.dumps({"event": "anomaly", "message": message}).encode()


def replace_invalid_lines(data: bytes) -> bytes:
    """Replace each line that is not a JSON object, such as a torn line, by an anomaly, for publication."""
    lines = [
        anomaly_line(f"line {number}: cut off, or no event; left out") if content is None else line
        for line, (number, content) in zip(data.split(b"\n"), parse_event_lines(data), strict=False)
    ]
    return b"".join(line + b"\n" for line in lines)


def next_attempt_number(path: Path) -> int:
    """Return the number of this attempt: the highest number in the event file plus one.

    An incomplete last line, left by a killed process, is removed from the file.
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
    """Wait until the GPU, if any, has finished its work; a clock that is read earlier does not measure that work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory_gb() -> float:
    """Return the peak memory of this process in GB: reserved GPU memory, or resident memory without a GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def describe_device() -> dict[str, Any]:
    """Return the kind, the name and the count (of GPUs or CPU threads) of this process's device."""
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

    NVML ignores CUDA_VISIBLE_DEVICES, so the GPU is queried by its UUID. The energy counter starts when the driver is
    loaded and covers all processes on the GPU, so on a shared GPU it does not measure one job. The power limit and the
    joules are None if the driver does not report them for this GPU.
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
    except pynvml.NVMLError:  # the container lacks the driver library, or the device is a part of a GPU
        return [gpu], lambda: None

    def query_driver(query: Callable[[Any], int]) -> float | None:
        """Query the driver for a value in milliwatts or millijoules, and convert it to watts or joules."""
        try:
            return query(handle) / 1000
        except pynvml.NVMLError:
            return None

    gpu["power_limit_w"] = query_driver(pynvml.nvmlDeviceGetPowerManagementLimit)
    return [gpu], lambda: query_driver(pynvml.nvmlDeviceGetTotalEnergyConsumption)


def provenance(image_processor: Any) -> dict[str, Any]:
    """Return the provenance of a result: commit, versions of Python and packages, image processor, Slurm job."""
    return {
        "git": git_state(),
        "python": platform.python_version(),
        "versions": package_versions(),
        "image_processor": type(image_processor).__name__,
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def current_plan() -> str | None:
    """Return the hash of the plan that a result is made under, from the Snakefile; None outside the workflow."""
    return os.environ.get("SLQ_PLAN")


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that results depend on."""
    return {name: version(name) for name in RECORDED_PACKAGES}


def git_state() -> dict[str, Any] | None:
    """Return the commit and the dirty flag of the working folder; None outside a repository or if git fails.

    Changed or new files in `results` do not set the dirty flag, because runs write them there for the user to commit.
    If git refuses a repository of another owner, a warning on stderr names the command that permits it.
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
                f"slq: warning: the commit is not recorded, because git does not trust the owner of this folder; "
                f"run {command}",
                file=sys.stderr,
            )
        return None
    return {"commit": commit.decode(), "dirty": bool(changed)}


def _run_git(*words: str) -> bytes:
    """Run git and return its output, without blanks around it.

    Raises:
        OSError: git is not installed.
        subprocess.CalledProcessError: git fails.
    """
    return subprocess.run(["git", *words], capture_output=True, check=True).stdout.strip()
