"""Execution of training: FSDP2, gradient clipping, gradient checkpointing, float32 parameters, determinism.

FSDP2 is PyTorch's `fully_shard` (fully sharded data parallel, Zhao et al. 2023). Each process stores a shard of every
weight, gradient and optimizer moment of the language model. A layer's weights are all-gathered before it runs and
resharded afterwards; its gradients are reduce-scattered (summed). Hashes, checkpoints and adapters are computed from
full tensors, so they do not depend on the number of processes.
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
    """Shard the language model layer by layer with FSDP2; vision tower and LM head are replicated in each process.

    All processes must call this function, with the same weights. Gradients are summed, not averaged, because each
    process back-propagates the gradient of the global loss with respect to its own rows.
    """
    inner = backbone.inner
    mesh = init_device_mesh(backbone.device.type, (distributed.world_size,))
    sharded_ids = {id(parameter) for parameter in inner.language_model.parameters()}
    unsharded_parameters = {parameter for parameter in inner.parameters() if id(parameter) not in sharded_ids}
    for module in (*inner.language_model.layers, inner.language_model.embed_tokens, inner):
        # The root module is resharded too; otherwise a forward pass after an optimizer step would use old weights.
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=unsharded_parameters)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo does not support scaled sums
    backbone.model.tie_weights()  # an LM head tied to the embeddings still refers to the unsharded embeddings


def clip_gradients(parameters: list[nn.Parameter], max_norm: float, distributed: DistributedContext) -> Tensor:
    """Clip gradients in place to a global L2 norm of at most `max_norm`.

    This replaces torch's clip_grad_norm_, which does not accept sharded and unsharded gradients together.

    Returns:
        the global norm before clipping.
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
    """Convert the trained parameters to at least float32, because updates of about 1e-5 are rounded away in bfloat16.

    The forward pass still computes in the backbone's dtype, by autocast.
    """
    for parameter in retriever.trainable_parameters():
        if parameter.dtype != at_least_float32(parameter.dtype):
            parameter.data = parameter.data.to(at_least_float32(parameter.dtype))
            retriever.backbone.mixed_precision = True


def enable_gradient_checkpointing(retriever: Any, method: str) -> None:
    """Enable gradient checkpointing (Chen et al. 2016) of the language model's layers.

    Only the layers' inputs are stored, and each layer runs again in the backward pass.

    Raises:
        SlqError: the method continues from the KV cache of a prefix, which a layer that runs again would update twice.
    """
    if retriever.reuses_kv_cache:
        raise SlqError(
            f"training.gradient_checkpointing is on, but {method} needs the prefix's KV cache, which does not allow "
            f"it; turn it off for {method}: backbones.<name>.runs.{method}.training.gradient_checkpointing"
        )
    language_model = retriever.backbone.inner.language_model
    language_model.activation_checkpointing_enable({"use_reentrant": False})
    # Only reentrant checkpointing needs gradients of the input embeddings; here they would cost extra computation.
    language_model.disable_input_require_grads()
    for layer in language_model.layers:
        layer.training = True  # required by transformers; the modules in the layer stay in eval mode, without dropout


def enable_determinism() -> None:
    """Make GPU runs bit-for-bit reproducible, with deterministic kernels, which are slower.

    An operation without a deterministic kernel raises an error that names the operation.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
