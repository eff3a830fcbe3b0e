"""The untouched backbone, read out at its last token: the control that everything is compared with."""

from collections.abc import Mapping
from typing import Any, ClassVar

from slq.methods.plan import ComputePlan
from slq.methods.registry import ExportTarget, Method


class Base(Method):
    """Train nothing."""

    label = "Base"
    color = "#6e6e6e"
    schema: ClassVar[Mapping[str, Any]] = {"type": "object", "additionalProperties": False, "properties": {}}
    changes_backbone = False
    image_caches = ("none", "features")
    card_description = Method.card_of_last_token
    card_prompt_end = Method.card_of_answer

    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Read the backbone out at its last token."""
        from slq.models.retriever import LastTokenRetriever

        return LastTokenRetriever(backbone)

    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Compute no gradient."""
        return ComputePlan()

    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write nothing: the base model comes along, or is named."""
