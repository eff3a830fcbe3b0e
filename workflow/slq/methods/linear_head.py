"""A linear head on the last token of a frozen backbone: a control for how much any trained read-out gains."""

from collections.abc import Mapping
from typing import Any

from slq.methods.plan import ComputePlan
from slq.methods.registry import ExportTarget, Method, hyperparameters_schema


class LinearHead(Method):
    """A trained linear map (d, d) of the last token's hidden state on a frozen backbone; it begins as the identity."""

    label = "Linear head"
    color = "#332288"
    read_out = "linear head"
    adaptation = "frozen"
    schema = hyperparameters_schema("Linear head on the last token of the frozen backbone.")
    changes_backbone = False
    image_caches = ("none", "features")
    card_description = (
        "A vector is a linear map ({trainable:,} numbers) of the last hidden state of the prompt's last token. The\n"
        "model itself is unchanged, and answers questions as before."
    )
    card_prompt_end = Method.card_of_answer

    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Build a retriever with the identity as its head, whatever the seed."""
        from slq.models.linear_head import LinearHeadRetriever

        return LinearHeadRetriever(backbone)

    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Return a plan without gradients in the language model."""
        return ComputePlan(num_trainable=text.hidden_size**2, head_only=True)

    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write the map as a Dense module of sentence-transformers."""
        folder.write_linear_head()
