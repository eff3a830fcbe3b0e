"""Full fine-adaptation of the language model, with frozen vision tower, projector and LM head."""

from collections.abc import Mapping
from typing import Any

from slq.common.errors import SlqError
from slq.methods.plan import ComputePlan
from slq.methods.registry import ExportTarget, Method, hyperparameters_schema


class FullFineTuning(Method):
    """Full fine-adaptation of the language model, with last-token pooling."""

    label = "Full FT"
    color = "#d55e00"
    read_out = "last token"
    adaptation = "full"
    schema = hyperparameters_schema("Full fine-adaptation of the language model.")
    changes_backbone = True
    image_caches = ("none", "features")
    card_description = Method.card_of_last_token
    card_prompt_end = Method.card_of_answer

    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Unfreeze the language model."""
        from slq.models.retriever import LastTokenRetriever

        if not hasattr(backbone.inner, "language_model"):
            raise SlqError(
                f"{type(backbone.model).__name__} has no model.model.language_model, which {self.name} trains; "
                f"{self.name} does not support this model (docs/backbones.md)"
            )
        backbone.inner.language_model.requires_grad_(True)
        return LastTokenRetriever(backbone)

    def interpolate(self, name: str, initial: Any, trained: Any, fraction: float) -> Any:
        """Interpolate each weight linearly (WiSE-FT, Wortsman et al. 2022); exact at 0 and 1."""
        return initial.lerp(trained, fraction)

    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Return a plan with gradients of all language-model weights, but none of the LM head."""
        return ComputePlan(num_trainable=text.num_parameters, trains_language_model=True)

    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write the complete model."""
        folder.write_model()
