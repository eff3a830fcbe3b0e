"""LoRA (Hu et al. 2021), in the implementation of PEFT, on every linear map of the language model's layers."""

import re
from collections.abc import Mapping
from typing import Any

from slq.common.errors import SlqError
from slq.methods.plan import ComputePlan
from slq.methods.registry import ExportTarget, Method, hyperparameters_schema

# q, k, v, o, gate, up, down of every layer of the language model and of nothing else: with rank 8 this gives the counts
# of the paper's Table 3 (4.4M, 8.7M, 16.5M, 20.2M) on its four backbones.
PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")
TARGETS = rf".*language_model\.layers\.\d+\..*\.({'|'.join(PROJECTIONS)})_proj"


class LowRankAdaptation(Method):
    """Train two narrow maps beside each linear map, and read out the last token."""

    label = "LoRA"
    color = "#009e73"
    schema = hyperparameters_schema(
        "Low-rank updates of every linear map of the language model's layers.",
        rank={"$ref": "#/$defs/count", "description": "Rank of an update."},
        alpha={"$ref": "#/$defs/rate", "description": "Updates are scaled by alpha / rank."},
        dropout={"type": "number", "minimum": 0, "exclusiveMaximum": 1, "description": "Of the update's input."},
    )
    changes_backbone = True
    image_caches = ("none", "features")
    card_description = Method.card_of_last_token
    card_prompt_end = Method.card_of_answer

    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Add the maps, with initial values of `seed`, in place of the backbone's model."""
        import torch
        from peft import get_peft_model

        from slq.models.retriever import LastTokenRetriever

        present = {match[1] for name, _ in backbone.model.named_modules() if (match := re.fullmatch(TARGETS, name))}
        if missing := [name for name in PROJECTIONS if name not in present]:
            raise SlqError(
                f"{type(backbone.model).__name__} has no {missing[0]}_proj in model.model.language_model.layers, which "
                f"LoRA adapts; {self.name} does not fit it (docs/backbones.md)"
            )
        torch.manual_seed(seed)
        backbone.model = get_peft_model(backbone.model, _peft_config(hyperparameters)).base_model.model
        return LastTokenRetriever(backbone)

    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Compute the gradient of the added maps, and what it passes on its way to them."""
        added = hyperparameters["rank"] * text.layers * text.lora_parameters_per_rank
        return ComputePlan(num_trainable=added, adapter_parameters=added)

    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write the maps as PEFT does."""
        folder.write_peft_adapter(_peft_config(hyperparameters))


def _peft_config(hyperparameters: Mapping[str, Any]) -> Any:
    """Build PEFT's configuration of LoRA."""
    from peft import LoraConfig

    return LoraConfig(
        r=hyperparameters["rank"],
        lora_alpha=hyperparameters["alpha"],
        lora_dropout=hyperparameters["dropout"],
        target_modules=TARGETS,
    )
