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
from slq.training.distributed import DistributedContext
from slq.training.loss import info_nce
from slq.training.pairs import Pair


class MicroBatches:
    """The images, or the texts, of a batch in parts of a micro-batch; what needs no gradient is computed once.

    Messages of about one length run together, which saves most of the padding (docs/log.md).
    """

    def __init__(self, retriever: Retriever, messages: Sequence[Message], micro_batch_size: int) -> None:
        self.retriever, self.micro_batch_size = retriever, micro_batch_size
        self.order = list(range(len(messages)))
        if len(messages) > micro_batch_size:
            self.order.sort(key=lambda row: messages[row].length)
        starts = range(0, len(messages), micro_batch_size)
        self.prefixes = [
            retriever.encode_prefix([messages[row] for row in self.order[start : start + micro_batch_size]])
            for start in starts
        ]

    def compute_embeddings(self, dropout_seed: tuple[int, ...]) -> Tensor:
        """Unit vectors (rows, d), in the order of the messages."""
        inverse_order = torch.tensor(self.order).argsort()
        embeddings = torch.cat(list(self._embed_micro_batches(dropout_seed)))
        return embeddings[inverse_order.to(embeddings.device)]

    def backward(self, gradient: Tensor, dropout_seed: tuple[int, ...]) -> None:
        """Carry the gradient (rows, d) of all vectors into the parameters, part by part."""
        for embeddings, part_gradient in zip(
            self._embed_micro_batches(dropout_seed), gradient[self.order].split(self.micro_batch_size), strict=True
        ):
            embeddings.backward(part_gradient)

    def _embed_micro_batches(self, dropout_seed: tuple[int, ...]) -> Iterator[Tensor]:
        """Unit vectors of one part after another.

        Dropout is drawn anew for each part from what the part is, so that it is the same in both passes, and in a run
        that was stopped and continued.
        """
        for number, prefix in enumerate(self.prefixes):
            torch.manual_seed(int(np.random.SeedSequence([*dropout_seed, number]).generate_state(1)[0]))
            yield self.retriever.embed_from_prefix(prefix)


@dataclass
class PreviousImages:
    """The images of the batch before, for a batch that comes without its own because they are the same."""

    images: MicroBatches | None = None

    def encode_or_reuse(self, retriever: Retriever, batch: Sequence[Pair], micro_batch_size: int) -> MicroBatches:
        new_images = [pair.image for pair in batch if pair.image is not None]
        if new_images:
            self.images = None  # before others take its place in memory
            self.images = MicroBatches(retriever, new_images, micro_batch_size)
        if self.images is None:
            raise ValueError("a batch without images, and none before it")
        return self.images


def compute_loss_and_gradients(
    retriever: Retriever,
    batch: Sequence[Pair],
    log_temperature: Tensor,
    settings: dict[str, Any],
    distributed: DistributedContext,
    dropout_seed: tuple[int, ...] = (0,),
    previous_images: PreviousImages | None = None,
) -> Tensor:
    """InfoNCE over the rows of all processes; adds its gradient to what the parameters have, and returns it.

    With `grad_cache` the vectors are computed without gradient first, and again `micro_batch_size` at a time with the
    gradient that the loss gave them: memory for one micro-batch, for a second forward. SLQ keeps its prefixes in
    between, and only its queries run twice. Without it, everything that `batch` needs for its gradient is held at once;
    `micro_batch_size` then bounds only what is held while a part is embedded.

    Args:
        batch: this process's rows, equally many in each process.
        log_temperature: a leaf, the same in every process, and so is the gradient it gets.
        settings: `training` in config.yaml.
        dropout_seed: what dropout depends on, beside the rows: seed and step.
        previous_images: the images of the batch before, where this one may show them again.
    """
    first_row = distributed.rank * len(batch)
    micro_batch_size = settings["micro_batch_size"]
    modalities = (
        (previous_images or PreviousImages()).encode_or_reuse(retriever, batch, micro_batch_size),
        MicroBatches(retriever, [pair.text for pair in batch], micro_batch_size),
    )
    dropout_seeds = [(*dropout_seed, first_row, number) for number in range(len(modalities))]
    with torch.set_grad_enabled(not settings["grad_cache"]):
        local_embeddings = [side.compute_embeddings(one) for side, one in zip(modalities, dropout_seeds, strict=True)]
    all_image_embeddings, all_text_embeddings = (
        distributed.all_gather(rows).requires_grad_() for rows in local_embeddings
    )
    image_indices = distributed.all_gather(
        torch.tensor([pair.image_index for pair in batch], device=local_embeddings[0].device)
    )
    loss = info_nce(
        all_image_embeddings,
        all_text_embeddings,
        log_temperature.exp(),
        image_indices if settings["mask_same_image"] else None,
    )
    *global_gradients, log_temperature.grad = torch.autograd.grad(
        loss, [all_image_embeddings, all_text_embeddings, log_temperature]
    )
    local_gradients = [gradient[first_row : first_row + len(batch)] for gradient in global_gradients]
    if settings["grad_cache"]:
        for side, gradient, one in zip(modalities, local_gradients, dropout_seeds, strict=True):
            side.backward(gradient, one)
    else:
        torch.autograd.backward(local_embeddings, local_gradients)
    return loss.detach()
