"""The four methods (base, full fine-tuning, LoRA, SLQ): what each trains, its read-out, saving and loading."""

import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.common.schema import require_schema
from slq.models.backbone import Backbone, gather_full_tensors
from slq.models.retriever import LastTokenRetriever, LatentQueryRetriever, initial_queries

SCHEMA = 2  # of adapter.json
ADAPTER_WEIGHTS = "adapter.safetensors"  # beside adapter.json, where a method trains weights
# q, k, v, o, gate, up, down of every layer of the language model and of nothing else: with rank 8 this gives the counts
# of the paper's Table 3 (4.4M, 8.7M, 16.5M, 20.2M) on its four backbones.
LORA_PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")
LORA_TARGETS = rf".*language_model\.layers\.\d+\..*\.({'|'.join(LORA_PROJECTIONS)})_proj"


def build_retriever(
    method: str, backbone: Backbone, hyperparameters: dict[str, Any], seed: int
) -> LatentQueryRetriever | LastTokenRetriever:
    """Build a retriever in which only the method's parameters require gradients.

    The vision tower, projector and LM head are frozen for every method. LoRA is that of Hu et al. 2021, in the
    implementation of peft.

    Args:
        hyperparameters: the method's entry of `hyperparameters` in config.yaml.
        seed: seed of the initial values of SLQ's queries and of LoRA's weights.

    Raises:
        SlqError: there is no such method, or the backbone lacks the modules that the method trains.
    """
    backbone.model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    if method == "slq":
        return LatentQueryRetriever(
            backbone,
            initial_queries(hyperparameters["queries"], backbone.hidden_size, hyperparameters["init"], generator),
        )
    if method == "full_ft":
        if not hasattr(backbone.inner, "language_model"):
            raise _unsupported_method_error(method, backbone, "no model.model.language_model, which full_ft trains")
        backbone.inner.language_model.requires_grad_(True)
    elif method == "lora":
        present = {
            match[1] for name, _ in backbone.model.named_modules() if (match := re.fullmatch(LORA_TARGETS, name))
        }
        if missing := [name for name in LORA_PROJECTIONS if name not in present]:
            raise _unsupported_method_error(
                method, backbone, f"no {missing[0]}_proj in model.model.language_model.layers, which LoRA adapts"
            )
        torch.manual_seed(seed)
        config = LoraConfig(
            r=hyperparameters["rank"],
            lora_alpha=hyperparameters["alpha"],
            lora_dropout=hyperparameters["dropout"],
            target_modules=LORA_TARGETS,
        )
        backbone.model = get_peft_model(backbone.model, config).base_model.model
    elif method != "base":
        raise SlqError(f"there is no method '{method}'; expected base, full_ft, lora or slq")
    return LastTokenRetriever(backbone)


def _unsupported_method_error(method: str, backbone: Backbone, reason: str) -> SlqError:
    """Build the error that a method does not fit a backbone's class."""
    return SlqError(f"{type(backbone.model).__name__} has {reason}; {method} does not fit it (docs/backbones.md)")


def save_adapter(
    method: str, tensors: dict[str, torch.Tensor], temperature: float, folder: Path, metadata: dict[str, Any]
) -> None:
    """Save a method's trained tensors into `folder`, and adapter.json, which describes them, last.

    Args:
        tensors: `trainable_state_dict` of the method's retriever.
        temperature: the learned temperature.
        metadata: further entries of adapter.json: the backbone's sha256, which is checked on loading; the
            hyperparameters, from which loading builds the retriever; and the hashes of the backbone's weights before
            and after training, which an equivalence check compares.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if tensors:
        save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    write_json(folder / "adapter.json", {"schema": SCHEMA, "method": method, "temperature": temperature, **metadata})


def named_trainable_parameters(retriever: LatentQueryRetriever | LastTokenRetriever) -> list[tuple[str, torch.Tensor]]:
    """Return the names and values of all parameters that receive gradients."""
    module: nn.Module = retriever.backbone.model if isinstance(retriever, LastTokenRetriever) else retriever
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def trainable_state_dict(
    retriever: LatentQueryRetriever | LastTokenRetriever, keep_result: bool = True
) -> dict[str, torch.Tensor]:
    """Return the trainable parameters by name, whole and on the CPU, in processes with `keep_result`.

    If the model is sharded, all processes must call it.
    """
    return gather_full_tensors(dict(named_trainable_parameters(retriever)), keep_result)


def load_retriever(backbone: Backbone, folder: Path, backbone_sha256: str) -> LatentQueryRetriever | LastTokenRetriever:
    """Load a retriever that `save_adapter` saved, on a freshly loaded backbone.

    Raises:
        SlqError: adapter.json is of another schema, the adapter was trained on another backbone, or its tensors do not
            match the method's.
    """
    adapter = read_json(folder / "adapter.json")
    require_schema(folder / "adapter.json", adapter, SCHEMA, "train it again")
    if adapter["backbone_sha256"] != backbone_sha256:
        raise SlqError(f"{folder}: trained on another backbone ({adapter['backbone_sha256'][:12]}); train it again")
    retriever = build_retriever(adapter["method"], backbone, adapter["hyperparameters"], seed=0)
    expected = dict(named_trainable_parameters(retriever))
    if expected:
        tensors = load_file(folder / ADAPTER_WEIGHTS)
        if tensors.keys() != expected.keys():
            mismatched = sorted(tensors.keys() ^ expected.keys())
            raise SlqError(
                f"{folder / ADAPTER_WEIGHTS}: missing or unexpected tensors {mismatched[:3]}; train it again"
            )
        with torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(tensors[name])
    return retriever
