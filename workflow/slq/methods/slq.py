"""SLQ: latent queries after the prompt, shared by texts and images, on a frozen backbone (arXiv 2604.13710)."""

from collections.abc import Mapping
from typing import Any

from slq.methods.plan import ComputePlan
from slq.methods.registry import ExportTarget, Method, hyperparameters_schema


class SharedLatentQueries(Method):
    """SLQ: N trained query vectors (N, d) after the prefix; the embedding is the mean of their last hidden states."""

    label = "SLQ"
    color = "#0072b2"
    read_out = "queries"
    adaptation = "frozen"
    schema = hyperparameters_schema(
        "Shared latent queries.",
        queries={"$ref": "#/$defs/count", "description": "Number N of latent queries."},
        init={
            "enum": ["normal", "zeros"],
            "description": "Initial queries: normal with sd 1/sqrt(width), or zeros.",
        },
    )
    changes_backbone = False
    image_caches = ("none", "features", "batch", "kv")
    card_description = (
        "Its {read_out} learned queries ({trainable:,} numbers) follow the prompt as\n"
        "tokens. A vector is the mean of their last hidden states. The model itself is unchanged, and answers "
        "questions as before."
    )
    card_prompt_end = "the queries"

    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Build a retriever with initial queries drawn with `seed`."""
        import torch

        from slq.models.retriever import LatentQueryRetriever, initial_queries

        generator = torch.Generator().manual_seed(seed)
        return LatentQueryRetriever(
            backbone,
            initial_queries(hyperparameters["queries"], backbone.hidden_size, hyperparameters["init"], generator),
        )

    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Return a plan with gradients of the queries only; the backward pass ends at the prefix."""
        queries = hyperparameters["queries"]
        return ComputePlan(num_trainable=queries * text.hidden_size, num_queries=queries)

    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write the queries as new tokens at the end of the chat template."""
        folder.write_query_tokens(hyperparameters["queries"])
