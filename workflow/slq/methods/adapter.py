"""Adapters: saving the weights that a run has trained, and building or loading a retriever with them."""

from pathlib import Path
from typing import Any

import torch

from slq.common.errors import SlqError
from slq.common.files import read_json, wrap_write_errors, write_json
from slq.common.schema import require_schema
from slq.common.tensors import read_tensors, wrap_safetensors_errors, write_tensors
from slq.methods.registry import find_method, method_name
from slq.models.backbone import Backbone, gather_full_tensors
from slq.models.retriever import Retriever

SCHEMA = 2  # of adapter.json
ADAPTER_WEIGHTS = "adapter.safetensors"  # next to adapter.json, for methods that train weights


def build_retriever(method: str, backbone: Backbone, hyperparameters: dict[str, Any], seed: int) -> Retriever:
    """Build a retriever in which only the method's parameters require gradients.

    Args:
        method: name of the method in the registry; for a variant, the name of its base method.
        hyperparameters: the method's entry of `hyperparameters` in config.yaml.
        seed: seed of the initial weights.

    Raises:
        SlqError: no such method exists, or the backbone lacks modules that the method trains.
    """
    backbone.model.requires_grad_(False)
    retriever: Retriever = find_method(method).build(backbone, hyperparameters, seed)
    return retriever


def save_adapter(
    method: str, tensors: dict[str, torch.Tensor], temperature: float, folder: Path, metadata: dict[str, Any]
) -> None:
    """Save a method's trained tensors and then adapter.json, which describes them, into `folder`.

    adapter.json is written last, so that a folder with adapter.json is complete.

    Args:
        tensors: `trainable_state_dict` of the method's retriever.
        temperature: the learned temperature of the loss.
        metadata: further entries of adapter.json:
            `backbone_sha256`, checked on loading;
            `hyperparameters`, from which loading builds the retriever;
            `weights`, hashes of the backbone's weights before and after training, compared by an equivalence check;
            `variant_of`, for a variant only.
    """
    with wrap_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("adapter.json", ADAPTER_WEIGHTS):  # may be hard links to another preset's adapter
            (folder / name).unlink(missing_ok=True)
    if tensors:
        write_tensors(folder / ADAPTER_WEIGHTS, tensors, {"format": "pt"})
    write_json(folder / "adapter.json", {"schema": SCHEMA, "method": method, "temperature": temperature, **metadata})


def trainable_state_dict(retriever: Retriever, keep_result: bool = True) -> dict[str, torch.Tensor]:
    """Return the trainable parameters by name, as full tensors on the CPU of processes with `keep_result`.

    If the model is sharded, this is a collective operation: every process must call it.
    """
    return gather_full_tensors(dict(retriever.named_trainable_parameters()), keep_result)


def load_retriever(backbone: Backbone, folder: Path, backbone_sha256: str) -> Retriever:
    """Load a retriever that `save_adapter` saved, on a freshly loaded backbone.

    Raises:
        SlqError: adapter.json has another schema, the adapter was trained on another backbone, or the names of its
            tensors do not match the method's parameters.
    """
    adapter = read_json(folder / "adapter.json")
    require_schema(folder / "adapter.json", adapter, SCHEMA, "train it again")
    if "diverged" in adapter:
        raise SlqError(f"{folder}: this training diverged and has no weights: {adapter['diverged']}")
    if adapter["backbone_sha256"] != backbone_sha256:
        raise SlqError(
            f"{folder}: trained on another backbone (sha256 {adapter['backbone_sha256'][:12]}, expected "
            f"{backbone_sha256[:12]}); train it again"
        )
    retriever = build_retriever(method_name(adapter), backbone, adapter["hyperparameters"], seed=0)
    expected = dict(retriever.named_trainable_parameters())
    if expected:
        path = folder / ADAPTER_WEIGHTS
        tensors = read_tensors(path, "train it again")
        if mismatched := sorted(tensors.keys() ^ expected.keys()):
            raise SlqError(f"{path}: missing or unexpected tensors {mismatched[:3]}; train it again")
        with wrap_safetensors_errors(path, "train it again"), torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(tensors[name])
    return retriever
