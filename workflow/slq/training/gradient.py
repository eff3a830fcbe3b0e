"""Loss and gradient of a global batch, the same for any number of processes and any micro-batch.

Each process embeds its own rows and gathers all others'; the loss of the whole batch is then computed by every process,
and each carries the gradient of its own rows back into its backbone. What the parameters get is summed over processes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slq.models.prefix import Encoded
from slq.models.retriever import Retriever
from slq.training.loss import info_nce
from slq.training.pairs import Pair
from slq.training.processes import Processes


def backward(
    retriever: Retriever,
    batch: list[Pair],
    log_temperature: Tensor,
    settings: dict[str, Any],
    processes: Processes,
    draw: tuple[int, ...] = (0,),
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
    """
    first = processes.rank * len(batch)
    sides = [
        Side(retriever, [getattr(pair, part) for pair in batch], settings["micro_batch"], (*draw, first, number))
        for number, part in enumerate(("image", "text"))
    ]
    with torch.set_grad_enabled(not settings["two_pass"]):
        own = [torch.cat(list(side.vectors())) for side in sides]
    images, texts = (processes.gather(rows).requires_grad_() for rows in own)
    shown = processes.gather(torch.tensor([pair.shown for pair in batch], device=own[0].device))
    loss = info_nce(images, texts, log_temperature.exp(), shown if settings["mask_same_image"] else None)
    *whole, log_temperature.grad = torch.autograd.grad(loss, [images, texts, log_temperature])
    wanted = [gradient[first : first + len(batch)] for gradient in whole]
    if settings["two_pass"]:
        for side, gradient in zip(sides, wanted, strict=True):
            side.backward(gradient)
    else:
        torch.autograd.backward(own, wanted)
    return loss.detach()


class Side:
    """The images, or the texts, of a batch in parts of a micro-batch; what needs no gradient is computed once."""

    def __init__(self, retriever: Retriever, messages: list[Encoded], at_once: int, draw: tuple[int, ...]) -> None:
        self.retriever, self.at_once, self.draw = retriever, at_once, draw
        starts = range(0, len(messages), at_once)
        self.parts = [retriever.look(messages[start : start + at_once]) for start in starts]

    def vectors(self) -> Iterator[Tensor]:
        """Unit vectors (at most micro_batch, d) of one part after another.

        Dropout is drawn anew for each part from what the part is, so that it is the same in both passes, and in a run
        that was stopped and continued.
        """
        for number, part in enumerate(self.parts):
            torch.manual_seed(int(np.random.SeedSequence([*self.draw, number]).generate_state(1)[0]))
            yield self.retriever.read(part)

    def backward(self, gradient: Tensor) -> None:
        """Carry the gradient (rows, d) of all vectors into the parameters, part by part."""
        for part, wanted in zip(self.vectors(), gradient.split(self.at_once), strict=True):
            part.backward(wanted)
