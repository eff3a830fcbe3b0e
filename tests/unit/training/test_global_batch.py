"""The global batch determines what is learned; the numbers of processes, micro-batches and passes do not."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from asjob import parameter_file
from slq.common.errors import SlqError
from slq.training.distributed import DistributedContext, require_devices
from together import HYPERPARAMETERS, SEED, by_processes, learn

LONG = [{"method": method, "dtype": "float64", "steps": 50} for method in HYPERPARAMETERS]
FIRST = [{"method": method, "dtype": "float32", "steps": 1} for method in HYPERPARAMETERS]
# Two processes have 32 rows each, 16 at a time, and each has the whole model or a part of it; with parts, a checkpoint
# is kept after twenty steps. In single precision: two passes, eight rows at a time.
TWO = [
    *(case | {"micro_batch_size": 16} for case in LONG),
    *(case | {"micro_batch_size": 8, "grad_cache": True} for case in FIRST),
]
SHARDED = [case | {"sharding": True} | ({"kept_after": 20} if case["steps"] > 20 else {}) for case in TWO]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Tensors learned by one process with all 64 rows at once, by method and steps."""
    folder = tmp_path_factory.mktemp("one")
    return {(case["method"], case["steps"]): learn(case, folder) for case in (*LONG, *FIRST)}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Tensors learned by two processes with the whole model each, by method and steps."""
    found = by_processes(2, TWO, tmp_path_factory.mktemp("two"))
    return {(case["method"], case["steps"]): tensors for case, tensors in zip(TWO, found, strict=True)}


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Folder of two processes that trained half the model each, and what they learned."""
    folder = tmp_path_factory.mktemp("halves")
    return folder, by_processes(2, SHARDED, folder)


@pytest.fixture(scope="module")
def sharded(halves):
    """Tensors learned by the processes of `halves`, also as of their checkpoints."""
    by_case = {}
    for case, found in zip(SHARDED, halves[1], strict=True):
        whole = {name: tensor for name, tensor in found.items() if not name.startswith("begun.")}
        by_case[case["method"], case["steps"]] = whole
        if "kept_after" in case:
            by_case[case["method"], case["kept_after"]] = whole | {
                name.removeprefix("begun."): tensor for name, tensor in found.items() if name not in whole
            }
    return by_case


@pytest.fixture(scope="module")
def checkpoints(halves):
    """Checkpoint folders of the processes of `halves`, by method."""
    kept = [(number, case["method"]) for number, case in enumerate(SHARDED) if "kept_after" in case]
    return {method: halves[0] / f"checkpoints-{number}" for number, method in kept}


def apart(one, other):
    """Largest difference between learned tensors."""
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one if not name.startswith("gradient."))


@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_two_processes_learn_what_one_does(one, two, method):
    assert apart(one[method, 50], two[method, 50]) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_two_processes_with_half_the_model_each_learn_what_one_does(one, sharded, method):
    assert apart(one[method, 50], sharded[method, 50]) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_one_process_goes_on_from_the_checkpoint_of_two_with_half_the_model_each(
    one, sharded, checkpoints, tmp_path, method
):
    assert apart(one[method, 50], sharded[method, 20]) > 1e-3
    gone_on = learn({"method": method, "dtype": "float64", "steps": 50}, tmp_path, checkpoints[method])
    assert apart(one[method, 50], gone_on) < 1e-6


@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_eight_at_once_in_two_passes_learn_what_the_whole_does(one, tmp_path, method):
    found = learn(
        {"method": method, "dtype": "float64", "steps": 50, "micro_batch_size": 8, "grad_cache": True}, tmp_path
    )
    assert apart(one[method, 50], found) < 1e-6
    start = learn({"method": method, "dtype": "float64", "steps": 1}, tmp_path)
    assert apart(start, found) > 1e-3, "fifty steps lead somewhere"


@pytest.mark.parametrize("shares", ["two", pytest.param("sharded", marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_the_first_gradients_are_the_same_in_single_precision(one, shares, method, request):
    """Two processes embed eight rows at a time, in two passes, with the whole model each or half of it.

    They batch rows of similar length, so padding differs. Much of SLQ's first gradient cancels, so the two sides differ
    by up to 1.2e-4, depending on the processor. A row left out would change the gradient by hundreds of times as much.
    """
    whole, parts = (gradients(found[method, 1]) for found in (one, request.getfixturevalue(shares)))
    assert whole.keys() == parts.keys() and len(whole) > 1
    apart = [torch.linalg.vector_norm(whole[name] - parts[name]) for name in whole]
    assert torch.stack(apart).norm() / torch.stack([tensor.norm() for tensor in whole.values()]).norm() < 1e-3


def gradients(found):
    return {name: tensor for name, tensor in found.items() if name.startswith("gradient.")}


def test_a_run_of_two_processes_with_half_the_model_each_is_saved_whole(slice_, tmp_path):
    """The rule starts it through the launcher; in single precision, each sum is rounded in its own order."""
    settings = slice_.settings("full_ft")
    settings["training"] |= {"sharding": True, "micro_batch_size": 8}
    values = {"seed": SEED, "train_dataset": "mini-coco", "code_fingerprint": "code"}
    paths = {"backbone_folder": slice_.snapshot, "data": slice_.data, "cache_manifest": None}
    paths |= {"work_folder": tmp_path / "work", "adapter_folder": tmp_path / "adapter"}
    paths |= {"run_file": tmp_path / "run.json", "events_file": tmp_path / "train.jsonl"}
    file = parameter_file(tmp_path, "train", settings=settings, values=values, **paths)
    resources = ["--threads", "1", "--processes", "2", "--minutes", "10"]
    subprocess.run([sys.executable, "-m", "slq.jobs", "train", str(file), *resources], check=True)
    run, alone = (json.loads((folder / "run.json").read_text()) for folder in (tmp_path, slice_.root / "full_ft"))
    assert run["device"]["count"] == 2 * alone["device"]["count"]
    assert run["weights"]["before"] == alone["weights"]["before"] != run["weights"]["after"]
    assert run["parameters"] == alone["parameters"]
    found, expected = (
        load_file(folder / "adapter" / "adapter.safetensors") for folder in (tmp_path, slice_.root / "full_ft")
    )
    assert found.keys() == expected.keys()
    assert max((found[name] - expected[name]).abs().max() for name in found) < 1e-3


def test_fewer_gpus_than_processes_are_told():
    require_devices(2, 0)
    require_devices(2, 2)
    with pytest.raises(
        SlqError,
        match=r"needs 4 GPUs, but the number of GPUs visible here is 1; change the run's resources\.gpus",
    ):
        require_devices(4, 1)


def test_processes_that_do_not_divide_a_batch_stop(monkeypatch):
    processes = DistributedContext()
    monkeypatch.setattr(type(processes), "world_size", 3)
    with pytest.raises(
        SlqError,
        match=r"training\.batch_size is 64, which is not divisible by the 3 processes of this run; change resources",
    ):
        processes.local_batch_slice(64)
    assert os.environ.get("WORLD_SIZE") is None
