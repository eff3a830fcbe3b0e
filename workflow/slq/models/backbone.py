"""Backbones: loading a hub snapshot's folder, weights (hashed, whole or sharded), and KV caches to continue from."""

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

# Classes of KV-cache layers whose attributes are all of their state, and whose updates replace these attributes and
# never write into them. The state before a forward is therefore restored by restoring the attributes.
RESTORABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
logging.disable_progress_bar()  # a bar per loaded file drowns the run's own lines in a log


class Backbone:
    """A multimodal LLM with its tokenizer and image processor, in eval mode.

    Attributes:
        model: the `…ForConditionalGeneration` model.
        inner: the same model without the LM head, which costs 8 to 38 % more FLOPs and is never needed for an
            embedding.
        text_tokenizer: the tokenizer as it reads texts of users.
        hidden_size: hidden size of the language model, d.
        num_embeddings: number of rows of the token embedding.
        mixed_precision: whether the trained weights have a higher precision than the frozen ones; the model then
            computes in the dtype of the frozen ones.
    """

    def __init__(self, model: Any, tokenizer: Any, family: Family) -> None:
        """Put the model in eval mode and let the tokenizer pad on the left."""
        self.model = model
        self.tokenizer = tokenizer
        self.text_tokenizer = TextTokenizer(tokenizer)
        self.family = family
        self.mixed_precision = False
        self.tokenizer.padding_side = "left"  # the queries follow every row's last token
        self.model.eval()

    @property
    def inner(self) -> Any:
        """Model without the LM head."""
        return self.model.model

    @property
    def hidden_size(self) -> int:
        """Hidden size of the language model, d."""
        return self.model.config.get_text_config().hidden_size

    @property
    def num_embeddings(self) -> int:
        """Number of rows of the token embedding."""
        return self.model.get_input_embeddings().weight.shape[0]

    def autocast(self) -> torch.autocast:
        """Return a context in which the model's forward computes in the dtype of the weights that are not trained."""
        return torch.autocast(self.device.type, self.model.dtype, enabled=self.mixed_precision)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    @classmethod
    def load(cls, folder: Path, family: str, dtype: str = "float32", device: str = "cpu") -> "Backbone":
        """Load a snapshot's folder.

        The network is never accessed, and code that came with the weights is never run.

        Raises:
            SlqError: the folder holds no weights, or weights that do not fit its configuration, or the model's class
                has no `model.model` without an LM head.
        """
        model = load_pretrained(AutoModelForImageTextToText, folder, getattr(torch, dtype))
        if not hasattr(model, "model"):
            raise SlqError(f"{folder}: {type(model).__name__} has no model.model without LM head (docs/backbones.md)")
        processor, tokenizer = load_processors(folder)
        return cls(model.to(device), tokenizer, load_family(family, model.config, processor))


def load_processors(folder: Path) -> tuple[Any, Any]:
    """Load the image processor and the tokenizer of a snapshot.

    Raises:
        SlqError: a file of it is missing or damaged.
    """
    # The PIL backend is pinned: torchvision's resize differs by up to 0.03 and may or may not be installed.
    return load_part(AutoImageProcessor, folder, backend="pil"), load_part(AutoTokenizer, folder)


@contextmanager
def wrap_transformers_errors(subject: str, advice: str) -> Iterator[None]:
    """Raise an SlqError for whatever transformers raises: its message, about `subject`, with `advice`."""
    try:
        yield
    except (SlqError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # its parts raise whatever they meet: a missing key, a division by zero
        reason = one_line(error)
        raise SlqError(f"{subject}: transformers: {type(error).__name__}: {reason}; {advice}") from error


def load_part(auto_class: Any, folder: Path, **options: Any) -> Any:
    """Load a model, tokenizer or image processor of a snapshot's folder; the network is never accessed.

    Raises:
        SlqError: transformers cannot load it.
    """
    with wrap_transformers_errors(str(folder), "fetch or make it again"):
        return auto_class.from_pretrained(folder, local_files_only=True, **options)


def save_part(part: Any, folder: Path) -> None:
    """Save a model or tokenizer into a folder.

    Raises:
        SlqError: it cannot be written, e.g. because the disk is full.
    """
    try:
        part.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise SlqError(f"{folder}: cannot be written: {error}; make room") from error


def load_pretrained(auto_class: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Load a transformers model with all its weights from a snapshot's safetensors.

    The network is never accessed, and code that came with the weights is never run.

    Raises:
        SlqError: the folder holds no weights, or damaged ones, or weights that do not fit its configuration.
    """
    require_weights(folder)
    model, loading_info = load_part(
        auto_class,
        folder,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, with the others
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading_info[kind]:
            raise SlqError(
                f"{folder}: {kind.replace('_', ' ')} when loading the weights: {sorted(loading_info[kind])[:5]}"
            )
    return model


def set_attention_implementation(backbone: Backbone, attention: str) -> None:
    """Set the implementation of attention.

    Raises:
        SlqError: the package of this implementation is not installed, or the model does not support it.
    """
    try:
        backbone.model.set_attn_implementation(attention)
    except (ImportError, ValueError) as error:
        raise SlqError(f"training.attention is {attention}, which does not work here: {error}; use sdpa") from error


def backbone_weights(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return a backbone's own parameters under their own names, without those that PEFT added."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    parts = [getattr(layer, name) for layer in layers for name in layer.adapter_layer_names]
    added = {id(tensor) for part in parts for tensor in part.parameters()}
    named_parameters = model.named_parameters()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in named_parameters if id(tensor) not in added}


def hash_weights(model: torch.nn.Module) -> str:
    """Compute the sha256 of the names, dtypes, shapes and bytes of a backbone's own weights, in order of name.

    If the model is sharded, all processes must call it.
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
    """Return whether a tensor is sharded over processes."""
    return isinstance(tensor, DTensor)


def local_shard(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds; a tensor that is not sharded is returned unchanged."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_tensor_on_cpu(tensor: Tensor) -> Tensor:
    """Return a whole tensor, without gradient, on the CPU; if it is sharded, all processes must call it together."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()


def gather_full_tensors(tensors: Mapping[str, Tensor], keep_result: bool) -> dict[str, Tensor]:
    """Gather each tensor whole, on the CPU, in the processes with `keep_result`.

    The other processes take part, hold one whole tensor at a time, and get an empty dict.
    """
    full_tensors = ((name, full_tensor_on_cpu(tensor).contiguous()) for name, tensor in tensors.items())
    return {name: tensor for name, tensor in full_tensors if keep_result}


def shard_like(tensor: Tensor, reference: Tensor) -> Tensor:
    """Shard a whole tensor, which every process has, in the way of a reference tensor.

    The tensor is returned unchanged if the reference is not sharded or has another shape.
    """
    if not isinstance(reference, DTensor) or tensor.shape != reference.shape:
        return tensor
    return distribute_tensor(
        tensor.to(reference.device), reference.device_mesh, reference.placements, src_data_rank=None
    )


def require_restorable_cache(kv_cache: Any) -> None:
    """Check that a KV cache can be restored after a forward has continued from it.

    Raises:
        SlqError: a layer is of a class whose state cannot be restored; the class is named.
    """
    for layer in kv_cache.layers:
        if type(layer) not in RESTORABLE_LAYERS:
            expected = " or ".join(one.__name__ for one in RESTORABLE_LAYERS)
            raise SlqError(
                f"this backbone's KV cache has layers of the class {type(layer).__name__}, whose state cannot be put "
                f"back: no prefix of it can be read twice, as SLQ does; expected {expected} (docs/backbones.md)"
            )


def copy_cache_rows(kv_cache: Any, rows: Tensor) -> Any:
    """Copy some rows of a KV cache, so that continuing from the copy leaves the original unchanged.

    Raises:
        SlqError: as `require_restorable_cache`.
    """
    require_restorable_cache(kv_cache)
    copied = copy(kv_cache)
    copied.layers = [copy(layer) for layer in kv_cache.layers]
    for layer in copied.layers:
        layer.batch_select_indices(rows)
    return copied


@contextmanager
def borrow_kv_cache(kv_cache: Any) -> Iterator[Any]:
    """Yield a KV cache to continue from, and restore the whole state of its layers afterwards.

    Raises:
        SlqError: as `require_restorable_cache`.
    """
    require_restorable_cache(kv_cache)
    saved_states = [dict(vars(layer)) for layer in kv_cache.layers]
    try:
        yield kv_cache
    finally:
        for layer, state in zip(kv_cache.layers, saved_states, strict=True):
            vars(layer).clear()
            vars(layer).update(state)
