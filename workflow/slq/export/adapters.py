"""What a run has learned, in PEFT's form: for `PeftModel.from_pretrained` on the model without LM head."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, TrainableTokensConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from slq.errors import SlqError
from slq.export.base import Base
from slq.models.methods import LORA_TARGETS

PREFIX = "base_model.model."  # of every name in PEFT's files


def write_queries(weights: Path, base: Base, ids: list[int], out: Path, dtype: str = "float32") -> None:
    """SLQ's queries (N, d) as the embeddings of the tokens `ids`: PEFT's TRAINABLE_TOKENS, in float32.

    They follow a prefix as they are, while an embedding that scales its rows will multiply them: they are divided by
    its scale, in the precision `dtype` that it multiplies in.

    Raises:
        SlqError: the run's tensors are not queries of that number and width.
    """
    tensors = load_file(weights / "adapter.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != {"queries": (len(ids), base.width)}:
        raise SlqError(f"{weights}/adapter.safetensors: holds {shapes}, expected queries {len(ids)} x {base.width}")
    config = TrainableTokensConfig(token_indices=ids)
    scale = torch.tensor(base.scale, dtype=getattr(torch, dtype)).to(tensors["queries"].dtype)
    _write(config, {f"{base.embedding}.trainable_tokens_delta": tensors["queries"] / scale}, base, out)


def write_lora(weights: Path, tuning: dict[str, float], base: Base, out: Path) -> None:
    """The matrices of LoRA, renamed: ours are named in the model with LM head, PEFT's without."""
    tensors = load_file(weights / "adapter.safetensors")
    config = LoraConfig(
        r=int(tuning["rank"]),
        lora_alpha=int(tuning["alpha"]),
        lora_dropout=tuning["dropout"],
        target_modules=LORA_TARGETS,
    )
    renamed = {name.removeprefix("model.").replace(".default.", "."): tensor for name, tensor in tensors.items()}
    _write(config, renamed, base, out)


def _write(config: PeftConfig, tensors: dict[str, Tensor], base: Base, out: Path) -> None:
    config.base_model_name_or_path, config.revision = base.name, base.revision
    config.inference_mode = True
    config.save_pretrained(str(out))
    named = {PREFIX + name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(named, out / "adapter_model.safetensors", metadata={"format": "pt"})
