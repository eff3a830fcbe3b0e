"""Contrastive loss and gradient of a global batch, with or without GradCache (Gao et al. 2021).

Loss and gradient do not depend on the number of processes or on the micro-batch size. Each process embeds its own rows
and gathers the embeddings of all other processes. Every process then computes the loss of the global batch and
back-propagates the gradient of its own rows. Parameter gradients are summed over processes.
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
    """The images, or the texts, of a batch in micro-batches, with their prefixes encoded once for all passes.

    Micro-batches contain messages of similar length, which saves most of the padding (docs/log.md).
    """

    def __init__(self, retriever: Retriever, messages: Sequence[Message], micro_batch_size: int) -> None:
        """Split messages into micro-batches and encode their prefixes.

        Messages are sorted by length if there is more than one micro-batch.
        """
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
        """Compute embeddings, unit vectors (messages, d), in the order of the messages.

        Args:
            dropout_seed: numbers that seed dropout, together with the index of the micro-batch.
        """
        inverse_order = torch.tensor(self.order).argsort()
        embeddings = torch.cat(list(self._embed_micro_batches(dropout_seed)))
        return embeddings[inverse_order.to(embeddings.device)]

    def backward(self, gradient: Tensor, dropout_seed: tuple[int, ...]) -> None:
        """Embed again, one micro-batch at a time, and back-propagate the embeddings' gradient (messages, d)."""
        for embeddings, part_gradient in zip(
            self._embed_micro_batches(dropout_seed), gradient[self.order].split(self.micro_batch_size), strict=True
        ):
            embeddings.backward(part_gradient)

    def _embed_micro_batches(self, dropout_seed: tuple[int, ...]) -> Iterator[Tensor]:
        """Yield the unit vectors of each micro-batch in turn.

        Dropout is seeded for each micro-batch from `dropout_seed` and the micro-batch's index. It is therefore the same
        in both passes of GradCache, and in a run that was stopped and resumed.
        """
        for number, prefix in enumerate(self.prefixes):
            torch.manual_seed(int(np.random.SeedSequence([*dropout_seed, number]).generate_state(1)[0]))
            yield self.retriever.embed_from_prefix(prefix)


@dataclass
class PreviousImages:
    """The images of the previous batch, reused by a batch with the same images (`image_cache: batch`)."""

    images: MicroBatches | None = None

    def encode_or_reuse(self, retriever: Retriever, batch: Sequence[Pair], micro_batch_size: int) -> MicroBatches:
        """Encode the images of a batch, or return the previous batch's images if the batch comes without images.

        Raises:
            ValueError: the batch comes without images, and there is no previous batch.
        """
        new_images = [pair.image for pair in batch if pair.image is not None]
        if new_images:
            self.images = None  # frees the memory before the new images are encoded
            self.images = MicroBatches(retriever, new_images, micro_batch_size)
        if self.images is None:
            raise ValueError("the first batch comes without images")
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
    """Compute InfoNCE over the global batch (the rows of all processes) and accumulate its parameter gradients.

    With `grad_cache`, GradCache (Gao et al. 2021) is used:
    1. A first forward pass computes all embeddings without gradient.
    2. The loss and its gradient with respect to the embeddings are computed.
    3. A second forward pass, `micro_batch_size` rows at a time, recomputes the embeddings with gradient and
       back-propagates the cached gradient into the parameters.
    Activations of only one micro-batch are in memory, at the cost of the second forward pass. SLQ keeps the prefixes
    for both passes, so that only its queries run twice.

    Without `grad_cache`, the activations of all rows are in memory at once. `micro_batch_size` then only limits the
    number of rows that are embedded together.

    Args:
        batch: the rows of this process; every process has the same number of rows.
        log_temperature: leaf tensor, the same in every process; its gradient is set, also the same in every process.
        settings: `training` in config.yaml.
        dropout_seed: numbers that seed dropout, besides the rows: run seed and step.
        previous_images: the images of the previous batch, if this batch may reuse them.

    Returns:
        the loss, a detached scalar.
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
