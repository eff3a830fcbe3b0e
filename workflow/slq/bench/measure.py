"""Seconds, memory and activations of a piece of work."""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slq.events import synchronize

# What losses, gradients and unit vectors may differ by where the same is computed in another way, relative: rounding.
ALIKE = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 5e-2}
STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def seconds(work: Callable[[], Any]) -> float:
    """Of one call, until the device has finished it."""
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def peak_bytes(work: Callable[[], Any]) -> int:
    """Memory at most in use during a call, above what was in use before: of the GPU, or without one of the process."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work has freed is otherwise counted as in use
    PEAK.write_text("5")  # the kernel's mark of the most memory starts anew
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def held_bytes(work: Callable[[], Any], given: list[Tensor]) -> int:
    """Bytes that a call holds for the gradient at once, without those of `given` tensors, the weights."""
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    return sum(held.values())


def _status(name: str) -> int:
    """A number of kB that the kernel keeps of this process, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
