"""Compute plan of a method: the quantities from which `slq.cost` estimates FLOPs and memory. Training ignores it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ComputePlan:
    """Everything about the training of a method that its cost depends on.

    Attributes:
        num_trainable: number of trainable parameters; 0 for a method without gradients.
        trains_language_model: whether the language model's own weights are trained, so that weight gradients are
            computed for them.
        num_queries: number of latent queries after the prefix. If there are any, the prefix runs without gradient.
        adapter_parameters: number of weights in linear layers that the method adds to the language model and that
            process every token.
        whole_sequence: True for SLQ's released code, which back-propagates through the prefix as well, although no
            trainable parameter depends on it.
        checkpointing: whether activations of the language model are recomputed in the backward pass (gradient
            checkpointing, Chen et al. 2016).
        num_forward_passes: 2 with GradCache (Gao et al. 2021), which embeds a batch once without gradient and once in
            micro-batches with gradient. With latent queries, only the queries run twice, after cached prefixes.
        vision_share, prefix_share: fractions of the messages whose image features, or whose prefix, are computed
            instead of read from a cache.
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
