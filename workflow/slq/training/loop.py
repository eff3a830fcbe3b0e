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
from slq.common.events import EventLog
from slq.models.backbone import gather_full_tensors, is_sharded, shard_like
from slq.models.retriever import Retriever, at_least_float32
from slq.training.checkpoints import Checkpoint, CheckpointManager
from slq.training.distributed import DistributedContext
from slq.training.execution import clip_gradients
from slq.training.grad_cache import PreviousImages, compute_loss_and_gradients
from slq.training.job import StopCheck, TrainingInterrupted
from slq.training.pairs import Pair, PairDataset, TokenCountsByInput, count_pair_tokens

RecallsByDirection = dict[str, dict[str, float]]


@dataclass
class BestEpoch:
    """The trained tensors after the epoch with the highest sum of recalls on val."""

    total: float = -1.0
    epoch: int = 0
    tensors: list[Tensor] = field(default_factory=list)

    def update_if_better(self, tensors: list[Tensor], recalls: RecallsByDirection, epoch: int) -> None:
        """Copy the tensors if their recalls are better than any before; the earlier epoch wins a tie."""
        if sum_of_recalls(recalls) > self.total:
            self.total, self.epoch = sum_of_recalls(recalls), epoch
            self.tensors = [tensor.detach().clone() for tensor in tensors]

    def restore(self, tensors: list[Tensor]) -> int:
        """Restore the best tensors and return their epoch."""
        with torch.no_grad():
            for tensor, best_tensor in zip(tensors, self.tensors, strict=True):
                tensor.copy_(best_tensor)
        return self.epoch


def sum_of_recalls(recalls: RecallsByDirection) -> float:
    """Add up R@1, R@5 and R@10 of both directions: the criterion on val for epochs and learning rates."""
    return sum(value for direction in recalls.values() for value in direction.values())


@dataclass
class TrainingResult:
    """The outcome of training besides the retriever's own tensors."""

    temperature: float
    val_recalls: list[RecallsByDirection]  # after each epoch
    selected_epoch: int


@dataclass
class RunContext:
    """The context of one attempt at a run: its events, processes and any checkpoints, and when it must stop."""

    events: EventLog
    distributed: DistributedContext
    checkpoints: CheckpointManager | None
    should_stop: StopCheck


class TrainingDiverged(SlqError):
    """Error that the loss, or the gradient's norm, is not finite."""


class Trainer:
    """A retriever in training: its optimizer and temperature, and the number of steps taken so far."""

    def __init__(
        self,
        retriever: Any,
        settings: dict[str, Any],
        hyperparameters: dict[str, Any],
        steps: int,
        seed: int,
        context: RunContext,
    ) -> None:
        """Create the optimizer, learning-rate schedule and temperature of a run of `steps` steps.

        Args:
            settings, hyperparameters: as of `train`.
            seed: seed of dropout.
        """
        model = retriever.backbone.model
        self.retriever, self.settings, self.seed, self.context = retriever, settings, seed, context
        # The logarithm is learned: the released code learns the divisor itself, which may cross zero.
        initial_log_temperature = torch.tensor(
            math.log(settings["temperature"]), device=model.device, dtype=at_least_float32(model.dtype)
        )
        self.log_temperature = nn.Parameter(initial_log_temperature)
        self.parameters = [*retriever.trainable_parameters(), self.log_temperature]
        self.learning_rate_at = linear_schedule(
            hyperparameters["learning_rate"], hyperparameters["warmup_steps"], steps
        )
        groups = [
            {"params": retriever.trainable_parameters()},
            {"params": [self.log_temperature]},
        ]  # the first group may be sharded
        # fused: at 1B on a CPU a step of full fine-tuning takes 0.7 s, and 5.3 s without (docs/log.md)
        self.optimizer = torch.optim.AdamW(
            groups, lr=self.learning_rate_at(0), weight_decay=settings["weight_decay"], fused=True
        )
        self.step, self.val_recalls, self.best_epoch = 0, list[RecallsByDirection](), BestEpoch()
        self.start_step = 0  # the step from which this attempt continues
        self.previous_images, self.token_counts = PreviousImages(), TokenCountsByInput()
        disable_bar = None if context.distributed.is_main_process else True
        self.progress_bar = tqdm(total=steps, desc="training", disable=disable_bar, file=sys.stderr)

    def run_epoch(self, pairs: PairDataset, batches: list[list[int]], epoch: int) -> None:
        """Take one step per batch.

        Each step writes an event; where there is no terminal for the progress bar, every 50th prints a line.

        Raises:
            TrainingDiverged: the loss or the gradient's norm is not finite; the batch is named.
            TrainingInterrupted: it is time to stop.
        """
        local_slice = self.context.distributed.local_batch_slice(self.settings["batch_size"])
        loader = DataLoader(
            pairs,
            batch_sampler=pairs.mark_reused_images([batch[local_slice] for batch in batches]),
            num_workers=self.settings["num_workers"],
            collate_fn=list,
            generator=torch.Generator(),  # for the workers' seeds; the global generator is for dropout
        )
        for number, (batch, pair_indices) in enumerate(zip(loader, batches, strict=True), start=1):
            try:
                loss, norm = self.take_step(batch)
            except TrainingDiverged as error:
                raise TrainingDiverged(
                    f"{error}; epoch {epoch + 1}, batch of images {pairs.describe_images(pair_indices)}"
                ) from error
            self.token_counts = count_pair_tokens(batch, self.token_counts)
            self.log_step(epoch, loss, norm, self.context.distributed.sum_counts(self.token_counts))
            self.checkpoint_or_stop(number == len(batches))

    def take_step(self, batch: list[Pair]) -> tuple[float, float]:
        """Take one optimizer step on this process's rows.

        Returns:
            the loss over the rows of all processes, and the gradient's norm before clipping.

        Raises:
            TrainingDiverged: the loss or the norm is not finite.
        """
        self.optimizer.zero_grad()
        dropout_seed = (self.seed, self.step)
        loss_arguments = (self.settings, self.context.distributed)
        loss = compute_loss_and_gradients(
            self.retriever, batch, self.log_temperature, *loss_arguments, dropout_seed, self.previous_images
        )
        gradients = [parameter.grad for parameter in self.parameters[:-1] if parameter.grad is not None]
        self.context.distributed.all_reduce_sum(
            gradient for gradient in gradients if not is_sharded(gradient)
        )  # sharded gradients are already summed
        norm = clip_gradients(self.parameters, self.settings["max_grad_norm"], self.context.distributed)
        for name, value in (("loss", loss), ("the gradient's norm", norm)):
            if not torch.isfinite(value):
                raise TrainingDiverged(
                    f"{name} is {value.item()} after {self.step} steps; lower hyperparameters.*.learning_rate"
                )
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate_at(self.step)
        self.optimizer.step()
        self.step += 1
        return loss.item(), float(norm)

    def log_step(self, epoch: int, loss: float, gradient_norm: float, token_counts: TokenCountsByInput) -> None:
        """Write an event for the step just taken and, where there is no progress bar, print a line every 50 steps."""
        metrics = {"loss": loss, "grad_norm": gradient_norm, "temperature": self.temperature}
        self.context.events.write("step", step=self.step, epoch=epoch, **metrics, token_counts=token_counts)
        self.progress_bar.update()
        if self.context.distributed.is_main_process and self.progress_bar.disable and self.step % 50 == 0:
            print(f"step {self.step} of {self.progress_bar.total}: loss {loss:.4f}", file=sys.stderr, flush=True)

    def checkpoint_or_stop(self, is_epoch_end: bool) -> None:
        """Write a checkpoint if it is due, and stop if it is time to.

        Args:
            is_epoch_end: whether the step was the last one of its epoch, which is not yet validated.

        Raises:
            TrainingInterrupted: it is time to stop; a checkpoint is written first.
        """
        context, reason = self.context, self.context.should_stop()
        stop = context.distributed.is_true_anywhere(reason is not None)
        if context.checkpoints and (stop or is_epoch_end or self.step % self.settings["checkpoint_steps"] == 0):
            start = time.perf_counter()
            context.checkpoints.save(self.step, self.checkpoint_metadata(), self.state_dict())
            context.events.write("checkpoint", step=self.step, seconds=time.perf_counter() - start)
        if stop:
            why = reason or "another process was asked to stop"
            context.events.write("stopped", step=self.step, reason=why)
            message = f"stopped after {self.step} of {self.progress_bar.total} steps: {why}; the same command goes on"
            raise TrainingInterrupted(message, self.step - self.start_step)

    def checkpoint_metadata(self) -> dict[str, Any]:
        """Return the metadata of a checkpoint: recalls on val so far, and the best epoch."""
        return {"val": self.val_recalls, "best": {"total": self.best_epoch.total, "epoch": self.best_epoch.epoch}}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint: trained values, the optimizer's moments, and the best epoch's tensors.

        Each is whole, and on the CPU of the main process alone.
        """
        moments = {
            f"optimizer.{number}.{name}": tensor
            for number, state in self.optimizer.state_dict()["state"].items()
            for name, tensor in state.items()
        }
        best = {f"best.{number}": tensor for number, tensor in enumerate(self.best_epoch.tensors)}
        return gather_full_tensors(
            self.trainable_state_dict() | moments | best, keep_result=self.context.distributed.is_main_process
        )

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Return all tensors that training changes, by name."""
        return {**dict(self.retriever.named_trainable_parameters()), "log_temperature": self.log_temperature}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore a checkpoint, so that training continues as if it had not stopped."""
        self.step, self.val_recalls = checkpoint.step, checkpoint.metadata["val"]
        self.start_step = self.step
        self.progress_bar.update(self.step)
        with torch.no_grad():
            for name, tensor in self.trainable_state_dict().items():
                tensor.copy_(shard_like(checkpoint.tensors[name], tensor))
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for path, tensor in checkpoint.tensors.items():
            if path.startswith("optimizer."):
                _, number, name = path.split(".")
                moments[int(number)][name] = shard_like(tensor, self.parameters[int(number)])
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": dict(moments)})
        best = [(f"best.{number}", tensor) for number, tensor in enumerate(self.trainable_state_dict().values())]
        best_tensors = [
            shard_like(checkpoint.tensors[path], tensor) for path, tensor in best if path in checkpoint.tensors
        ]
        self.best_epoch = BestEpoch(**checkpoint.metadata["best"], tensors=best_tensors)

    @property
    def temperature(self) -> float:
        """Temperature of the loss."""
        return self.log_temperature.exp().item()


def train(
    retriever: Any,
    pairs: PairDataset,
    settings: dict[str, Any],
    hyperparameters: dict[str, Any],
    seed: int,
    context: RunContext,
    validate: Callable[[Retriever], RecallsByDirection],
) -> TrainingResult:
    """Train a retriever in place, continuing from the newest checkpoint, and return the outcome.

    Args:
        retriever: result of `slq.methods.adapter.build_retriever`, the same in every process.
        settings, hyperparameters: `training` and the method's entry of `hyperparameters` in config.yaml.
        validate: function that computes recalls on the val split; called after each epoch, its recalls select an epoch
            only with `checkpoint_selection: best`.

    Raises:
        SlqError: the split is smaller than a batch, or the batch size is not divisible by the number of processes.
        TrainingDiverged: the loss or the gradient's norm is not finite.
        TrainingInterrupted: it was time to stop; a checkpoint is written.
    """
    batch_size = settings["batch_size"]
    if len(pairs) < batch_size:
        raise SlqError(f"{len(pairs)} training pairs make no batch of {batch_size}; lower training.batch_size")
    steps_per_epoch = len(pairs) // batch_size
    trainer = Trainer(retriever, settings, hyperparameters, settings["epochs"] * steps_per_epoch, seed, context)
    checkpoint = context.checkpoints.load_newest() if context.checkpoints else None
    if checkpoint:
        trainer.restore(checkpoint)
        context.events.write("resumed", step=checkpoint.step)
    for epoch in range(len(trainer.val_recalls), settings["epochs"]):
        batches = pairs.epoch_batches(batch_size, seed, epoch)[trainer.step - epoch * steps_per_epoch :]
        with context.events.span("train", epoch=epoch, pairs=len(batches) * batch_size):
            trainer.run_epoch(pairs, batches, epoch)
        with context.events.span("eval", split="val"):
            recalls = validate(retriever)
        context.events.write("val", epoch=epoch, recalls=recalls)
        trainer.val_recalls.append(recalls)
        if settings["checkpoint_selection"] == "best":
            trainer.best_epoch.update_if_better(list(trainer.trainable_state_dict().values()), recalls, epoch)
    trainer.progress_bar.close()
    selected_epoch = settings["epochs"] - 1
    if settings["checkpoint_selection"] == "best":
        selected_epoch = trainer.best_epoch.restore(list(trainer.trainable_state_dict().values()))
    return TrainingResult(trainer.temperature, trainer.val_recalls, selected_epoch)


def linear_schedule(peak_learning_rate: float, warmup_steps: int, steps: int) -> Callable[[int], float]:
    """Return a function from step to learning rate: linear warm-up, then linear decay to zero.

    This is the default of the released trainer.
    """
    return lambda step: (
        peak_learning_rate * min((step + 1) / max(warmup_steps, 1), (steps - step) / max(steps - warmup_steps, 1))
    )
