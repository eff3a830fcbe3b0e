"""A backbone on disk and in memory: a hub snapshot's folder, loaded the same way wherever it came from."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.utils import logging

from slq.data.snapshots import require_weights
from slq.errors import SlqError
from slq.models.family import Family, load_family
from slq.models.shards import whole

logging.disable_progress_bar()  # a bar per loaded file drowns the run's own lines in a log


class Backbone:
    """A multimodal LLM with its tokenizer and image processor, in eval mode.

    Attributes:
        model: the `…ForConditionalGeneration` model.
        inner: the same without the LM head, which costs 8 to 38 % more FLOPs and is never needed for an embedding.
        width: hidden size of the language model, d.
        mixed: whether trained weights are held in more precision than the others, in which it computes.
    """

    def __init__(self, model: Any, tokenizer: Any, family: Family) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.family = family
        self.mixed = False
        self.tokenizer.padding_side = "left"  # the queries follow every row's last token
        self.model.eval()

    @property
    def inner(self) -> Any:
        return self.model.model

    @property
    def width(self) -> int:
        return self.model.config.get_text_config().hidden_size

    def computing(self) -> torch.autocast:
        """A context for the model's forward: in the dtype of the weights that are not trained."""
        return torch.autocast(self.device.type, self.model.dtype, enabled=self.mixed)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @classmethod
    def load(cls, folder: Path, family: str, dtype: str = "float32", device: str = "cpu") -> "Backbone":
        """Load a snapshot's folder; never touches the network, never runs code that came with the weights.

        Raises:
            SlqError: the folder holds no weights, or weights that do not fit its configuration, or a model of a class
                that is laid out in another way.
        """
        model = load_weights(AutoModelForImageTextToText, folder, getattr(torch, dtype))
        if not hasattr(model, "model"):
            raise SlqError(f"{folder}: {type(model).__name__} has no model.model without LM head (docs/backbones.md)")
        # The PIL backend is pinned: torchvision's resize differs by up to 0.03 and may or may not be installed.
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(model.to(device), tokenizer, load_family(family, model.config, processor))


def load_weights(auto_class: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A model of transformers from a snapshot's safetensors, every weight of it; offline, without code of the snapshot.

    Raises:
        SlqError: the folder holds no weights, or weights that do not fit its configuration.
    """
    require_weights(folder)
    model, info = auto_class.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # told below, with the others
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            raise SlqError(f"{folder}: {kind.replace('_', ' ')} when loading the weights: {sorted(info[kind])[:5]}")
    return model


def attend(backbone: Backbone, attention: str) -> None:
    """Choose the implementation of attention.

    Raises:
        SlqError: its package is not installed, or the model has none.
    """
    try:
        backbone.model.set_attn_implementation(attention)
    except (ImportError, ValueError) as error:
        raise SlqError(f"training.attention is {attention}, which does not work here: {error}; use sdpa") from error


def own_weights(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """A backbone's own parameters under their own names; LoRA's are left out."""
    named = model.named_parameters()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in named if "lora_" not in name}


def hash_weights(model: torch.nn.Module) -> str:
    """sha256 over the names, dtypes and bytes of a backbone's own weights, in order of name.

    Of a sharded one all processes call it.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(own_weights(model).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(whole(tensor).contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pick_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"
