"""Compute plan of a method, in the terms from which its FLOPs and memory follow (`slq.cost`); no training reads it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ComputePlan:
    """Training of a method, as far as its cost depends on it.

    Attributes:
        num_trainable: numbers that it trains; 0 for a method that computes no gradient.
        trains_language_model: whether the language model's own weights are trained, which takes their gradient too.
        num_queries: trained positions behind the prefix. With them, the prefix runs without gradient.
        adapter_parameters: weights of the linear maps that it adds to the language model's, which every token passes.
        whole_sequence: True for queries as SLQ was released, whose gradient also runs through the prefix, which no
            gradient needs.
        checkpointing: whether activations of the language model are recomputed for the gradient.
        num_forward_passes: 2 with GradCache (Gao et al. 2021), where to save memory a batch is embedded once without
            gradient and once, in chunks, with it; with queries only these run twice, over cached prefixes.
        vision_share, prefix_share: shares of the messages whose image features, or prefix, are computed and not cached.
    """

    num_trainable: float = 0.0
    trains_language_model: bool = False
    num_queries: int = 0
    adapter_parameters: float = 0.0
    whole_sequence: bool = False
    checkpointing: bool = False
    num_forward_passes: int = 1
    vision_share: float = 1.0
    prefix_share: float = 1.0
