"""Trainings of the GPU check in processes of their own: python worker.py PLAN.json, one process or several.

The plan holds the settings of a bench, the number of pairs, the batch size, and tasks. A task trains a method:

- with `out`, to the end, and writes what it learned to this file; it continues from the newest checkpoint in `folder`,
  which must be of `from_step`, if the task has that;
- with `kill_at`, until this step, and kills its own process;
- with `gradients`, one step, and writes the gradients to `<gradients>-of-<processes>.safetensors`, with `sharding` or
  without.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import compat  # noqa: F401  (before slq)
import torch
from safetensors.torch import save_file

from slq.common.events import EventLog
from slq.cost.bench.random_inputs import build_random_backbone, make_coco_like_batches
from slq.methods.adapter import build_retriever, trainable_state_dict
from slq.models.backbone import full_tensor_on_cpu, pick_device
from slq.training.checkpoints import CheckpointManager
from slq.training.distributed import DistributedContext
from slq.training.execution import (
    enable_determinism,
    enable_gradient_checkpointing,
    shard_language_model,
    upcast_trainable_parameters,
)
from slq.training.loop import RunContext, Trainer, train
from slq.training.pairs import Pair, PairDataset

SEED = 1
TRAINING = {
    **{"temperature": 0.07, "weight_decay": 0.0, "max_grad_norm": 1.0, "mask_same_image": False, "num_workers": 0},
    **{"epochs": 2, "checkpoint_steps": 2, "checkpoint_selection": "last", "grad_cache": True},
}


class RandomPairs(PairDataset):
    """Pairs of random messages in the order of a training."""

    def __init__(self, backbone: Any, pairs: list[Pair]) -> None:
        """Set the pairs, each of another image."""
        split = SimpleNamespace(items=[{"id": number, "captions": [""]} for number in range(len(pairs))], name="random")
        super().__init__(backbone, split, {"text": "", "image": ""}, False, "all", False, None)
        self.random_pairs = pairs

    def __getitem__(self, number: int) -> Pair:
        """Return one pair."""
        return self.random_pairs[number]


def main(plan_file: Path) -> None:
    """Do all tasks of a plan."""
    plan, folder, processes = json.loads(plan_file.read_text()), plan_file.parent, DistributedContext()
    enable_determinism()
    for task in plan["tasks"]:
        retriever = prepare(plan["settings"] | {"dtype": task.get("dtype", "bfloat16")}, task, processes)
        overhead, pixels = (plan["settings"][key] for key in ("prompt_overhead_tokens", "pixels"))
        ((*pairs,),) = make_coco_like_batches(retriever.backbone, plan["pairs"], 1, pixels, overhead, SEED)
        training = TRAINING | {"batch_size": plan["batch_size"], "micro_batch_size": max(plan["batch_size"] // 4, 1)}
        if "gradients" in task:
            save_gradients(retriever, pairs, training, processes, folder / task["gradients"])
        else:
            train_to_the_end(retriever, pairs, training, folder, task)


def prepare(settings: dict[str, Any], task: dict[str, Any], processes: DistributedContext) -> Any:
    """Build a retriever as a training does, with gradient checkpointing where the method can."""
    backbone = build_random_backbone(settings, pick_device(), SEED)
    hyperparameters = settings["hyperparameters"][task["method"]]
    retriever = build_retriever(task["method"], backbone, hyperparameters, SEED)
    upcast_trainable_parameters(retriever)
    if not retriever.reuses_kv_cache:
        enable_gradient_checkpointing(retriever, task["method"])
    if task.get("sharding") and processes.world_size > 1:
        shard_language_model(backbone, processes)
    return retriever


def train_to_the_end(
    retriever: Any, pairs: list[Pair], training: dict[str, Any], folder: Path, task: dict[str, Any]
) -> None:
    """Train, or train until the process kills itself."""
    steps = [0]

    def kill_or_go_on() -> None:
        """Count the steps, and kill the process after `kill_at` of them."""
        steps[0] += 1
        if steps[0] == task.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    processes = DistributedContext()
    checkpoints = CheckpointManager(folder / task["folder"], task["method"], processes)
    newest = checkpoints.load_newest()
    assert (newest.step if newest else None) == task.get("from_step"), "not the checkpoint before the kill"
    context = RunContext(EventLog(Path(os.devnull)), processes, checkpoints, kill_or_go_on)
    rates = {"learning_rate": 1e-3, "warmup_steps": 1}
    validate = lambda _: {"t2i": {"R@1": 0.0}}  # noqa: E731
    result = train(retriever, RandomPairs(retriever.backbone, pairs), training, rates, SEED, context, validate)
    tensors = trainable_state_dict(retriever)
    save_file(tensors | {"temperature": torch.tensor(result.temperature)}, folder / task["out"])


def save_gradients(
    retriever: Any, pairs: list[Pair], training: dict[str, Any], processes: DistributedContext, path: Path
) -> None:
    """Take one step on the first batch, of which each process has its rows, and save the gradients before clipping."""
    context = RunContext(EventLog(Path(os.devnull)), processes, None, lambda: None)
    training = training | {"max_grad_norm": 1e9}
    trainer = Trainer(retriever, training, {"learning_rate": 1e-3, "warmup_steps": 1}, 10, SEED, context)
    rows = processes.local_batch_slice(training["batch_size"])
    trainer.take_step(pairs[: training["batch_size"]][rows])
    named = trainer.trainable_state_dict().items()
    gradients = {
        name: full_tensor_on_cpu(tensor.grad).contiguous() for name, tensor in named if tensor.grad is not None
    }
    if processes.is_main_process:
        save_file(gradients, f"{path}-of-{processes.world_size}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
