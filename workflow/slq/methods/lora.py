"""LoRA (low-rank adaptation, Hu et al. 2021) of every linear layer in the language model, implemented by PEFT."""

import re
from collections.abc import Mapping
from typing import Any

from slq.common.errors import SlqError
from slq.methods.plan import ComputePlan
from slq.methods.registry import ExportTarget, Method, hyperparameters_schema

# Attention (q, k, v, o) and MLP (gate, up, down) projections of every layer of the language model, and no others. With
# rank 8, the parameter counts equal those of the paper's Table 3 (4.4M, 8.7M, 16.5M, 20.2M) on its four backbones.
PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")
TARGETS = rf".*language_model\.layers\.\d+\..*\.({'|'.join(PROJECTIONS)})_proj"


class LowRankAdaptation(Method):
    """LoRA: trained low-rank matrices A and B next to each linear layer, with last-token pooling."""

    label = "LoRA"
    color = "#009e73"
    read_out = "last token"
    adaptation = "LoRA"
    schema = hyperparameters_schema(
        "LoRA: low-rank updates of every linear layer in the language model.",
        rank={"$ref": "#/$defs/count", "description": "Rank r of each update."},
        alpha={"$ref": "#/$defs/rate", "description": "Updates are scaled by alpha / rank."},
        dropout={"type": "number", "minimum": 0, "exclusiveMaximum": 1, "description": "Dropout of updates' inputs."},
    )
    changes_backbone = True
    image_caches = ("none", "features")
    card_description = Method.card_of_last_token
    card_prompt_end = Method.card_of_answer

    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Replace the backbone's model by one with LoRA matrices, initialised with `seed`."""
        import torch
        from peft import get_peft_model

        from slq.models.retriever import LastTokenRetriever

        present = {match[1] for name, _ in backbone.model.named_modules() if (match := re.fullmatch(TARGETS, name))}
        if missing := [name for name in PROJECTIONS if name not in present]:
            raise SlqError(
                f"{type(backbone.model).__name__} has no {missing[0]}_proj in model.model.language_model.layers, which "
                f"LoRA adapts; {self.name} does not support this model (docs/backbones.md)"
            )
        torch.manual_seed(seed)
        backbone.model = get_peft_model(backbone.model, _peft_config(hyperparameters)).base_model.model
        return LastTokenRetriever(backbone)

    def interpolate(self, name: str, initial: Any, trained: Any, fraction: float) -> Any:
        """Scale the matrices B, and with them the updates B·A."""
        return fraction * trained if ".lora_B." in name else trained

    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Return a plan with gradients of the LoRA matrices and of the activations between them and the loss."""
        added = hyperparameters["rank"] * text.layers * text.lora_parameters_per_rank
        return ComputePlan(num_trainable=added, adapter_parameters=added)

    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write the LoRA matrices as a PEFT adapter."""
        folder.write_peft_adapter(_peft_config(hyperparameters))


def _peft_config(hyperparameters: Mapping[str, Any]) -> Any:
    """Build the LoraConfig of PEFT."""
    from peft import LoraConfig

    return LoraConfig(
        r=hyperparameters["rank"],
        lora_alpha=hyperparameters["alpha"],
        lora_dropout=hyperparameters["dropout"],
        target_modules=TARGETS,
    )
