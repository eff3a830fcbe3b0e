"""Loss and gradient of a global batch, the same for any number of processes and any micro-batch.

Each process embeds its own rows and gathers all others'; the loss of the whole batch is then computed by every process,
and each carries the gradient of its own rows back into its backbone. What the parameters get is summed over processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slq.models.prefix import Message
from slq.models.retriever import Retriever
from slq.training.distributed import Processes
from slq.training.loss import info_nce
from slq.training.pairs import Pair


class Side:
    """The images, or the texts, of a batch in parts of a micro-batch; what needs no gradient is computed once.

    Messages of about one length run together, which saves most of the padding (docs/log.md).
    """

    def __init__(self, retriever: Retriever, messages: Sequence[Message], at_once: int) -> None:
        self.retriever, self.at_once = retriever, at_once
        self.order = list(range(len(messages)))
        if len(messages) > at_once:
            self.order.sort(key=lambda row: messages[row].length)
        starts = range(0, len(messages), at_once)
        self.parts = [
            retriever.look([messages[row] for row in self.order[start : start + at_once]]) for start in starts
        ]

    def vectors(self, draw: tuple[int, ...]) -> Tensor:
        """Unit vectors (rows, d), in the order of the messages."""
        back = torch.tensor(self.order).argsort()
        vectors = torch.cat(list(self._read(draw)))
        return vectors[back.to(vectors.device)]

    def backward(self, gradient: Tensor, draw: tuple[int, ...]) -> None:
        """Carry the gradient (rows, d) of all vectors into the parameters, part by part."""
        for part, wanted in zip(self._read(draw), gradient[self.order].split(self.at_once), strict=True):
            part.backward(wanted)

    def _read(self, draw: tuple[int, ...]) -> Iterator[Tensor]:
        """Unit vectors of one part after another.

        Dropout is drawn anew for each part from what the part is, so that it is the same in both passes, and in a run
        that was stopped and continued.
        """
        for number, part in enumerate(self.parts):
            torch.manual_seed(int(np.random.SeedSequence([*draw, number]).generate_state(1)[0]))
            yield self.retriever.read(part)


@dataclass
class Shown:
    """The images of the batch before, for a batch that comes without its own because they are the same."""

    images: Side | None = None

    def side(self, retriever: Retriever, batch: Sequence[Pair], at_once: int) -> Side:
        own = [pair.image for pair in batch if pair.image is not None]
        if own:
            self.images = None  # before others take its place in memory
            self.images = Side(retriever, own, at_once)
        if self.images is None:
            raise ValueError("a batch without images, and none before it")
        return self.images


def backward(
    retriever: Retriever,
    batch: Sequence[Pair],
    log_temperature: Tensor,
    settings: dict[str, Any],
    processes: Processes,
    draw: tuple[int, ...] = (0,),
    shown: Shown | None = None,
) -> Tensor:
    """InfoNCE over the rows of all processes; adds its gradient to what the parameters have, and returns it.

    With `two_pass` the vectors are computed without gradient first, and again `micro_batch` at a time with the gradient
    that the loss gave them: memory for one micro-batch, for a second forward. SLQ keeps its prefixes in between, and
    only its queries run twice. Without it, everything that `batch` needs for its gradient is held at once;
    `micro_batch` then bounds only what is held while a part is embedded.

    Args:
        batch: this process's rows, equally many in each process.
        log_temperature: a leaf, the same in every process, and so is the gradient it gets.
        settings: `training` in config.yaml.
        draw: what dropout depends on, beside the rows: seed and step.
        shown: the images of the batch before, where this one may show them again.
    """
    first = processes.rank * len(batch)
    at_once = settings["micro_batch"]
    sides = (
        (shown or Shown()).side(retriever, batch, at_once),
        Side(retriever, [pair.text for pair in batch], at_once),
    )
    draws = [(*draw, first, number) for number in range(len(sides))]
    with torch.set_grad_enabled(not settings["two_pass"]):
        own = [side.vectors(one) for side, one in zip(sides, draws, strict=True)]
    all_images, all_texts = (processes.gather(rows).requires_grad_() for rows in own)
    numbers = processes.gather(torch.tensor([pair.shown for pair in batch], device=own[0].device))
    loss = info_nce(all_images, all_texts, log_temperature.exp(), numbers if settings["mask_same_image"] else None)
    *found, log_temperature.grad = torch.autograd.grad(loss, [all_images, all_texts, log_temperature])
    wanted = [gradient[first : first + len(batch)] for gradient in found]
    if settings["two_pass"]:
        for side, gradient, one in zip(sides, wanted, draws, strict=True):
            side.backward(gradient, one)
    else:
        torch.autograd.backward(own, wanted)
    return loss.detach()
