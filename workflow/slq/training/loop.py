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
from slq.models.methods import trained_tensors
from slq.models.prefix import Encoded
from slq.models.retriever import Retriever
from slq.training.events import Events
from slq.training.loss import info_nce
from slq.training.pairs import Pairs, epoch_order

Recalls = dict[str, dict[str, float]]


@dataclass
class Trained:
    """What training leaves besides the retriever's own tensors."""

    temperature: float
    val: list[Recalls] = field(default_factory=list)  # after each epoch
    kept_epoch: int = 0


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
        SlqError: the split is smaller than a batch, or the loss is not finite.
    """
    accelerator = Accelerator(cpu=retriever.backbone.device.type == "cpu")
    torch.manual_seed(seed)
    log_temperature = nn.Parameter(torch.tensor(math.log(settings["temperature"]), device=retriever.backbone.device))
    steps = settings["epochs"] * (len(pairs) // settings["batch_size"])
    if steps == 0:
        raise SlqError(f"{len(pairs)} training pairs make no batch of {settings['batch_size']}; lower training.batch_size")
    parameters = [*retriever.trainable(), log_temperature]
    optimizer = torch.optim.AdamW(parameters, lr=tuning["learning_rate"], weight_decay=settings["weight_decay"])
    optimizer, schedule = accelerator.prepare(optimizer, linear_schedule(optimizer, tuning["warmup_steps"], steps))
    result = Trained(settings["temperature"])
    best: tuple[float, dict[str, Tensor]] = (-1.0, {})
    bar = tqdm(total=steps, desc="training", disable=None, file=sys.stderr)
    step = 0
    for epoch in range(settings["epochs"]):
        loader = DataLoader(
            pairs,
            batch_sampler=epoch_order(len(pairs), settings["batch_size"], seed, epoch),
            num_workers=settings["workers"],
            collate_fn=list,
        )
        with events.span("train", epoch=epoch, pairs=len(loader) * settings["batch_size"]):
            for batch in loader:
                loss = pair_loss(retriever, batch, log_temperature.exp(), settings["micro_batch"])
                if not torch.isfinite(loss):
                    raise SlqError(f"loss is {loss.item()} at step {step} of epoch {epoch}; lower learning_rate")
                optimizer.zero_grad()
                accelerator.backward(loss)
                norm = accelerator.clip_grad_norm_(parameters, settings["clip_norm"])
                optimizer.step()
                schedule.step()
                step += 1
                report(events, bar, step, epoch, loss, norm, log_temperature)
        with events.span("eval", split="val"):
            recalls = validate(retriever)
        events.write("val", epoch=epoch, recalls=recalls)
        result.val.append(recalls)
        total = sum(value for direction in recalls.values() for value in direction.values())
        if settings["keep"] == "best" and total > best[0]:
            best = (total, {name: value.detach().clone() for name, value in trained_tensors(retriever)})
            result.kept_epoch = epoch
    bar.close()
    if settings["keep"] == "best":
        with torch.no_grad():
            for name, value in trained_tensors(retriever):
                value.copy_(best[1][name])
    else:
        result.kept_epoch = settings["epochs"] - 1
    result.temperature = log_temperature.exp().item()
    return result


def pair_loss(
    retriever: Retriever, batch: list[tuple[Encoded, Encoded]], temperature: Tensor, micro_batch: int
) -> Tensor:
    """InfoNCE over the whole batch of (image, text) messages, embedded `micro_batch` pairs at a time."""
    images, texts = zip(*batch, strict=True)
    return info_nce(embed_all(retriever, images, micro_batch), embed_all(retriever, texts, micro_batch), temperature)


def embed_all(retriever: Retriever, messages: tuple[Encoded, ...], at_once: int) -> Tensor:
    """Unit vectors (B, d) of all messages, with gradient."""
    chunks = [list(messages[i : i + at_once]) for i in range(0, len(messages), at_once)]
    return torch.cat([retriever.embed(chunk) for chunk in chunks])


def linear_schedule(optimizer: Any, warmup: int, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up, then linear decay to zero: the default of the released code's trainer."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / max(warmup, 1), (steps - step) / max(steps - warmup, 1))
    )


def report(events: Events, bar: tqdm, step: int, epoch: int, loss: Tensor, norm: Any, log_temperature: Tensor) -> None:
    """Write a step's event; print a plain line every 50 steps where there is no terminal for the bar."""
    fields = {"loss": loss.item(), "grad_norm": float(norm), "temperature": log_temperature.exp().item()}
    events.write("step", step=step, epoch=epoch, **fields)
    bar.set_postfix(loss=f"{fields['loss']:.3f}", refresh=False)
    bar.update()
    if bar.disable and step % 50 == 0:
        print(f"step {step} of {bar.total}: loss {fields['loss']:.4f}", file=sys.stderr, flush=True)
