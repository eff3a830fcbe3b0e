"""The NVIDIA GPU that a process computes on: who it is and, where its driver says so, its power limit and energy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Gpu:
    """A physical GPU. Its energy is that of all who use it, so of a shared one it says nothing about a job.

    `joules`: a reading of the counter that runs since the driver was loaded, None if that fails; None if this GPU, or
    machine, has none.
    """

    name: str
    uuid: str
    memory_gb: float
    power_limit_w: float | None = None
    joules: Callable[[], float | None] | None = None

    def identity(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("name", "uuid", "memory_gb", "power_limit_w")}


def visible_gpus() -> list[Gpu]:
    """The GPU of this process; none without one. The driver is asked by UUID: it ignores CUDA_VISIBLE_DEVICES."""
    if not torch.cuda.is_available():
        return []
    import pynvml

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    who: dict[str, Any] = {
        "name": properties.name,
        "uuid": f"GPU-{properties.uuid}",
        "memory_gb": properties.total_memory / 1e9,
    }
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(who["uuid"])
    except pynvml.NVMLError:  # no driver library in a container, or a part of a GPU
        return [Gpu(**who)]

    def joules() -> float | None:
        return _answer(lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000)

    limit = _answer(lambda: pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000)
    return [Gpu(**who, power_limit_w=limit, joules=None if joules() is None else joules)]


def _answer(ask: Callable[[], float]) -> float | None:
    """None where this GPU, or its driver, does not answer the question."""
    import pynvml

    try:
        return ask()
    except pynvml.NVMLError:
        return None
