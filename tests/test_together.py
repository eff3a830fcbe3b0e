"""The global batch decides what is learned: not the number of processes, not the micro-batch, not the passes."""

import os

import pytest
import torch

from slq.errors import SlqError
from slq.training.processes import Processes
from together import TUNING, by_processes, learn

LONG = [{"method": method, "dtype": "float64", "steps": 50} for method in TUNING]
FIRST = [{"method": method, "dtype": "float32", "steps": 1} for method in TUNING]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes with 32 rows each learn, by method and dtype, 16 at a time; single precision in two passes."""
    cases = [
        *(case | {"micro_batch": 16} for case in LONG),
        *(case | {"micro_batch": 8, "two_pass": True} for case in FIRST),
    ]
    found = by_processes(2, cases, tmp_path_factory.mktemp("two"))
    return {(case["method"], case["dtype"]): tensors for case, tensors in zip(cases, found, strict=True)}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What one process with all 64 rows at once learns."""
    folder = tmp_path_factory.mktemp("one")
    return {(case["method"], case["dtype"]): learn(case, folder) for case in (*LONG, *FIRST)}


def apart(one, other):
    """The largest difference of what was learned."""
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one if not name.startswith("gradient."))


@pytest.mark.parametrize("method", TUNING)
def test_two_processes_learn_what_one_does(one, two, method):
    assert apart(one[method, "float64"], two[method, "float64"]) < 1e-6


@pytest.mark.parametrize("method", TUNING)
def test_eight_at_once_in_two_passes_learn_what_the_whole_does(one, tmp_path, method):
    found = learn({"method": method, "dtype": "float64", "steps": 50, "micro_batch": 8, "two_pass": True}, tmp_path)
    assert apart(one[method, "float64"], found) < 1e-6
    start = learn({"method": method, "dtype": "float64", "steps": 1}, tmp_path)
    assert apart(start, found) > 1e-3, "fifty steps lead somewhere"


@pytest.mark.parametrize("method", TUNING)
def test_the_first_gradients_are_the_same_in_single_precision(one, two, method):
    """Against two processes that embed eight rows at a time, twice."""
    whole, parts = ({name: value for name, value in found[method, "float32"].items() if "gradient." in name}
                    for found in (one, two))  # fmt: skip
    assert whole.keys() == parts.keys() and len(whole) > 1
    whole, parts = (torch.cat([found[name].flatten() for name in sorted(found)]) for found in (whole, parts))
    assert (whole - parts).norm() / whole.norm() < 1e-5


def test_processes_that_do_not_divide_a_batch_stop(monkeypatch):
    processes = Processes()
    monkeypatch.setattr(type(processes), "count", 3)
    with pytest.raises(
        SlqError, match=r"training\.batch_size is 64, which 3 processes do not divide; change resources"
    ):
        processes.share(64)
    assert os.environ.get("WORLD_SIZE") is None
