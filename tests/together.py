"""Trainings of tiny backbones in one or several processes.

Each of several processes runs: python together.py <folder> <common folder> <case as JSON>... A case contains changes
of `SETTINGS`, and `method`, `dtype` and `steps`. <folder>/<number>.safetensors gets the trained tensors and the
gradients of the first step.
"""

import copy
import json
import os
import socket
import subprocess
import sys
import tempfile
from functools import cache
from itertools import islice
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file

from slq.common.events import EventLog
from slq.datasets.splits import read_split
from slq.methods.adapter import build_retriever, trainable_state_dict
from slq.models.backbone import full_tensor_on_cpu, local_shard
from slq.synthetic.backbones import build_backbone
from slq.synthetic.datasets import draw_split
from slq.training.checkpoints import CheckpointManager
from slq.training.distributed import DistributedContext
from slq.training.execution import shard_language_model
from slq.training.loop import RunContext, Trainer
from slq.training.pairs import PairDataset, shuffle_into_batches

SEED = 1
SETTINGS = {
    **{"batch_size": 64, "micro_batch_size": 64, "grad_cache": False, "mask_same_image": False, "temperature": 0.07},
    **{
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "checkpoint_selection": "last",
        "cache_images_in_memory": True,
        "num_workers": 0,
    },
    **{"checkpoint_steps": 1000, "time_limit_margin_minutes": 0, "epochs": 1, "sharding": False},
}
HYPERPARAMETERS = {
    "slq": {"queries": 4, "init": "normal", "learning_rate": 0.03, "warmup_steps": 2},
    "full_ft": {"learning_rate": 0.001, "warmup_steps": 2},
    "lora": {"rank": 2, "alpha": 4, "dropout": 0.0, "learning_rate": 0.01, "warmup_steps": 2},
    "linear_head": {"learning_rate": 0.01, "warmup_steps": 2},
}
HYPERPARAMETERS["lora_queries"] = HYPERPARAMETERS["lora"] | {"queries": 4, "init": "normal"}
TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "intermediate_size": 48}  # fmt: skip
VISION = {"image_size": [28, 28], "patch_size": [14, 14], "hidden_size": 24, "num_hidden_layers": 1,
          "num_attention_heads": 2, "intermediate_size": 32}  # fmt: skip


def pairs_of(backbone, split, prompt, **options):
    """Return the pairs of a split, with images in memory and without any setting that changes the pairs."""
    plain = {"cache_images_in_memory": True, "caption_sampling": "all", "group_by_image": False, "feature_cache": None}
    return PairDataset(backbone, split, prompt, **plain | options)


@cache
def configuration():
    """Read config.yaml once, because reading it takes as long as ten steps."""
    return yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text())


def tiny(folder, dtype):
    """Build a smaller untrained InternVL of the mini preset; a step of 64 pairs takes hundredths of a second."""
    entry = copy.deepcopy(configuration()["backbones"]["mini-internvl"])
    model = entry["pretrain"]["model"]
    model["text_config"] |= TEXT
    model["vision_config"] |= VISION
    model["image_seq_length"] = 1
    entry["pretrain"]["image_processor"]["size"] = {"height": 28, "width": 28}
    backbone = build_backbone({"backbone": "tiny", "family": entry["family"], "seed": 7, **entry["pretrain"]}, folder)
    backbone.model.to(getattr(torch, dtype))
    return backbone


def drawn(folder):
    """Draw a split of 16 images with 80 pairs."""
    settings = {"dataset": "drawn", "split": "train", "hub_layout": None, "style": "filled", "words": "plain"}
    draw_split(settings | {"first": 0, "count": 16, "families": False, "seed": 7}, folder / "drawn" / "train")
    return read_split(folder, "drawn", "train")


def learn(case, folder, checkpoints=None):
    """Train a case; return its trained tensors by name and its first gradients, the same in every process.

    With a folder `checkpoints`, training resumes from its newest checkpoint. If the case has `kept_after`, a checkpoint
    is saved after that step, and the tensors at that step are returned as `begun.<name>`.
    """
    case = {"kept_after": None} | case
    method, dtype, steps, kept_after = (case.pop(name) for name in ("method", "dtype", "steps", "kept_after"))
    settings = SETTINGS | case
    backbone = tiny(folder, dtype)
    processes = DistributedContext()
    retriever = build_retriever(method, backbone, HYPERPARAMETERS[method], SEED)
    if settings["sharding"]:
        shard_language_model(backbone, processes)
        language = list(backbone.inner.language_model.parameters())
        assert sum(local_shard(part).numel() for part in language) < 0.6 * sum(part.numel() for part in language)
    context = RunContext(EventLog(Path(os.devnull)), processes, None, lambda: None)
    loop = Trainer(retriever, settings, HYPERPARAMETERS[method], steps, SEED, context)
    kept = CheckpointManager(checkpoints, "key", processes) if checkpoints else None
    if kept and (checkpoint := kept.load_newest()):
        loop.restore(checkpoint)
    pairs = pairs_of(backbone, drawn(folder), {"text": "", "image": ""})
    shown = [pairs[number] for number in range(len(pairs))]  # tokenising them again would take a third of a step
    share, found = processes.local_batch_slice(settings["batch_size"]), {}
    epochs = (batch for epoch in range(steps) for batch in shuffle_into_batches(len(pairs), 64, SEED, epoch))
    for batch in islice(epochs, loop.step, steps):
        loop.take_step([shown[number] for number in batch[share]])
        found = found or {
            f"gradient.{name}": full_tensor_on_cpu(tensor.grad).clone()
            for name, tensor in loop.trainable_state_dict().items()
            if tensor.grad is not None
        }
        if loop.step == kept_after:
            kept.save(loop.step, loop.checkpoint_metadata(), loop.state_dict())
            found |= {f"begun.{name}": tensor for name, tensor in learned(loop).items()}
    return found | learned(loop)


def learned(loop):
    """Return copies of the full trained tensors of a loop, by name."""
    tensors = trainable_state_dict(loop.retriever) | {"log_temperature": loop.log_temperature.detach()}
    return {name: tensor.clone() for name, tensor in tensors.items()}


def by_processes(count, cases, folder):
    """Train the cases in `count` processes connected over loopback, with checkpoints in <folder>/checkpoints-<n>."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    started = []
    for rank in range(count):
        (folder / str(rank)).mkdir(parents=True)
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        command = [sys.executable, __file__, str(folder / str(rank)), str(folder), *map(json.dumps, cases)]
        started.append(
            subprocess.Popen(command, env={**os.environ, **{key: str(value) for key, value in names.items()}})
        )
    assert [process.wait(timeout=600) for process in started] == [0] * count
    found = [[load_file(folder / str(rank) / f"{number}.safetensors") for number in range(len(cases))]
             for rank in range(count)]  # fmt: skip
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert all(torch.equal(one[name], two[name]) for name in one), "every process holds the same"
    return found[0]


if __name__ == "__main__":
    out, common, *asked = sys.argv[1:]
    for number, text in enumerate(asked):
        with tempfile.TemporaryDirectory() as place:
            found = learn(json.loads(text), Path(place), Path(common) / f"checkpoints-{number}")
            save_file(found, Path(out) / f"{number}.safetensors")
    torch.distributed.destroy_process_group()
