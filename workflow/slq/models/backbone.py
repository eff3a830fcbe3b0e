"""Multimodal LLM backbones: loading from a snapshot folder, hashing and gathering weights, and reusing KV caches."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.utils import logging

from slq.common.errors import SlqError
from slq.common.files import one_line
from slq.common.snapshots import require_weights
from slq.models.families import load_family
from slq.models.family import Family
from slq.models.turn import TextTokenizer

# Classes of KV-cache layers that keep their whole state in attributes and, on an update, rebind the attributes instead
# of modifying tensors in place. Restoring the attributes therefore restores the state before a forward pass.
RESTORABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
logging.disable_progress_bar()  # in a log file, one bar per loaded file would hide the run's own lines


class Backbone:
    """A multimodal LLM with its tokenizer and image processor, in eval mode.

    Attributes:
        model: the `…ForConditionalGeneration` model.
        inner: the same model without its LM head. An embedding never needs the LM head, which would cost 8 to 38 %
            more FLOPs.
        text_tokenizer: the tokenizer, wrapped so that user text never produces control tokens.
        hidden_size: hidden size d of the language model.
        num_embeddings: number of rows of the token-embedding matrix.
        mixed_precision: whether the trainable weights have a higher precision than the frozen weights. The forward pass
            then uses autocast to the dtype of the frozen weights.
    """

    def __init__(self, model: Any, tokenizer: Any, family: Family) -> None:
        """Put the model in eval mode and set the tokenizer to left padding."""
        self.model = model
        self.tokenizer = tokenizer
        self.text_tokenizer = TextTokenizer(tokenizer)
        self.family = family
        self.mixed_precision = False
        self.tokenizer.padding_side = "left"  # the latent queries follow the last token of every row
        self.model.eval()

    @property
    def inner(self) -> Any:
        """Model without its LM head."""
        return self.model.model

    @property
    def hidden_size(self) -> int:
        """Hidden size d of the language model."""
        return self.model.config.get_text_config().hidden_size

    @property
    def num_embeddings(self) -> int:
        """Number of rows of the token-embedding matrix."""
        return self.model.get_input_embeddings().weight.shape[0]

    def autocast(self) -> torch.autocast:
        """Return an autocast context for the forward pass, in the dtype of the frozen weights."""
        return torch.autocast(self.device.type, self.model.dtype, enabled=self.mixed_precision)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    @classmethod
    def load(cls, folder: Path, family: str, dtype: str = "float32", device: str = "cpu") -> "Backbone":
        """Load a backbone from a snapshot folder, offline and without running code shipped with the weights.

        Raises:
            SlqError: the folder has no weights, the weights do not match the model's configuration, or the model class
                has no `model.model` (the model without its LM head).
        """
        model = load_pretrained(AutoModelForImageTextToText, folder, getattr(torch, dtype))
        if not hasattr(model, "model"):
            raise SlqError(
                f"{folder}: {type(model).__name__} has no `model.model`, the model without its LM head, which a "
                "backbone needs (docs/backbones.md)"
            )
        processor, tokenizer = load_processors(folder)
        return cls(model.to(device), tokenizer, load_family(family, model.config, processor))


def load_processors(folder: Path) -> tuple[Any, Any]:
    """Load the image processor and the tokenizer of a snapshot folder."""
    # The PIL backend is pinned because torchvision's resize differs by up to 0.03, and torchvision is optional.
    return load_part(AutoImageProcessor, folder, backend="pil"), load_part(AutoTokenizer, folder)


@contextmanager
def wrap_transformers_errors(subject: str, advice: str) -> Iterator[None]:
    """Convert any exception that transformers raises into an SlqError: `subject`, transformers' message, `advice`."""
    try:
        yield
    except (SlqError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # transformers has no common error class: a KeyError, even a ZeroDivisionError occurs
        reason = one_line(error)
        raise SlqError(f"{subject}: transformers: {type(error).__name__}: {reason}; {advice}") from error


def load_part(auto_class: Any, folder: Path, **options: Any) -> Any:
    """Load a model, tokenizer or image processor from a snapshot folder, offline."""
    with wrap_transformers_errors(str(folder), "fetch or make it again"):
        return auto_class.from_pretrained(folder, local_files_only=True, **options)


def save_part(part: Any, folder: Path) -> None:
    """Save a model or tokenizer into a folder."""
    try:
        part.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise SlqError(f"{folder}: cannot be written: {error}; free disk space") from error


def load_pretrained(auto_class: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Load a transformers model from the safetensors of a snapshot folder, offline and without running shipped code.

    Raises:
        SlqError: weights are missing, damaged, or do not match the model's configuration (missing, unexpected or
            mismatched keys).
    """
    require_weights(folder)
    model, loading_info = load_part(
        auto_class,
        folder,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, with the missing and unexpected keys
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading_info[kind]:
            raise SlqError(
                f"{folder}: {kind.replace('_', ' ')} while loading the weights: {sorted(loading_info[kind])[:5]}; the "
                "weights do not match config.json"
            )
    return model


def set_attention_implementation(backbone: Backbone, attention: str) -> None:
    """Set a backbone's attention implementation, `training.attention` in config.yaml."""
    try:
        backbone.model.set_attn_implementation(attention)
    except (ImportError, ValueError) as error:
        raise SlqError(f"training.attention is {attention}, which is not available here: {error}; use sdpa") from error


def backbone_weights(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return a backbone's own parameters by their original names, without parameters that PEFT added."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    parts = [getattr(layer, name) for layer in layers for name in layer.adapter_layer_names]
    added = {id(tensor) for part in parts for tensor in part.parameters()}
    named_parameters = model.named_parameters()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in named_parameters if id(tensor) not in added}


def hash_weights(model: torch.nn.Module) -> str:
    """Compute the SHA-256 of the names, dtypes, shapes and bytes of a backbone's own weights, sorted by name.

    If the model is sharded, this is a collective operation: every process must call it.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone_weights(model).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(full_tensor_on_cpu(tensor).contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pick_device() -> str:
    """Return `cuda` if a GPU is available, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def is_sharded(tensor: Tensor) -> bool:
    """Return whether a tensor is sharded over processes (a DTensor of FSDP2)."""
    return isinstance(tensor, DTensor)


def local_shard(tensor: Tensor) -> Tensor:
    """Return this process's shard of a tensor; a tensor that is not sharded is returned unchanged."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_tensor_on_cpu(tensor: Tensor) -> Tensor:
    """Return the full tensor, detached and on the CPU; for a sharded tensor every process must call this function."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()


def gather_full_tensors(tensors: Mapping[str, Tensor], keep_result: bool) -> dict[str, Tensor]:
    """Gather full tensors on the CPU of the processes with `keep_result`.

    Every process must call this function. Processes without `keep_result` hold one full tensor at a time and return an
    empty dict.
    """
    full_tensors = ((name, full_tensor_on_cpu(tensor).contiguous()) for name, tensor in tensors.items())
    return {name: tensor for name, tensor in full_tensors if keep_result}


def shard_like(tensor: Tensor, reference: Tensor) -> Tensor:
    """Shard a full tensor, present in every process, with the device mesh and placements of a reference tensor.

    The tensor is returned unchanged if the reference is not sharded or has another shape.
    """
    if not isinstance(reference, DTensor) or tensor.shape != reference.shape:
        return tensor
    return distribute_tensor(
        tensor.to(reference.device), reference.device_mesh, reference.placements, src_data_rank=None
    )


def require_restorable_cache(kv_cache: Any) -> None:
    """Check that every layer of a KV cache is of a class in RESTORABLE_LAYERS, so that a prefix can be reused."""
    for layer in kv_cache.layers:
        if type(layer) not in RESTORABLE_LAYERS:
            expected = " or ".join(one.__name__ for one in RESTORABLE_LAYERS)
            raise SlqError(
                f"this backbone's KV cache has layers of the class {type(layer).__name__}, whose state cannot be "
                f"restored, so SLQ cannot reuse a prefix's KV cache; expected {expected} (docs/backbones.md)"
            )


def copy_cache_rows(kv_cache: Any, rows: Tensor) -> Any:
    """Copy the given rows (B,) of a KV cache, so that continuing from the copy leaves the original unchanged."""
    require_restorable_cache(kv_cache)
    copied = copy(kv_cache)
    copied.layers = [copy(layer) for layer in kv_cache.layers]
    for layer in copied.layers:
        layer.batch_select_indices(rows)
    return copied


@contextmanager
def borrow_kv_cache(kv_cache: Any) -> Iterator[Any]:
    """Yield a KV cache for a forward pass that continues from it; afterwards restore the state of all its layers."""
    require_restorable_cache(kv_cache)
    saved_states = [dict(vars(layer)) for layer in kv_cache.layers]
    try:
        yield kv_cache
    finally:
        for layer, state in zip(kv_cache.layers, saved_states, strict=True):
            vars(layer).clear()
            vars(layer).update(state)
