"""What the driver of NVIDIA's GPUs says of those that a process uses: who they are, their power limit and energy."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Gpu:
    """A physical GPU. Its energy is that of all who use it, so on a shared one it says nothing of a job."""

    handle: Any
    name: str
    uuid: str
    memory_gb: float
    power_limit_w: float | None
    counts_energy: bool

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "uuid": self.uuid,
            "memory_gb": self.memory_gb,
            "power_limit_w": self.power_limit_w,
        }

    def joules(self) -> float:
        """Since the driver was loaded."""
        import pynvml

        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1000


def visible_gpus() -> list[Gpu]:
    """The GPU that this process computes on, matched by UUID since the driver knows nothing of CUDA_VISIBLE_DEVICES;
    none without one."""
    if not torch.cuda.is_available():
        return []
    import pynvml

    pynvml.nvmlInit()
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    uuid = f"GPU-{properties.uuid}"
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    return [
        Gpu(
            handle,
            properties.name,
            uuid,
            properties.total_memory / 1e9,
            _known(lambda: pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000),
            _known(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) is not None,
        )
    ]


def _known(ask: Any) -> Any:
    """What the driver answers, None if this GPU does not support the question."""
    import pynvml

    try:
        return ask()
    except pynvml.NVMLError_NotSupported:
        return None
