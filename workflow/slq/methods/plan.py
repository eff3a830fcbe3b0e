"""Compute plan of a method: the quantities from which `slq.cost` estimates FLOPs and memory. Training ignores it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ComputePlan:
    """Everything about the training of a method that its cost depends on.

    Attributes:
        num_trainable: number of trainable parameters; 0 for a method without gradients.
        trains_language_model: whether the language model's own weights are trained, so that weight gradients are
            computed for them.
        num_queries: number of latent queries after the prefix.
        adapter_parameters: number of weights in linear layers that the method adds to the language model and that
            process every token.
        whole_sequence: whether prefix and queries are one sequence with gradient, because weights inside the prefix are
            trained, or as in SLQ's released code, although there no trainable parameter depends on the prefix.
        head_only: whether all trained parameters are behind the language model, which then runs without gradient.
        checkpointing: whether activations of the language model are recomputed in the backward pass (gradient
            checkpointing, Chen et al. 2016).
        num_forward_passes: 2 with GradCache (Gao et al. 2021), which embeds a batch once without gradient and once in
            micro-batches with gradient. What depends on no trained parameter runs once.
        vision_share, prefix_share: fractions of the messages whose image features, or whose prefix, are computed
            instead of read from a cache.
    """

    num_trainable: float = 0.0
    trains_language_model: bool = False
    num_queries: int = 0
    adapter_parameters: float = 0.0
    whole_sequence: bool = False
    head_only: bool = False
    checkpointing: bool = False
    num_forward_passes: int = 1
    vision_share: float = 1.0
    prefix_share: float = 1.0

    @property
    def keeps_prefix(self) -> bool:
        """Whether the prefix runs without gradient, and once for both passes of GradCache."""
        return self.head_only or (self.num_queries > 0 and not self.whole_sequence)
