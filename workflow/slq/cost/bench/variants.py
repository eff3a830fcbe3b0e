"""The ways to take a training step: the released one, ours with each way to keep prefixes, and the other methods."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slq.caching.backends import KINDS, Vision
from slq.caching.shard import Shard, write_shard
from slq.cost.architecture import Architecture
from slq.cost.bench.released import ReleasedRetriever
from slq.cost.bench.shapes import lent_weights, with_images
from slq.cost.flops import SPARED, Flops, Plan, Work, added, train_flops
from slq.methods import registry
from slq.models.backbone import Backbone
from slq.models.prefix import Encoded, Message
from slq.models.retriever import QueryRetriever, initial_queries
from slq.training.distributed import Processes
from slq.training.grad_cache import Shown, backward
from slq.training.pairs import Pair, pair_work
from slq.training.sharding import hold_precisely

SLQ = ("reference", "recompute", "vision", "resident", "kv", "kv_disk")  # which give the same gradient
METHODS = ("lora", "full_ft")
Read = Callable[[], Iterable[list[Pair]]]


class Variant:
    """A way to take steps, on one batch or on several in a row. They move nothing: the learning rate is 0."""

    def __init__(self, name: str, retriever: Any, read: Read, plan: Plan, settings: Mapping[str, Any]) -> None:
        """
        Args:
            read: the batches, read anew for each repetition.
            plan: what is computed of a message of which nothing is there yet.
            settings: micro_batch, temperature.
        """
        self.name, self.retriever, self.read, self.plan = name, retriever, read, plan
        self.settings = {"two_pass": False, "mask_same_image": False, **settings}
        self.optimizer = torch.optim.AdamW(retriever.trainable(), lr=0.0, fused=True)

    def take_steps(self) -> None:
        """A step on each batch."""
        shown = Shown()
        for batch in self.read():
            self._step(batch, shown)

    def first_step(self) -> tuple[float, Tensor]:
        """Loss of a step on the first batch, and the gradient of the first tensor that is trained."""
        loss = self._step(next(iter(self.read())), Shown())
        gradient = self.retriever.trainable()[0].grad
        return loss, gradient.clone()

    def _step(self, batch: list[Pair], shown: Shown) -> float:
        self.optimizer.zero_grad()
        temperature = torch.tensor(self.settings["temperature"], device=self.retriever.backbone.device).log()
        log_temperature = temperature.requires_grad_()
        loss = backward(self.retriever, batch, log_temperature, self.settings, Processes(), shown=shown)
        self.optimizer.step()
        return loss.item()

    def pairs(self) -> int:
        """How many its batches hold together."""
        return sum(map(len, self.read()))

    def flops(self, architecture: Architecture) -> Flops:
        """Of all its steps, by part: the closed form, on tokens without padding."""
        parts, before = [], None
        for batch in self.read():
            work = pair_work(batch, before)
            before = next(sums for state, sums in work.items() if state != "text")
            parts += [
                train_flops(architecture, Plan(**{**vars(self.plan), **SPARED.get(state, {})}), Work(**sums))
                for state, sums in work.items()
            ]
        return added(parts)


def variants(
    backbone: Backbone,
    batches: Sequence[list[Pair]],
    settings: Mapping[str, Any],
    names: Sequence[str],
    folder: Path,
) -> list[Variant]:
    """The variants of these names, in this order, all on one copy of the frozen weights.

    Args:
        batches: as many as an image has captions; `resident` takes them all in a row, the others the first.
        settings: queries, tuning (by method), micro_batch, temperature.
        folder: where `kv_disk` reads from.
    """
    first = batches[0]
    images = [pair.image for pair in first if isinstance(pair.image, Encoded)]
    start = initial_queries(settings["queries"], backbone.width, "normal", torch.Generator().manual_seed(1))
    slq = QueryRetriever(backbone, start)
    plan = Plan("slq", queries=settings["queries"])
    how = {key: settings[key] for key in ("micro_batch", "temperature")}

    def make(name: str) -> Variant:
        if name in METHODS:
            tuning = settings["tuning"][name]
            retriever = registry.begin(name, lent_weights(backbone), tuning, seed=1)
            hold_precisely(retriever)
            return Variant(name, retriever, lambda: [first], Plan.of(name, tuning), how)
        if name == "reference":
            whole = Plan("slq", queries=settings["queries"], whole_sequence=True)
            return Variant(name, ReleasedRetriever(backbone, start), lambda: [first], whole, how)
        return Variant(name, slq, readers[name], plan, how)

    readers: dict[str, Read] = {
        "recompute": lambda: [first],
        "resident": lambda: [first, *(with_images(batch, [None] * len(batch)) for batch in batches[1:])],
    }
    if "vision" in names:
        seen = zip(images, Vision().keep(backbone, images), strict=True)
        with_features = with_images(first, [Encoded(one.ids, (Vision().pixels(slab),)) for one, slab in seen])
        readers["vision"] = lambda: [with_features]
    if "kv" in names:
        kept = [KINDS["kv"].message(backbone, slab, "") for slab in KINDS["kv"].keep(backbone, images)]
        readers["kv"] = lambda: [with_images(first, kept)]
    if "kv_disk" in names:
        shard = folder / "bench.safetensors"
        write_shard(shard, KINDS["kv"].keep(backbone, images))
        readers["kv_disk"] = lambda: [with_images(first, read_from_disk(backbone, shard, len(images)))]
    return [make(name) for name in names]


def read_from_disk(backbone: Backbone, path: Path, count: int) -> list[Message]:
    """The messages of images as they go on from a shard that is not in the page cache, each proved by its hash."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    shard = Shard(path)
    return [KINDS["kv"].message(backbone, shard.read(number), "") for number in range(count)]
