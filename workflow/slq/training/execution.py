"""How training is executed: FSDP2, clipped gradients, trained parameters upcast, checkpointed layers, determinism.

With FSDP2 each process of a run holds a part of every weight, gradient and moment of the language model. A layer is put
together when it runs and taken apart again; its gradient is summed over the processes as it is taken apart. What leaves
a run, a hash, a checkpoint or an adapter, is whole, and so fits any number of processes.
"""

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from slq.common.errors import SlqError
from slq.models.backbone import Backbone, is_sharded, local_shard
from slq.models.retriever import LastTokenRetriever, at_least_float32
from slq.training.distributed import DistributedContext


def shard_language_model(backbone: Backbone, distributed: DistributedContext) -> None:
    """Spread the language model, layer by layer; the vision tower and the LM head stay whole in each process.

    All processes call it, with the same weights. Gradients are summed, not averaged: each process carries back the
    gradient of its own rows in a loss of all.
    """
    inner = backbone.inner
    mesh = init_device_mesh(backbone.device.type, (distributed.world_size,))
    sharded_ids = {id(parameter) for parameter in inner.language_model.parameters()}
    unsharded_parameters = {parameter for parameter in inner.parameters() if id(parameter) not in sharded_ids}
    for module in (*inner.language_model.layers, inner.language_model.embed_tokens, inner):
        # Also what runs last is taken apart again: an optimizer's step between two forwards would go unseen else.
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=unsharded_parameters)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums
    backbone.model.tie_weights()  # an LM head that is the embeddings still holds the old ones


def clip_gradients(parameters: list[nn.Parameter], max_norm: float, distributed: DistributedContext) -> Tensor:
    """Scale all gradients so that their norm is at most `max_norm`; returns the norm before.

    Torch's clip_grad_norm_ does not take sharded gradients and others together.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sharded_gradients = [local_shard(gradient) for gradient in gradients if is_sharded(gradient)]
    full_gradients = [gradient for gradient in gradients if not is_sharded(gradient)]
    squared_norm = nn.utils.get_total_norm(full_gradients).square()
    if sharded_gradients:
        sharded_squared_norm = nn.utils.get_total_norm(sharded_gradients).square()
        distributed.all_reduce_sum([sharded_squared_norm])
        squared_norm = squared_norm + sharded_squared_norm
    norm = squared_norm.sqrt()
    scale = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for gradient in (*sharded_gradients, *full_gradients):
        gradient.mul_(scale)
    return norm


def upcast_trainable_parameters(retriever: Any) -> None:
    """Hold what is trained in float32 at least: steps of 1e-5 are lost in bfloat16. The backbone computes as before."""
    for parameter in retriever.trainable_parameters():
        if parameter.dtype != at_least_float32(parameter.dtype):
            parameter.data = parameter.data.to(at_least_float32(parameter.dtype))
            retriever.backbone.mixed_precision = True


def enable_gradient_checkpointing(retriever: Any) -> None:
    """Hold only the inputs of the language model's layers, and run each again for its gradient.

    Raises:
        SlqError: the method reads the prefix from a cache, which a layer that runs again would write twice.
    """
    if not isinstance(retriever, LastTokenRetriever):
        raise SlqError(
            "training.gradient_checkpointing is on, and SLQ needs the prefix's cache; turn it off for slq: "
            "backbones.<name>.runs.slq.training.gradient_checkpointing"
        )
    language_model = retriever.backbone.inner.language_model
    language_model.activation_checkpointing_enable({"use_reentrant": False})
    # Of embeddings, which is for reentrant checkpoints, and costs a backward.
    language_model.disable_input_require_grads()
    for layer in language_model.layers:
        layer.training = True  # what transformers asks for; what is in the layer stays in eval mode, without dropout


def enable_determinism() -> None:
    """The same bytes from the same run on a GPU too, where there are slower kernels for it; else an error names one."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
