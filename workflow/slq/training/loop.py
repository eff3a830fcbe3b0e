"""The training loop of every method."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from slq.errors import SlqError
from slq.events import Events
from slq.models.methods import trained_tensors
from slq.models.prefix import Encoded
from slq.models.retriever import Retriever
from slq.training.loss import info_nce
from slq.training.pairs import Pair, Pairs
from slq.training.work import pair_work

Recalls = dict[str, dict[str, float]]


@dataclass
class Trained:
    """What training leaves besides the retriever's own tensors."""

    temperature: float
    val: list[Recalls] = field(default_factory=list)  # after each epoch
    kept_epoch: int = 0


class Diverged(SlqError):
    """The loss did not stay finite."""


class Loop:
    """A retriever in training: its optimizer, schedule and temperature, and the steps taken so far."""

    def __init__(
        self, retriever: Any, settings: dict[str, Any], tuning: dict[str, Any], steps: int, events: Events
    ) -> None:
        device = retriever.backbone.device
        self.accelerator = Accelerator(cpu=device.type == "cpu")
        self.retriever, self.settings, self.events = retriever, settings, events
        # The logarithm is learned: the released code's bare divisor may cross zero.
        self.log_temperature = nn.Parameter(torch.tensor(math.log(settings["temperature"]), device=device))
        self.parameters = [*retriever.trainable(), self.log_temperature]
        optimizer = torch.optim.AdamW(
            self.parameters, lr=tuning["learning_rate"], weight_decay=settings["weight_decay"]
        )
        schedule = linear_schedule(optimizer, tuning["warmup_steps"], steps)
        self.optimizer, self.schedule = self.accelerator.prepare(optimizer, schedule)
        self.step = 0
        self.bar = tqdm(total=steps, desc="training", disable=None, file=sys.stderr)

    def run_epoch(self, batches: DataLoader, epoch: int) -> None:
        """A step per batch; one event per step, and a plain line every 50 where there is no terminal for the bar."""
        for batch in batches:
            loss, norm = self.take_step(batch)
            learned = {"loss": loss, "grad_norm": norm, "temperature": self.temperature}
            self.events.write("step", step=self.step, epoch=epoch, **learned, work=pair_work(batch))
            self.bar.update()
            if self.bar.disable and self.step % 50 == 0:
                print(f"step {self.step} of {self.bar.total}: loss {loss:.4f}", file=sys.stderr, flush=True)

    def take_step(self, batch: list[Pair]) -> tuple[float, float]:
        """One optimizer step; returns the loss and the gradient's norm before clipping.

        Raises:
            Diverged: the loss is not finite.
        """
        loss = pair_loss(self.retriever, batch, self.log_temperature.exp(), self.settings)
        if not torch.isfinite(loss):
            raise Diverged(f"loss is {loss.item()} after {self.step} steps; lower tuning.*.learning_rate")
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.parameters, self.settings["clip_norm"])
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        return loss.item(), float(norm)

    @property
    def temperature(self) -> float:
        return self.log_temperature.exp().item()


def train(
    retriever: Any,
    pairs: Pairs,
    settings: dict[str, Any],
    tuning: dict[str, Any],
    seed: int,
    events: Events,
    validate: Callable[[Retriever], Recalls],
) -> Trained:
    """Train a retriever in place and return what was learned about it.

    Args:
        retriever: as `slq.models.methods.begin` made it.
        settings, tuning: `training` and the method's entry of `tuning` in config.yaml.
        validate: recalls on the val split; called after each epoch, it decides only with `keep: best`.

    Raises:
        SlqError: the split is smaller than a batch.
        Diverged: the loss is not finite.
    """
    torch.manual_seed(seed)
    size = settings["batch_size"]
    if len(pairs) < size:
        raise SlqError(f"{len(pairs)} training pairs make no batch of {size}; lower training.batch_size")
    loop = Loop(retriever, settings, tuning, settings["epochs"] * (len(pairs) // size), events)
    result = Trained(settings["temperature"])
    best = Best()
    for epoch in range(settings["epochs"]):
        batches = pairs.batches(size, seed, epoch)
        loader = DataLoader(pairs, batch_sampler=batches, num_workers=settings["workers"], collate_fn=list)
        with events.span("train", epoch=epoch, pairs=len(batches) * size):
            loop.run_epoch(loader, epoch)
        with events.span("eval", split="val"):
            recalls = validate(retriever)
        events.write("val", epoch=epoch, recalls=recalls)
        result.val.append(recalls)
        result.kept_epoch = epoch
        if settings["keep"] == "best":
            best.offer(retriever, loop.log_temperature, recalls, epoch)
    loop.bar.close()
    if settings["keep"] == "best":
        result.kept_epoch = best.restore(retriever, loop.log_temperature)
    result.temperature = loop.temperature
    return result


class Best:
    """The trained tensors after the epoch with the highest sum of recalls on val."""

    def __init__(self) -> None:
        self.total = -1.0
        self.epoch = 0
        self.tensors: list[Tensor] = []

    def offer(self, retriever: Any, temperature: Tensor, recalls: Recalls, epoch: int) -> None:
        """Copy the tensors if they are better than any before; the earlier epoch wins a tie."""
        if sum_of_recalls(recalls) > self.total:
            self.total, self.epoch = sum_of_recalls(recalls), epoch
            self.tensors = [tensor.detach().clone() for tensor in self.of(retriever, temperature)]

    def restore(self, retriever: Any, temperature: Tensor) -> int:
        """Put the best tensors back and return their epoch."""
        with torch.no_grad():
            for tensor, kept in zip(self.of(retriever, temperature), self.tensors, strict=True):
                tensor.copy_(kept)
        return self.epoch

    @staticmethod
    def of(retriever: Any, temperature: Tensor) -> list[Tensor]:
        return [*(tensor for _, tensor in trained_tensors(retriever)), temperature]


def sum_of_recalls(recalls: Recalls) -> float:
    """R@1, R@5 and R@10 of both directions, added up: what epochs and rates are judged by on val."""
    return sum(value for direction in recalls.values() for value in direction.values())


def pair_loss(retriever: Retriever, batch: list[Pair], temperature: Tensor, settings: dict[str, Any]) -> Tensor:
    """InfoNCE over the whole batch, embedded `micro_batch` pairs at a time; `settings` is `training` in config.yaml."""
    images = embed_all(retriever, [pair.image for pair in batch], settings["micro_batch"])
    texts = embed_all(retriever, [pair.text for pair in batch], settings["micro_batch"])
    shown = torch.tensor([pair.shown for pair in batch], device=images.device)
    return info_nce(images, texts, temperature, shown if settings["mask_same_image"] else None)


def embed_all(retriever: Retriever, messages: list[Encoded], at_once: int) -> Tensor:
    """Unit vectors (B, d) of all messages, with gradient."""
    return torch.cat([retriever.embed(messages[i : i + at_once]) for i in range(0, len(messages), at_once)])


def linear_schedule(optimizer: Any, warmup: int, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up, then linear decay to zero: the default of the released code's trainer."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / max(warmup, 1), (steps - step) / max(steps - warmup, 1))
    )
