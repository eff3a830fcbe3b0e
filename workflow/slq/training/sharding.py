"""A language model spread over the processes of a run (FSDP2): each holds a part of every weight, gradient and moment.

A layer is put together when it runs and taken apart again; its gradient is summed over the processes as it is taken
apart. What leaves a run, a hash, a checkpoint or an adapter, is whole, and so fits any number of processes.
"""

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from slq.common.errors import SlqError
from slq.models.backbone import Backbone, is_sharded, local
from slq.models.retriever import LastTokenRetriever, precise
from slq.training.distributed import Processes


def shard(backbone: Backbone, processes: Processes) -> None:
    """Spread the language model, layer by layer; the vision tower and the LM head stay whole in each process.

    All processes call it, with the same weights. Gradients are summed, not averaged: each process carries back the
    gradient of its own rows in a loss of all.
    """
    inner = backbone.inner
    mesh = init_device_mesh(backbone.device.type, (processes.count,))
    spread = {id(parameter) for parameter in inner.language_model.parameters()}
    others = {parameter for parameter in inner.parameters() if id(parameter) not in spread}
    for part in (*inner.language_model.layers, inner.language_model.embed_tokens, inner):
        # Also what runs last is taken apart again: an optimizer's step between two forwards would go unseen else.
        fully_shard(part, mesh=mesh, reshard_after_forward=True, ignored_params=others)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums
    backbone.model.tie_weights()  # an LM head that is the embeddings still holds the old ones


def clip_gradients(parameters: list[nn.Parameter], limit: float, processes: Processes) -> Tensor:
    """Scale all gradients so that their norm is at most `limit`; returns the norm before.

    Torch's clip_grad_norm_ does not take sharded gradients and others together.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    parts = [local(gradient) for gradient in gradients if is_sharded(gradient)]
    others = [gradient for gradient in gradients if not is_sharded(gradient)]
    squares = nn.utils.get_total_norm(others).square()
    if parts:
        of_parts = nn.utils.get_total_norm(parts).square()
        processes.add([of_parts])
        squares = squares + of_parts
    norm = squares.sqrt()
    scale = torch.clamp(limit / (norm + 1e-6), max=1.0)
    for gradient in (*parts, *others):
        gradient.mul_(scale)
    return norm


def hold_precisely(retriever: Any) -> None:
    """Hold what is trained in float32 at least: steps of 1e-5 are lost in bfloat16. The backbone computes as before."""
    for parameter in retriever.trainable():
        if parameter.dtype != precise(parameter.dtype):
            parameter.data = parameter.data.to(precise(parameter.dtype))
            retriever.backbone.mixed = True


def recompute_layers(retriever: Any) -> None:
    """Hold only the inputs of the language model's layers, and run each again for its gradient.

    Raises:
        SlqError: the method reads the prefix from a cache, which a layer that runs again would write twice.
    """
    if not isinstance(retriever, LastTokenRetriever):
        raise SlqError(
            "training.gradient_checkpointing is on, and SLQ needs the prefix's cache; turn it off for slq: "
            "backbones.<name>.runs.slq.training.gradient_checkpointing"
        )
    language = retriever.backbone.inner.language_model
    language.activation_checkpointing_enable({"use_reentrant": False})
    language.disable_input_require_grads()  # of embeddings, which is for reentrant checkpoints, and costs a backward
    for layer in language.layers:
        layer.training = True  # what transformers asks for; what is in the layer stays in eval mode, without dropout


def compute_deterministically() -> None:
    """The same bytes from the same run on a GPU too, where there are slower kernels for it; else an error names one."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
