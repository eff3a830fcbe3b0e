"""Variants of a training step: the released algorithm, ours with each image cache, and the other methods."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slq.caching.backends import CACHE_BACKENDS, VisionFeatureBackend
from slq.caching.shard import Shard, write_shard
from slq.common.errors import SlqError
from slq.cost.architecture import Architecture, read_architecture
from slq.cost.bench.random_inputs import replace_images, share_weights
from slq.cost.flops import CACHED_SHARES, Flops, TokenTotals, method_plan, sum_flops, train_flops
from slq.methods.adapter import build_retriever
from slq.methods.plan import ComputePlan
from slq.methods.registry import find_method, list_methods
from slq.models.backbone import Backbone
from slq.models.prefix import Message, TokenizedMessage
from slq.models.retriever import LatentQueryRetriever, initial_queries
from slq.models.whole_sequence import WholeSequenceRetriever
from slq.training.distributed import DistributedContext
from slq.training.execution import enable_gradient_checkpointing, upcast_trainable_parameters
from slq.training.grad_cache import PreviousImages, compute_loss_and_gradients
from slq.training.pairs import Pair, TokenCountsByInput, count_pair_tokens

SLQ_VARIANTS = ("reference", "none", "features", "batch", "kv", "kv_disk")  # all compute the same gradient
BatchReader = Callable[[], Iterable[list[Pair]]]


class StepVariant:
    """A way to take training steps, on one batch or on several consecutive batches.

    The learning rate is 0, so that steps leave the weights unchanged.
    """

    def __init__(
        self, name: str, retriever: Any, read_batches: BatchReader, plan: ComputePlan, settings: Mapping[str, Any]
    ) -> None:
        """Set up the variant and its optimizer.

        Args:
            read_batches: reads the batches; called once per repetition.
            plan: the compute plan of a message that is not cached yet.
            settings: micro_batch_size, grad_cache, temperature.
        """
        self.name, self.retriever, self.read_batches = name, retriever, read_batches
        self.plan = replace(plan, num_forward_passes=2 if settings["grad_cache"] else 1)
        self.settings = {"mask_same_image": False, **settings}
        self.optimizer = torch.optim.AdamW(retriever.trainable_parameters(), lr=0.0, fused=True)

    def take_steps(self) -> None:
        """Take one step on each batch."""
        previous_images = PreviousImages()
        for batch in self.read_batches():
            self._take_step(batch, previous_images)

    def take_first_step(self) -> tuple[float, Tensor]:
        """Take one step on the first batch; return its loss and the gradient of the first trained tensor."""
        loss = self._take_step(next(iter(self.read_batches())), PreviousImages())
        gradient = self.retriever.trainable_parameters()[0].grad
        return loss, gradient.clone()

    def _take_step(self, batch: list[Pair], previous_images: PreviousImages) -> float:
        """Take one step on a batch, and return its loss."""
        self.optimizer.zero_grad()
        temperature = torch.tensor(self.settings["temperature"], device=self.retriever.backbone.device).log()
        log_temperature = temperature.requires_grad_()
        loss = compute_loss_and_gradients(
            self.retriever, batch, log_temperature, self.settings, DistributedContext(), previous_images=previous_images
        )
        self.optimizer.step()
        return loss.item()

    def count_pairs(self) -> int:
        """Count the pairs of all batches."""
        return sum(map(len, self.read_batches()))

    def compute_flops(self, architecture: Architecture) -> Flops:
        """Compute the FLOPs of all steps by part, with the closed form and without padding tokens."""
        parts, token_counts = [], TokenCountsByInput()
        for batch in self.read_batches():
            token_counts = count_pair_tokens(batch, token_counts)
            parts += [
                train_flops(
                    architecture,
                    replace(self.plan, **CACHED_SHARES.get(state, {})),
                    TokenTotals(**sums),
                )
                for state, sums in token_counts.items()
            ]
        return sum_flops(parts)


def list_variants(settings: Mapping[str, Any]) -> list[str]:
    """List all variants: those of SLQ, then the preset's methods that change the backbone."""
    methods = [name for name in list_methods() if name in settings["hyperparameters"]]
    return [*SLQ_VARIANTS, *(name for name in methods if find_method(name).changes_backbone)]


def build_variants(
    backbone: Backbone,
    batches: Sequence[list[Pair]],
    settings: Mapping[str, Any],
    names: Sequence[str],
    folder: Path,
) -> list[StepVariant]:
    """Build the named variants in order, all on one copy of the frozen weights.

    Args:
        batches: one batch per caption of an image; `batch` trains on all of them in turn, the others on the first.
        settings: queries, hyperparameters (by method), micro_batch_size, grad_cache, temperature, and the methods with
            gradient_checkpointing.
        folder: the folder that `kv_disk` writes its shard to and reads from.
    """
    first = batches[0]
    readers = build_batch_readers(backbone, batches, names, folder)
    queries = initial_queries(settings["queries"], backbone.hidden_size, "normal", torch.Generator().manual_seed(1))
    slq = LatentQueryRetriever(backbone, queries)
    plan = ComputePlan(num_trainable=queries.numel(), num_queries=settings["queries"])
    architecture = read_architecture(settings["architecture"])
    step_settings = {key: settings[key] for key in ("micro_batch_size", "grad_cache", "temperature")}

    def build_variant(name: str) -> StepVariant:
        """Build the variant with a given name."""
        if name not in SLQ_VARIANTS:
            if name not in settings["hyperparameters"]:
                expected = ", ".join(list_variants(settings))
                raise SlqError(f"--variants {name}: expected any of {expected}; a method must be one of the preset's")
            retriever = build_retriever(name, share_weights(backbone), settings["hyperparameters"][name], seed=1)
            upcast_trainable_parameters(retriever)
            checkpointing = name in settings["gradient_checkpointing"]
            if checkpointing:
                enable_gradient_checkpointing(retriever, name)
            own_plan = replace(method_plan(settings, name, architecture), checkpointing=checkpointing)
            return StepVariant(name, retriever, lambda: [first], own_plan, step_settings)
        if name == "reference":
            released_plan = replace(plan, whole_sequence=True)
            return StepVariant(
                name, WholeSequenceRetriever(backbone, queries), lambda: [first], released_plan, step_settings
            )
        return StepVariant(name, slq, readers[name], plan, step_settings)

    return [build_variant(name) for name in names]


def build_batch_readers(
    backbone: Backbone, batches: Sequence[list[Pair]], names: Sequence[str], folder: Path
) -> dict[str, BatchReader]:
    """Build a function that reads the batches for each image cache in `names`; arguments as in `build_variants`."""
    first = batches[0]
    images = [pair.image for pair in first if isinstance(pair.image, TokenizedMessage)]
    readers: dict[str, BatchReader] = {
        "none": lambda: [first],
        "batch": lambda: [first, *(replace_images(batch, [None] * len(batch)) for batch in batches[1:])],
    }
    if "features" in names:
        images_with_features = zip(images, VisionFeatureBackend().cache_images(backbone, images), strict=True)
        messages = [
            TokenizedMessage(one.ids, (VisionFeatureBackend().to_processed_image(cached_image),))
            for one, cached_image in images_with_features
        ]
        with_features = replace_images(first, messages)
        readers["features"] = lambda: [with_features]
    if "kv" in names:
        cached_messages = [
            CACHE_BACKENDS["kv"].to_message(backbone, cached_image, "")
            for cached_image in CACHE_BACKENDS["kv"].cache_images(backbone, images)
        ]
        readers["kv"] = lambda: [replace_images(first, cached_messages)]
    if "kv_disk" in names:
        shard = folder / "bench.safetensors"
        write_shard(shard, CACHE_BACKENDS["kv"].cache_images(backbone, images))
        readers["kv_disk"] = lambda: [replace_images(first, read_prefixes_from_disk(backbone, shard, len(images)))]
    return readers


def read_prefixes_from_disk(backbone: Backbone, path: Path, count: int) -> list[Message]:
    """Read the messages of cached images from a shard that is first dropped from the page cache; verify every hash."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    shard = Shard(path)
    return [CACHE_BACKENDS["kv"].to_message(backbone, shard.read(number), "") for number in range(count)]
