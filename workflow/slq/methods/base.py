"""Base: the untouched backbone with last-token pooling, the zero-shot control for every other method."""

from collections.abc import Mapping
from typing import Any, ClassVar

from slq.methods.plan import ComputePlan
from slq.methods.registry import ExportTarget, Method


class Base(Method):
    """The untouched backbone with last-token pooling; no weight is trained."""

    label = "Base"
    color = "#6e6e6e"
    read_out = "last token"
    adaptation = "frozen"
    schema: ClassVar[Mapping[str, Any]] = {"type": "object", "additionalProperties": False, "properties": {}}
    changes_backbone = False
    image_caches = ("none", "features")
    card_description = Method.card_of_last_token
    card_prompt_end = Method.card_of_answer

    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Build a retriever that embeds with the backbone's last token."""
        from slq.models.retriever import LastTokenRetriever

        return LastTokenRetriever(backbone)

    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Return a plan without any gradient."""
        return ComputePlan()

    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write no weights, because the export includes or names the base model."""
