"""LoRA with latent queries as read-out: the control that separates SLQ's read-out from its frozen backbone."""

from collections.abc import Mapping
from typing import Any

from slq.methods.lora import LowRankAdaptation
from slq.methods.plan import ComputePlan
from slq.methods.registry import hyperparameters_schema
from slq.methods.slq import SharedLatentQueries


class LoraQueries(LowRankAdaptation):
    """LoRA of the language model, trained together with N latent queries that are read out as in SLQ."""

    label = "LoRA + queries"
    color = "#661100"
    read_out = SharedLatentQueries.read_out
    schema = hyperparameters_schema(
        "LoRA with latent queries as read-out.",
        **{
            name: property_schema
            for parent in (LowRankAdaptation, SharedLatentQueries)
            for name, property_schema in parent.schema["properties"].items()
        },
    )
    card_description = (
        "Its {read_out} learned queries follow the prompt as tokens, and a LoRA adapter changes the language model.\n"
        "A vector is the mean of the queries' last hidden states. Trained parameters: {trainable:,}."
    )
    card_prompt_end = SharedLatentQueries.card_prompt_end

    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Build a retriever with queries as SLQ's and LoRA matrices as LoRA's for this seed."""
        import torch

        from slq.models.retriever import initial_queries
        from slq.models.whole_sequence import WholeSequenceRetriever

        count, init = hyperparameters["queries"], hyperparameters["init"]
        queries = initial_queries(count, backbone.hidden_size, init, torch.Generator().manual_seed(seed))
        retriever = WholeSequenceRetriever(backbone, queries)  # freezes the backbone, so LoRA comes after it
        super().build(backbone, hyperparameters, seed)
        return retriever

    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Return a plan with gradients of the LoRA matrices and queries, through the whole sequence."""
        queries, added = hyperparameters["queries"], super().plan(hyperparameters, text).adapter_parameters
        return ComputePlan(
            num_trainable=added + queries * text.hidden_size,
            num_queries=queries,
            adapter_parameters=added,
            whole_sequence=True,
        )
