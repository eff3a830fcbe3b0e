"""The GPU that the events name, and its energy, with a stand-in for the driver."""

import sys
from types import SimpleNamespace

import pytest
import torch

from slq.common.events import EventLog, probe_gpu
from slq.common.files import read_jsonl


class Driver:
    """A driver that knows two GPUs; the energy counter of the second rises by five joules at each reading."""

    NVMLError = type("NVMLError", (Exception,), {})
    uuids = ("GPU-first", "GPU-second")

    def __init__(self) -> None:
        self.millijoules = 1_000_000

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in self.uuids:
            raise self.NVMLError
        return self.uuids.index(uuid)

    def nvmlDeviceGetPowerManagementLimit(self, handle):
        return (300_000, 700_000)[handle]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if handle == 0:
            raise self.NVMLError
        self.millijoules += 5_000
        return self.millijoules


@pytest.fixture
def gpu(monkeypatch):
    """Function that makes torch see one GPU of a given UUID."""

    def see(uuid: str) -> None:
        properties = SimpleNamespace(name="NVIDIA H100 PCIe", uuid=uuid, total_memory=80e9)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 12e9)

    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    return see


def test_the_gpu_is_matched_by_its_uuid_and_its_energy_counted(gpu, tmp_path):
    gpu("second")
    events = EventLog(tmp_path / "events.jsonl")
    with events.span("train"):
        pass
    attempt, _, span = read_jsonl(tmp_path / "events.jsonl")
    assert attempt["gpus"] == [
        {"name": "NVIDIA H100 PCIe", "uuid": "GPU-second", "memory_gb": 80.0, "power_limit_w": 700.0}
    ]
    assert (span["joules"], span["memory_gb"]) == (5.0, 12.0)


def test_a_gpu_without_a_counter_has_no_energy(gpu):
    gpu("first")
    (found,), joules = probe_gpu()
    assert found["power_limit_w"] == 300.0 and joules() is None


def test_a_gpu_that_the_driver_does_not_know_is_named_all_the_same(gpu):
    gpu("part-of-one")
    (found,), joules = probe_gpu()
    assert (found["uuid"], found["power_limit_w"], joules()) == ("GPU-part-of-one", None, None)


def test_without_a_gpu_there_is_none():
    gpus, joules = probe_gpu()
    assert gpus == [] and joules() is None
