"""Loss and gradient of a global batch, with or without GradCache (Gao et al. 2021).

They are the same for any number of processes and any micro-batch size. Each process embeds its own rows and gathers
those of all others; every process then computes the loss of the whole batch, and back-propagates the gradient of its
own rows into its backbone. The gradients of the parameters are summed over processes.
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
    """The images, or the texts, of a batch in micro-batches; what needs no gradient is computed once.

    Messages of similar length run together, which saves most of the padding (docs/log.md).
    """

    def __init__(self, retriever: Retriever, messages: Sequence[Message], micro_batch_size: int) -> None:
        """Split messages into micro-batches, sorted by length if there are several, and encode their prefixes."""
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
        """Compute unit vectors (rows, d), in the order of the messages.

        Args:
            dropout_seed: numbers that determine dropout, together with the micro-batch.
        """
        inverse_order = torch.tensor(self.order).argsort()
        embeddings = torch.cat(list(self._embed_micro_batches(dropout_seed)))
        return embeddings[inverse_order.to(embeddings.device)]

    def backward(self, gradient: Tensor, dropout_seed: tuple[int, ...]) -> None:
        """Back-propagate the gradient (rows, d) of all embeddings into the parameters, one micro-batch at a time."""
        for embeddings, part_gradient in zip(
            self._embed_micro_batches(dropout_seed), gradient[self.order].split(self.micro_batch_size), strict=True
        ):
            embeddings.backward(part_gradient)

    def _embed_micro_batches(self, dropout_seed: tuple[int, ...]) -> Iterator[Tensor]:
        """Yield the unit vectors of one micro-batch after another.

        Dropout is seeded anew for each micro-batch from `dropout_seed` and its number, so that it is the same in both
        passes, and in a run that was stopped and continued.
        """
        for number, prefix in enumerate(self.prefixes):
            torch.manual_seed(int(np.random.SeedSequence([*dropout_seed, number]).generate_state(1)[0]))
            yield self.retriever.embed_from_prefix(prefix)


@dataclass
class PreviousImages:
    """The images of the previous batch, for a batch that comes without images because they are the same."""

    images: MicroBatches | None = None

    def encode_or_reuse(self, retriever: Retriever, batch: Sequence[Pair], micro_batch_size: int) -> MicroBatches:
        """Encode the images of a batch, or return those of the previous batch if it has none.

        Raises:
            ValueError: the batch has no images, and there is no previous batch.
        """
        new_images = [pair.image for pair in batch if pair.image is not None]
        if new_images:
            self.images = None  # frees its memory before the new images take it
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
    """Compute InfoNCE over the rows of all processes, and add its gradient to that of the parameters.

    With `grad_cache` a first forward computes the embeddings without gradient, and a second one repeats it with
    gradient, `micro_batch_size` rows at a time, to back-propagate the gradient of the loss: this takes memory for one
    micro-batch only, at the price of the second forward. SLQ keeps its prefixes between both passes, and only its
    queries run twice. Without `grad_cache` all activations that `batch` needs for its gradient are in memory at once;
    `micro_batch_size` then only limits the memory of embedding a micro-batch.

    Args:
        batch: this process's rows, equally many in each process.
        log_temperature: a leaf tensor, the same in every process; the gradient that it gets is the same too.
        settings: `training` in config.yaml.
        dropout_seed: what dropout depends on, besides the rows: seed and step.
        previous_images: the images of the previous batch, if this one may show them again.

    Returns:
        the loss, without gradient.
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
