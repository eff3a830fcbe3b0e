"""The four methods: what of a backbone is trained, how it is read out, what is saved and loaded again."""

import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.models.backbone import Backbone, gathered
from slq.models.retriever import LastTokenRetriever, QueryRetriever, initial_queries

SCHEMA = 1
TENSORS = "adapter.safetensors"  # beside adapter.json, of a method that trains any
# q, k, v, o, gate, up, down of every layer of the language model and of nothing else: with rank 8 this gives the counts
# of the paper's Table 3 (4.4M, 8.7M, 16.5M, 20.2M) on its four backbones.
LORA_MAPS = ("q", "k", "v", "o", "gate", "up", "down")
LORA_TARGETS = rf".*language_model\.layers\.\d+\..*\.({'|'.join(LORA_MAPS)})_proj"


def begin(method: str, backbone: Backbone, tuning: dict[str, Any], seed: int) -> QueryRetriever | LastTokenRetriever:
    """A retriever ready to train: only the method's parameters require gradients.

    `tuning` is the method's entry in config.yaml. The vision tower, projector and LM head are frozen for every method.

    Raises:
        SlqError: there is no such method, or the backbone does not have what it trains.
    """
    backbone.model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    if method == "slq":
        return QueryRetriever(backbone, initial_queries(tuning["queries"], backbone.width, tuning["init"], generator))
    if method == "full_ft":
        if not hasattr(backbone.inner, "language_model"):
            raise _unfit(method, backbone, "no model.model.language_model, which full_ft trains")
        backbone.inner.language_model.requires_grad_(True)
    elif method == "lora":
        found = {match[1] for name, _ in backbone.model.named_modules() if (match := re.fullmatch(LORA_TARGETS, name))}
        if missing := [name for name in LORA_MAPS if name not in found]:
            raise _unfit(
                method, backbone, f"no {missing[0]}_proj in model.model.language_model.layers, which LoRA adapts"
            )
        torch.manual_seed(seed)
        config = LoraConfig(
            r=tuning["rank"], lora_alpha=tuning["alpha"], lora_dropout=tuning["dropout"], target_modules=LORA_TARGETS
        )
        backbone.model = get_peft_model(backbone.model, config).base_model.model
    elif method != "base":
        raise SlqError(f"there is no method '{method}'; expected base, full_ft, lora or slq")
    return LastTokenRetriever(backbone)


def _unfit(method: str, backbone: Backbone, what: str) -> SlqError:
    return SlqError(f"{type(backbone.model).__name__} has {what}; {method} does not fit it (docs/backbones.md)")


def save(
    method: str, tensors: dict[str, torch.Tensor], temperature: float, folder: Path, identity: dict[str, Any]
) -> None:
    """Save what the method trained into `folder`; adapter.json is written last and says what it is.

    Args:
        tensors: `learned_tensors` of its retriever.
        identity: is stored beside it: of the backbone and the tuning settings, which are checked when it is loaded, and
            of the backbone's weights before and after training, which a proof checks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if tensors:
        save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    write_json(folder / "adapter.json", {"schema": SCHEMA, "method": method, "temperature": temperature, **identity})


def trained_tensors(retriever: QueryRetriever | LastTokenRetriever) -> list[tuple[str, torch.Tensor]]:
    """Names and values of everything that receives gradients."""
    module: nn.Module = retriever.backbone.model if isinstance(retriever, LastTokenRetriever) else retriever
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def learned_tensors(retriever: QueryRetriever | LastTokenRetriever, keep: bool = True) -> dict[str, torch.Tensor]:
    """The same by name, whole and on the CPU, where they are kept; of a sharded model all processes call it."""
    return gathered(dict(trained_tensors(retriever)), keep)


def load(backbone: Backbone, folder: Path, backbone_sha256: str) -> QueryRetriever | LastTokenRetriever:
    """A retriever as `save` left it, on a freshly loaded backbone.

    Raises:
        SlqError: the adapter was trained on another backbone, or its tensors do not match the method's.
    """
    adapter = read_json(folder / "adapter.json")
    if adapter["backbone_sha256"] != backbone_sha256:
        raise SlqError(f"{folder}: trained on another backbone ({adapter['backbone_sha256'][:12]}); train it again")
    retriever = begin(adapter["method"], backbone, adapter["tuning"], seed=0)
    expected = dict(trained_tensors(retriever))
    if expected:
        tensors = load_file(folder / TENSORS)
        if tensors.keys() != expected.keys():
            odd = sorted(tensors.keys() ^ expected.keys())
            raise SlqError(f"{folder / TENSORS}: missing or unexpected tensors {odd[:3]}; train it again")
        with torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(tensors[name])
    return retriever
