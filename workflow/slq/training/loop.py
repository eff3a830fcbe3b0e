"""Training loop of all methods, with AdamW (Loshchilov and Hutter 2019), validation per epoch, and checkpoints."""

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
from slq.training.selection import RecallsByDirection, sum_of_recalls


@dataclass
class BestEpoch:
    """Trained tensors of the epoch with the highest sum of recalls on the val split."""

    total: float = -1.0
    epoch: int = 0
    tensors: list[Tensor] = field(default_factory=list)

    def update_if_better(self, tensors: list[Tensor], recalls: RecallsByDirection, epoch: int) -> None:
        """Copy the tensors if their sum of recalls exceeds all earlier ones; the earlier epoch wins a tie."""
        if sum_of_recalls(recalls) > self.total:
            self.total, self.epoch = sum_of_recalls(recalls), epoch
            self.tensors = [tensor.detach().clone() for tensor in tensors]

    def restore(self, tensors: list[Tensor]) -> int:
        """Restore the best tensors and return their epoch."""
        with torch.no_grad():
            for tensor, best_tensor in zip(tensors, self.tensors, strict=True):
                tensor.copy_(best_tensor)
        return self.epoch


@dataclass
class TrainingResult:
    """Outcome of training, apart from the trained retriever itself."""

    temperature: float
    val_recalls: list[RecallsByDirection]  # one per epoch
    selected_epoch: int


@dataclass
class RunContext:
    """Context of one attempt at a run: event log, processes, checkpoints (if any), and the check whether to stop."""

    events: EventLog
    distributed: DistributedContext
    checkpoints: CheckpointManager | None
    should_stop: StopCheck


class TrainingDiverged(SlqError):
    """Error that the loss or the gradient norm is not finite."""


class Trainer:
    """State of training: the retriever, the optimizer, the temperature, and the number of steps taken so far."""

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
            settings, hyperparameters: see `train`.
            seed: seed of dropout.
        """
        model = retriever.backbone.model
        self.retriever, self.settings, self.seed, self.context = retriever, settings, seed, context
        # The log of the temperature is trained; SLQ's released code trains the temperature, which may cross zero.
        initial_log_temperature = torch.tensor(
            math.log(settings["temperature"]), device=model.device, dtype=at_least_float32(model.dtype)
        )
        self.log_temperature = nn.Parameter(initial_log_temperature)
        self.parameters = [*retriever.trainable_parameters(), self.log_temperature]
        self.learning_rate_at = linear_schedule(
            hyperparameters["learning_rate"], hyperparameters["warmup_steps"], steps
        )
        # The fused AdamW takes sharded and unsharded parameters in separate groups. Those of the language model, which
        # may be sharded, are listed last by every retriever, so that the numbers of all parameters are the same.
        trainable = retriever.trainable_parameters()
        parts = [[one for one in trainable if is_sharded(one) is sharded] for sharded in (False, True)]
        groups = [{"params": part} for part in [*parts, [self.log_temperature]] if part]
        # fused: for full fine-tuning at 1B parameters on a CPU, a step takes 0.7 s instead of 5.3 s (docs/log.md)
        self.optimizer = torch.optim.AdamW(
            groups, lr=self.learning_rate_at(0), weight_decay=settings["weight_decay"], fused=True
        )
        self.step, self.val_recalls, self.best_epoch = 0, list[RecallsByDirection](), BestEpoch()
        self.start_step = 0  # the step at which this attempt started or resumed
        self.previous_images, self.token_counts = PreviousImages(), TokenCountsByInput()
        disable_bar = None if context.distributed.is_main_process else True
        self.progress_bar = tqdm(total=steps, desc="training", disable=disable_bar, file=sys.stderr)

    def run_epoch(self, pairs: PairDataset, batches: list[list[int]], epoch: int) -> None:
        """Take one step per batch.

        Every step writes an event. Without a terminal for the progress bar, every 50th step prints a line.

        Raises:
            TrainingDiverged: the loss or the gradient norm is not finite; the message names the batch's images.
            TrainingInterrupted: training must stop now.
        """
        local_slice = self.context.distributed.local_batch_slice(self.settings["batch_size"])
        loader = DataLoader(
            pairs,
            batch_sampler=pairs.mark_reused_images([batch[local_slice] for batch in batches]),
            num_workers=self.settings["num_workers"],
            collate_fn=list,
            generator=torch.Generator(),  # seeds the workers; the global generator is reserved for dropout
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
        """Take one optimizer step; `batch` contains the rows of this process.

        Returns:
            the loss of the global batch, and the gradient norm before clipping.

        Raises:
            TrainingDiverged: the loss or the gradient norm is not finite.
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
        """Write an event for the last step; without a progress bar, also print a line every 50 steps."""
        metrics = {"loss": loss, "grad_norm": gradient_norm, "temperature": self.temperature}
        self.context.events.write("step", step=self.step, epoch=epoch, **metrics, token_counts=token_counts)
        self.progress_bar.update()
        if self.context.distributed.is_main_process and self.progress_bar.disable and self.step % 50 == 0:
            print(f"step {self.step} of {self.progress_bar.total}: loss {loss:.4f}", file=sys.stderr, flush=True)

    def checkpoint_or_stop(self, is_epoch_end: bool) -> None:
        """Write a checkpoint if one is due, and stop if any process must stop.

        Args:
            is_epoch_end: whether the step was the last one of its epoch; the epoch is not validated yet.

        Raises:
            TrainingInterrupted: training must stop now; a checkpoint is written first.
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
            message = (
                f"stopped after {self.step} of {self.progress_bar.total} steps: {why}; run the same command to resume"
            )
            raise TrainingInterrupted(message, self.step - self.start_step)

    def checkpoint_metadata(self) -> dict[str, Any]:
        """Return the metadata of a checkpoint: recalls on val of all epochs so far, and the best epoch."""
        return {"val": self.val_recalls, "best": {"total": self.best_epoch.total, "epoch": self.best_epoch.epoch}}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint: trained tensors, AdamW's moments, and the best epoch's tensors.

        They are full tensors on the CPU of the main process; other processes get an empty dict.
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
        """Return all trained tensors by name, including the log of the temperature."""
        return {**dict(self.retriever.named_trainable_parameters()), "log_temperature": self.log_temperature}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore a checkpoint, so that training continues exactly as if it had not stopped."""
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
    """Train a retriever in place, resuming from the newest checkpoint if there is one, and return the outcome.

    Args:
        retriever: result of `slq.methods.adapter.build_retriever`, the same in every process.
        settings, hyperparameters: `training` and the method's entry of `hyperparameters` in config.yaml.
        validate: function that computes recalls on the val split, called after each epoch. The recalls select the epoch
            only with `checkpoint_selection: best`.

    Raises:
        SlqError: the split is smaller than a global batch, or the batch size is not divisible by the world size.
        TrainingDiverged: the loss or the gradient norm is not finite.
        TrainingInterrupted: training had to stop; a checkpoint is written.
    """
    batch_size = settings["batch_size"]
    if len(pairs) < batch_size:
        raise SlqError(
            f"{len(pairs)} training pairs are fewer than one batch of {batch_size}; lower training.batch_size"
        )
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
    """Return a learning-rate schedule, from step to rate: linear warm-up, then linear decay to zero after `steps`.

    This is the default schedule of the trainer in SLQ's released code.
    """
    return lambda step: (
        peak_learning_rate * min((step + 1) / max(warmup_steps, 1), (steps - step) / max(steps - warmup_steps, 1))
    )
