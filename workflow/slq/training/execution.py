"""Execution of training: FSDP2, gradient clipping and checkpointing, float32 trained parameters, determinism.

With FSDP2 each process of a run holds a part of every weight, gradient and optimizer moment of the language model. A
layer is gathered when it runs and resharded afterwards; its gradient is summed over the processes as it is resharded.
What is written by a run (a hash, a checkpoint or an adapter) is whole, and so fits any number of processes.
"""

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from slq.common.errors import SlqError
from slq.models.backbone import Backbone, is_sharded, local_shard
from slq.models.retriever import at_least_float32
from slq.training.distributed import DistributedContext


def shard_language_model(backbone: Backbone, distributed: DistributedContext) -> None:
    """Shard the language model layer by layer; the vision tower and the LM head stay whole in each process.

    All processes must call it, with the same weights. Gradients are summed, not averaged: each process back-propagates
    the gradient of its own rows in the loss of all rows.
    """
    inner = backbone.inner
    mesh = init_device_mesh(backbone.device.type, (distributed.world_size,))
    sharded_ids = {id(parameter) for parameter in inner.language_model.parameters()}
    unsharded_parameters = {parameter for parameter in inner.parameters() if id(parameter) not in sharded_ids}
    for module in (*inner.language_model.layers, inner.language_model.embed_tokens, inner):
        # The last module is resharded too; otherwise a forward after an optimizer step would use the old weights.
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=unsharded_parameters)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo supports no scaled sums
    backbone.model.tie_weights()  # an LM head tied to the embeddings still holds the unsharded ones


def clip_gradients(parameters: list[nn.Parameter], max_norm: float, distributed: DistributedContext) -> Tensor:
    """Scale all gradients so that their joint norm is at most `max_norm`.

    Torch's clip_grad_norm_ does not accept sharded and unsharded gradients together.

    Returns:
        the norm before scaling.
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
    """Convert the trained parameters to float32 at least, because steps of 1e-5 are lost in bfloat16.

    The backbone still computes in its own dtype.
    """
    for parameter in retriever.trainable_parameters():
        if parameter.dtype != at_least_float32(parameter.dtype):
            parameter.data = parameter.data.to(at_least_float32(parameter.dtype))
            retriever.backbone.mixed_precision = True


def enable_gradient_checkpointing(retriever: Any, method: str) -> None:
    """Store only the inputs of the language model's layers, and run each layer again in the backward.

    Raises:
        SlqError: the method uses the KV cache of the prefix: a layer that ran again would write it twice.
    """
    if retriever.reuses_kv_cache:
        raise SlqError(
            f"training.gradient_checkpointing is on, and {method} needs the prefix's cache; turn it off for {method}: "
            f"backbones.<name>.runs.{method}.training.gradient_checkpointing"
        )
    language_model = retriever.backbone.inner.language_model
    language_model.activation_checkpointing_enable({"use_reentrant": False})
    # Gradients of the embeddings are for reentrant checkpoints, and cost a backward.
    language_model.disable_input_require_grads()
    for layer in language_model.layers:
        layer.training = True  # required by transformers; the modules in the layer stay in eval mode, without dropout


def enable_determinism() -> None:
    """Make a run on a GPU give the same bytes each time too, with slower, deterministic kernels.

    An operation without such a kernel raises an error that names it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
