"""How a backbone computes while it is trained: its precision, what it holds for the gradient."""

import os
from typing import Any

import torch

from slq.errors import SlqError
from slq.models.retriever import LastTokenRetriever, precise


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
