"""A run's base, and what it has learned, in PEFT's form: `PeftModel.from_pretrained` on the model without LM head."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, TrainableTokensConfig
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.methods.registry import LORA_TARGETS, TENSORS

FOLDER = "base"  # of a base that is on no hub, in the export
PREFIX = "base_model.model."  # of every name in PEFT's files


@dataclass(frozen=True)
class Base:
    """A backbone as an export names it, so that whoever loads it has the bytes that were trained on.

    Attributes:
        model, revision: on the hub, and the commit; None of one that is on none.
        weights: sha256 of its safetensors, by file.
        embedding: name of the token embedding in the model without LM head.
        rows, width: of its matrix.
        scale: what it multiplies a row by, as Gemma's does.
    """

    model: str | None
    revision: str | None
    weights: dict[str, str]
    embedding: str
    rows: int
    width: int
    scale: float = 1.0


def read_base(snapshot: Path) -> tuple[Base, Any]:
    """Describe a backbone from its manifest and configuration, and load its tokenizer; no weight is read.

    Raises:
        SlqError: a file of the snapshot is missing or unreadable.
    """
    manifest = read_json(snapshot / "manifest.json")
    weights = {name: sha256 for name, sha256 in manifest["files"].items() if name.endswith(".safetensors")}
    try:
        config = AutoConfig.from_pretrained(snapshot, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(snapshot, local_files_only=True, padding_side="left")
    except (OSError, ValueError) as error:
        raise SlqError(
            f"{snapshot}: expected the config.json and the tokenizer of the backbone; fetch or make it again: "
            f"{' '.join(str(error).split())}"
        ) from error
    with torch.device("meta"):
        skeleton = AutoModel.from_config(config)
    embedding = skeleton.get_input_embeddings()
    name = next(name for name, module in skeleton.named_modules() if module is embedding)
    # Its buffer has no value on this device; beside it stands the number.
    scale = float(getattr(embedding, "scalar_embed_scale", 1.0))
    rows, width = embedding.weight.shape
    return Base(*_address(manifest["source"]), weights, name, rows, width, scale), tokenizer


def _address(source: dict[str, Any]) -> tuple[str | None, str | None]:
    """Name and commit on the hub of what a snapshot was fetched from, if it was (slq.sources.fetch)."""
    for part in source.get("parts", []):
        kind, _, place = part["from"].partition(":")
        if kind == "model":
            return place.rpartition("@")[0], part["commit"]
    return None, None


def add_queries(tokenizer: Any, count: int) -> list[int]:
    """Add `count` query tokens to a tokenizer, and to the end of its chat template; return their ids, ascending.

    Every ordinary processor then writes them.

    Raises:
        SlqError: the tokenizer has such tokens, or no one chat template.
    """
    names = [f"<|query_{number}|>" for number in range(count)]
    where = tokenizer.name_or_path
    if taken := set(names) & set(tokenizer.get_vocab()):
        raise SlqError(f"{where}: the tokenizer has tokens named {min(taken)}; a base without them was expected")
    if not isinstance(tokenizer.chat_template, str):
        raise SlqError(f"{where}: expected one chat template, found {type(tokenizer.chat_template).__name__}")
    tokenizer.add_tokens(names, special_tokens=True)
    tokenizer.chat_template += f"{{% if add_generation_prompt %}}{''.join(names)}{{% endif %}}"
    ids: list[int] = tokenizer.convert_tokens_to_ids(names)
    return ids


def write_queries(weights: Path, base: Base, ids: list[int], out: Path, dtype: str = "float32") -> None:
    """Write SLQ's queries (N, d) as the embeddings of the tokens `ids`: PEFT's TRAINABLE_TOKENS, in float32.

    They follow a prefix as they are, while an embedding that scales its rows will multiply them: they are divided by
    its scale, in the precision `dtype` that it multiplies in.

    Raises:
        SlqError: the run's tensors are not queries of that number and width.
    """
    tensors = load_file(weights / TENSORS)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != {"queries": (len(ids), base.width)}:
        raise SlqError(f"{weights / TENSORS}: holds {shapes}, expected queries {len(ids)} x {base.width}")
    scale = torch.tensor(base.scale, dtype=getattr(torch, dtype)).to(tensors["queries"].dtype)
    named = {f"{base.embedding}.trainable_tokens_delta": tensors["queries"] / scale}
    _write(TrainableTokensConfig(token_indices=ids), named, base, out)


def write_lora(weights: Path, tuning: dict[str, float], base: Base, out: Path) -> None:
    """Write the matrices of LoRA, renamed: ours are named in the model with LM head, PEFT's without."""
    config = LoraConfig(
        r=int(tuning["rank"]),
        lora_alpha=int(tuning["alpha"]),
        lora_dropout=tuning["dropout"],
        target_modules=LORA_TARGETS,
    )
    tensors = load_file(weights / TENSORS)
    renamed = {name.removeprefix("model.").replace(".default.", "."): tensor for name, tensor in tensors.items()}
    _write(config, renamed, base, out)


def _write(config: PeftConfig, tensors: dict[str, Tensor], base: Base, out: Path) -> None:
    config.base_model_name_or_path, config.revision = base.model or FOLDER, base.revision
    config.inference_mode = True
    config.save_pretrained(str(out))
    named = {PREFIX + name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(named, out / "adapter_model.safetensors", metadata={"format": "pt"})
