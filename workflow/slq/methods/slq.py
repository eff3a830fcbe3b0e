"""SLQ: learned queries behind the prompt, shared by texts and images, on a frozen backbone."""

from collections.abc import Mapping
from typing import Any

from slq.methods.plan import ComputePlan
from slq.methods.registry import ExportTarget, Method, hyperparameters_schema


class SharedLatentQueries(Method):
    """Train N vectors that stand behind the prefix, and read out the mean of their last hidden states."""

    label = "SLQ"
    color = "#0072b2"
    schema = hyperparameters_schema(
        "Shared latent queries.",
        queries={"$ref": "#/$defs/count", "description": "N, the number of learned vectors."},
        init={
            "enum": ["normal", "zeros"],
            "description": "Initial queries: normal with sd 1/sqrt(width), or zeros.",
        },
    )
    changes_backbone = False
    image_caches = ("none", "features", "batch", "kv")
    card_description = (
        "Its {read_out} learned queries ({trainable:,} numbers) stand behind the prompt as\n"
        "tokens; a vector is the mean of their last hidden states. The model itself is untouched, and answers "
        "questions as before."
    )
    card_prompt_end = "the queries"

    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Draw the initial queries, of `seed`."""
        import torch

        from slq.models.retriever import LatentQueryRetriever, initial_queries

        generator = torch.Generator().manual_seed(seed)
        return LatentQueryRetriever(
            backbone,
            initial_queries(hyperparameters["queries"], backbone.hidden_size, hyperparameters["init"], generator),
        )

    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Compute the gradient of the queries, which begins behind the prefix."""
        queries = hyperparameters["queries"]
        return ComputePlan(num_trainable=queries * text.hidden_size, num_queries=queries)

    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write the queries as tokens at the end of the chat template."""
        folder.write_query_tokens(hyperparameters["queries"])
