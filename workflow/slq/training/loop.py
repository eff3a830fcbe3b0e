"""The training loop of every method."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from slq.common.errors import SlqError
from slq.common.events import Events
from slq.methods.registry import trained_tensors
from slq.models.backbone import gathered, is_sharded, spread_like
from slq.models.prefix import Sums
from slq.models.retriever import Retriever, precise
from slq.training.checkpoints import Checkpoint, Checkpoints
from slq.training.distributed import Processes
from slq.training.grad_cache import Shown, backward
from slq.training.job import Asked, Interrupted
from slq.training.pairs import Pair, Pairs, Work, pair_work
from slq.training.sharding import clip_gradients

Recalls = dict[str, dict[str, float]]


@dataclass
class Best:
    """The trained tensors after the epoch with the highest sum of recalls on val."""

    total: float = -1.0
    epoch: int = 0
    tensors: list[Tensor] = field(default_factory=list)

    def offer(self, tensors: list[Tensor], recalls: Recalls, epoch: int) -> None:
        """Copy the tensors if they are better than any before; the earlier epoch wins a tie."""
        if sum_of_recalls(recalls) > self.total:
            self.total, self.epoch = sum_of_recalls(recalls), epoch
            self.tensors = [tensor.detach().clone() for tensor in tensors]

    def restore(self, tensors: list[Tensor]) -> int:
        """Put the best tensors back and return their epoch."""
        with torch.no_grad():
            for tensor, kept in zip(tensors, self.tensors, strict=True):
                tensor.copy_(kept)
        return self.epoch


def sum_of_recalls(recalls: Recalls) -> float:
    """R@1, R@5 and R@10 of both directions, added up: what epochs and rates are judged by on val."""
    return sum(value for direction in recalls.values() for value in direction.values())


@dataclass
class Trained:
    """What training leaves besides the retriever's own tensors."""

    temperature: float
    val: list[Recalls]  # after each epoch
    kept_epoch: int


@dataclass
class Attempt:
    """One stay of processes at a run: what they write, what earlier attempts left, and when they must stop."""

    events: Events
    processes: Processes = field(default_factory=Processes)
    checkpoints: Checkpoints | None = None
    asked_to_stop: Asked = lambda: None


class Diverged(SlqError):
    """The loss, or its gradient, did not stay finite."""


class Loop:
    """A retriever in training: its optimizer and temperature, and the steps taken so far."""

    def __init__(
        self, retriever: Any, settings: dict[str, Any], tuning: dict[str, Any], steps: int, seed: int, attempt: Attempt
    ) -> None:
        model = retriever.backbone.model
        self.retriever, self.settings, self.seed, self.attempt = retriever, settings, seed, attempt
        # The logarithm is learned: the released code's bare divisor may cross zero.
        start = torch.tensor(math.log(settings["temperature"]), device=model.device, dtype=precise(model.dtype))
        self.log_temperature = nn.Parameter(start)
        self.parameters = [*retriever.trainable(), self.log_temperature]
        self.rate = linear_schedule(tuning["learning_rate"], tuning["warmup_steps"], steps)
        groups = [{"params": retriever.trainable()}, {"params": [self.log_temperature]}]  # the first may be sharded
        # fused: at 1B on a CPU a step of full fine-tuning takes 0.7 s so, and 5.3 without (docs/log.md)
        self.optimizer = torch.optim.AdamW(groups, lr=self.rate(0), weight_decay=settings["weight_decay"], fused=True)
        self.step, self.val, self.best = 0, list[Recalls](), Best()
        self.began = 0  # the step that this attempt goes on from
        self.shown, self.shown_work = Shown(), Sums()
        quiet = None if attempt.processes.main else True
        self.bar = tqdm(total=steps, desc="training", disable=quiet, file=sys.stderr)

    def run_epoch(self, pairs: Pairs, batches: list[list[int]], epoch: int) -> None:
        """A step per batch; one event per step, and a plain line every 50 where there is no terminal for the bar.

        Raises:
            Diverged: the loss is not finite; the batch is named.
            Interrupted: it is time to stop.
        """
        share = self.attempt.processes.share(self.settings["batch_size"])
        loader = DataLoader(
            pairs,
            batch_sampler=pairs.requests([batch[share] for batch in batches]),
            num_workers=self.settings["workers"],
            collate_fn=list,
            generator=torch.Generator(),  # of workers' seeds; the global one is dropout's
        )
        for number, (batch, asked) in enumerate(zip(loader, batches, strict=True), start=1):
            try:
                loss, norm = self.take_step(batch)
            except Diverged as error:
                raise Diverged(f"{error}; epoch {epoch + 1}, batch of images {pairs.images(asked)}") from error
            self.tell(epoch, loss, norm, self.attempt.processes.added(self.work(batch)))
            self.keep_or_stop(number == len(batches))

    def take_step(self, batch: list[Pair]) -> tuple[float, float]:
        """One optimizer step on this process's rows; returns the loss of all and the gradient's norm before clipping.

        Raises:
            Diverged: one of both is not finite.
        """
        self.optimizer.zero_grad()
        draw = (self.seed, self.step)
        of_all = (self.settings, self.attempt.processes)
        loss = backward(self.retriever, batch, self.log_temperature, *of_all, draw, self.shown)
        trained = [parameter.grad for parameter in self.parameters[:-1] if parameter.grad is not None]
        self.attempt.processes.add(gradient for gradient in trained if not is_sharded(gradient))  # those are sums
        norm = clip_gradients(self.parameters, self.settings["clip_norm"], self.attempt.processes)
        for name, value in (("loss", loss), ("the gradient's norm", norm)):
            if not torch.isfinite(value):
                raise Diverged(f"{name} is {value.item()} after {self.step} steps; lower tuning.*.learning_rate")
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.step)
        self.optimizer.step()
        self.step += 1
        return loss.item(), float(norm)

    def work(self, batch: list[Pair]) -> Work:
        """What the model was asked for in a step; images that stayed from the step before are the same sums again."""
        work = pair_work(batch, self.shown_work)
        self.shown_work = next(sums for state, sums in work.items() if state != "text")
        return work

    def tell(self, epoch: int, loss: float, norm: float, work: Work) -> None:
        """Of the step that was taken: an event, and where there is no bar a line now and then."""
        learned = {"loss": loss, "grad_norm": norm, "temperature": self.temperature}
        self.attempt.events.write("step", step=self.step, epoch=epoch, **learned, work=work)
        self.bar.update()
        if self.attempt.processes.main and self.bar.disable and self.step % 50 == 0:
            print(f"step {self.step} of {self.bar.total}: loss {loss:.4f}", file=sys.stderr, flush=True)

    def keep_or_stop(self, last: bool) -> None:
        """Write a checkpoint if it is time, and stop if it is time; `last`: of the epoch, before it is validated."""
        attempt, reason = self.attempt, self.attempt.asked_to_stop()
        stop = attempt.processes.any(reason is not None)
        if attempt.checkpoints and (stop or last or self.step % self.settings["checkpoint_steps"] == 0):
            start = time.perf_counter()
            attempt.checkpoints.save(self.step, self.facts(), self.tensors())
            attempt.events.write("checkpoint", step=self.step, seconds=time.perf_counter() - start)
        if stop:
            why = reason or "another process was asked to stop"
            attempt.events.write("stopped", step=self.step, reason=why)
            message = f"stopped after {self.step} of {self.bar.total} steps: {why}; the same command goes on"
            raise Interrupted(message, self.step - self.began)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint holds beside tensors."""
        return {"val": self.val, "best": {"total": self.best.total, "epoch": self.best.epoch}}

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: everything learned, the optimizer's moments, and the best epoch's tensors.

        Each is whole, and on the CPU of the main process alone.
        """
        moments = {
            f"optimizer.{number}.{name}": tensor
            for number, state in self.optimizer.state_dict()["state"].items()
            for name, tensor in state.items()
        }
        best = {f"best.{number}": tensor for number, tensor in enumerate(self.best.tensors)}
        return gathered(self.learned() | moments | best, keep=self.attempt.processes.main)

    def learned(self) -> dict[str, Tensor]:
        """What training changes, by name."""
        return {**dict(trained_tensors(self.retriever)), "log_temperature": self.log_temperature}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, as if there had been no stop."""
        self.step, self.val = checkpoint.step, checkpoint.facts["val"]
        self.began = self.step
        self.bar.update(self.step)
        with torch.no_grad():
            for name, tensor in self.learned().items():
                tensor.copy_(spread_like(checkpoint.tensors[name], tensor))
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for path, tensor in checkpoint.tensors.items():
            if path.startswith("optimizer."):
                _, number, name = path.split(".")
                moments[int(number)][name] = spread_like(tensor, self.parameters[int(number)])
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": dict(moments)})
        best = [(f"best.{number}", tensor) for number, tensor in enumerate(self.learned().values())]
        kept = [spread_like(checkpoint.tensors[path], tensor) for path, tensor in best if path in checkpoint.tensors]
        self.best = Best(**checkpoint.facts["best"], tensors=kept)

    @property
    def temperature(self) -> float:
        return self.log_temperature.exp().item()


def train(
    retriever: Any,
    pairs: Pairs,
    settings: dict[str, Any],
    tuning: dict[str, Any],
    seed: int,
    attempt: Attempt,
    validate: Callable[[Retriever], Recalls],
) -> Trained:
    """Train a retriever in place, on from the newest checkpoint, and return what was learned about it.

    Args:
        retriever: as `slq.methods.registry.begin` made it, the same in every process.
        settings, tuning: `training` and the method's entry of `tuning` in config.yaml.
        validate: recalls on the val split; called after each epoch, it decides only with `keep: best`.

    Raises:
        SlqError: the split is smaller than a batch, or the processes do not divide a batch.
        Diverged: the loss is not finite.
        Interrupted: it was time to stop; a checkpoint is written.
    """
    size = settings["batch_size"]
    if len(pairs) < size:
        raise SlqError(f"{len(pairs)} training pairs make no batch of {size}; lower training.batch_size")
    in_epoch = len(pairs) // size
    loop = Loop(retriever, settings, tuning, settings["epochs"] * in_epoch, seed, attempt)
    checkpoint = attempt.checkpoints.load() if attempt.checkpoints else None
    if checkpoint:
        loop.restore(checkpoint)
        attempt.events.write("resumed", step=checkpoint.step)
    for epoch in range(len(loop.val), settings["epochs"]):
        batches = pairs.batches(size, seed, epoch)[loop.step - epoch * in_epoch :]
        with attempt.events.span("train", epoch=epoch, pairs=len(batches) * size):
            loop.run_epoch(pairs, batches, epoch)
        with attempt.events.span("eval", split="val"):
            recalls = validate(retriever)
        attempt.events.write("val", epoch=epoch, recalls=recalls)
        loop.val.append(recalls)
        if settings["keep"] == "best":
            loop.best.offer(list(loop.learned().values()), recalls, epoch)
    loop.bar.close()
    kept_epoch = settings["epochs"] - 1
    if settings["keep"] == "best":
        kept_epoch = loop.best.restore(list(loop.learned().values()))
    return Trained(loop.temperature, loop.val, kept_epoch)


def linear_schedule(rate: float, warmup: int, steps: int) -> Callable[[int], float]:
    """Learning rate of each step: linear warm-up, then linear decay to zero, the default of the released trainer."""
    return lambda step: rate * min((step + 1) / max(warmup, 1), (steps - step) / max(steps - warmup, 1))
