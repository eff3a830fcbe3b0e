"""Closed form of FLOPs: what a method computes for messages of given numbers of tokens, by part.

A multiplication and an addition count as two. Attention counts whole squares, as torch's FlopCounterMode does; a kernel
that skips masked positions computes half of them. Norms, activations, rotations and the loss, under 1 %, are left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from operator import add
from typing import Any

from slq.common.errors import SlqError, UnknownMethodError
from slq.cost.architecture import Architecture

PARTS = ("vision", "projector", "prefix", "queries", "attention", "backward", "recompute")
Flops = dict[str, float]
# The hyperparameter that a method's cost depends on.
COST_HYPERPARAMETERS = {"base": None, "full_ft": None, "lora": "rank", "slq": "queries"}
# Fields of ComputePlan by what is cached of an image's message (models/prefix.py).
CACHED_SHARES = {"features": {"vision_share": 0.0}, "kv": {"prefix_share": 0.0}}


@dataclass(frozen=True)
class TokenTotals:
    """Sums over messages to embed; the closed form needs nothing else.

    Attributes:
        num_messages: how many messages there are.
        tokens, squared_tokens: tokens of the messages, images included, and their squares.
        image_tokens, squared_image_tokens: image tokens, and their squares, over images.
    """

    num_messages: float = 0
    tokens: float = 0
    squared_tokens: float = 0
    image_tokens: float = 0
    squared_image_tokens: float = 0

    def __add__(self, other: "TokenTotals") -> "TokenTotals":
        """Return the totals of both sets of messages."""
        return TokenTotals(*map(add, astuple(self), astuple(other)))

    @classmethod
    def of_equal_length(cls, num_messages: float, tokens: float, image_tokens: float = 0) -> "TokenTotals":
        """Build the totals of messages of equal length."""
        return cls(
            num_messages,
            num_messages * tokens,
            num_messages * tokens**2,
            num_messages * image_tokens,
            num_messages * image_tokens**2,
        )


@dataclass(frozen=True)
class ComputePlan:
    """How a method trains, as far as its FLOPs depend on it.

    Attributes:
        method: `base` computes no gradient.
        num_queries: N of SLQ, else 0.
        rank: of LoRA, else 0.
        whole_sequence: True for SLQ as released, whose gradient also runs through the prefix, which no gradient needs.
        checkpointing: whether activations of the language model are recomputed for the gradient.
        num_forward_passes: 2 with GradCache (Gao et al. 2021), where to save memory a batch is embedded once without
            gradient and once, in chunks, with it; of SLQ only the queries run twice, over cached prefixes.
        vision_share, prefix_share: shares of the messages whose image features, or prefix, are computed and not cached.

    Raises:
        UnknownMethodError: there is no closed form of the method.
    """

    method: str
    num_queries: int = 0
    rank: int = 0
    whole_sequence: bool = False
    checkpointing: bool = False
    num_forward_passes: int = 1
    vision_share: float = 1.0
    prefix_share: float = 1.0

    def __post_init__(self) -> None:
        """Check that the method has a closed form."""
        if self.method not in COST_HYPERPARAMETERS:
            raise UnknownMethodError(self.method, "cost/flops.py", "which gradients its training computes")

    @classmethod
    def from_hyperparameters(cls, method: str, hyperparameters: Mapping[str, Any], **changes: Any) -> "ComputePlan":
        """Build the plan from a method's entry of `hyperparameters` in config.yaml.

        Args:
            changes: further fields of the plan.

        Raises:
            SlqError: there is no closed form of the method, or its entry lacks the size that it depends on.
        """
        size = COST_HYPERPARAMETERS.get(method)
        if size is not None and size not in hyperparameters:
            raise SlqError(f"config: hyperparameters.{method}.{size} is missing; the cost of {method} depends on it")
        return cls(
            method, num_queries=hyperparameters.get("queries", 0), rank=hyperparameters.get("rank", 0), **changes
        )


def embed_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> Flops:
    """Compute the FLOPs of embedding messages without any gradient, by part: the forward pass alone."""
    return _forward_flops(architecture, plan, totals)[0]


def train_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> Flops:
    """Compute the FLOPs of training on messages once, by part: forward, backward and recomputation."""
    parts, linear_flops, attention_flops = _forward_flops(architecture, plan, totals)
    keeps_prefix = plan.num_queries and not plan.whole_sequence  # GradCache keeps the prefix between its two passes
    second_pass = linear_flops + attention_flops if keeps_prefix else sum(parts.values())
    of_inputs, of_attention = linear_flops, 2 * attention_flops
    recomputed = linear_flops + attention_flops
    if plan.method == "full_ft":
        backward = 2 * linear_flops + of_attention
        inputs, outputs = architecture.text.linear_shapes[-1]
        recomputed -= 2 * totals.tokens * architecture.text.layers * inputs * outputs  # no gradient needs its output
    elif plan.method == "lora":
        text = architecture.text
        # The maps of the first layer that read the embeddings need no gradient of their frozen input.
        frozen_input = 2 * totals.tokens * sum(inputs * outputs for inputs, outputs in text.linear_shapes[:3])
        backward = of_inputs - frozen_input + of_attention + 2 * _lora_flops(architecture, plan, totals)
    elif plan.method == "slq":
        backward = of_inputs + of_attention
    elif plan.method == "base":
        backward = 0.0
    else:
        raise UnknownMethodError(plan.method, "cost/flops.py", "which gradients its training computes")
    return parts | {
        "backward": backward,
        "recompute": plan.checkpointing * recomputed + (plan.num_forward_passes - 1) * second_pass,
    }


def cache_build_flops(architecture: Architecture, totals: TokenTotals, cache_level: str) -> Flops:
    """Compute the FLOPs of building a cache once, by part.

    Args:
        cache_level: `features` for the features of images, `kv` for their whole prefixes.
    """
    parts = embed_flops(architecture, ComputePlan("base"), totals)
    return {part: value for part, value in parts.items() if cache_level == "kv" or part in ("vision", "projector")}


def total_flops(parts: Mapping[str, float]) -> float:
    """Sum the FLOPs of all parts."""
    return sum(parts.values())


def sum_flops(parts_list: Iterable[Mapping[str, float]]) -> Flops:
    """Sum several computations part by part."""
    sums = dict.fromkeys(PARTS, 0.0)
    for parts in parts_list:
        for part, value in parts.items():
            sums[part] += value
    return sums


def _forward_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> tuple[Flops, float, float]:
    """Compute the FLOPs of a forward pass.

    Returns:
        all of them by part; those of the linear maps and those of the attention that a gradient runs through.
    """
    text, num_queries = architecture.text, plan.num_queries
    per_token = 2 * text.layers * text.parameters_per_layer
    per_square = 4 * text.layers * text.heads * text.head_dim
    computed_share = plan.prefix_share if num_queries else 1.0
    prefix, queries = computed_share * per_token * totals.tokens, per_token * num_queries * totals.num_messages
    prefix_attention = computed_share * per_square * totals.squared_tokens
    # Queries attend to the prefix and to each other; in one sequence, the prefix attends to them too.
    query_attention = per_square * (num_queries * totals.tokens + num_queries**2 * totals.num_messages)
    if plan.whole_sequence:
        query_attention += per_square * num_queries * totals.tokens
    parts = dict.fromkeys(PARTS, 0.0) | _vision_flops(architecture, totals, min(plan.vision_share, computed_share))
    parts |= {"prefix": prefix + _lora_flops(architecture, plan, totals), "queries": queries}
    parts |= {"attention": prefix_attention + query_attention}
    if num_queries and not plan.whole_sequence:
        return parts, queries, query_attention
    return parts, prefix + queries, prefix_attention + query_attention


def _vision_flops(architecture: Architecture, totals: TokenTotals, share: float) -> Flops:
    """Compute the FLOPs of the vision tower, its attention included, and of the projector; frozen for every method.

    Args:
        share: share of the images whose features are computed and not cached.
    """
    vision = architecture.vision
    positions, squared_positions = vision.count_positions(totals.image_tokens, totals.squared_image_tokens)
    tower = 2 * vision.patches_per_token * totals.image_tokens * vision.values_per_patch * vision.hidden_size
    tower += vision.layers * (2 * positions * vision.parameters_per_layer + 4 * squared_positions * vision.hidden_size)
    return {"vision": share * tower, "projector": share * 2 * totals.image_tokens * vision.projector_parameters}


def _lora_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> float:
    """Compute the forward FLOPs of LoRA's two narrow maps for each linear map of the language model."""
    return 2 * totals.tokens * architecture.text.layers * plan.rank * architecture.text.lora_parameters_per_rank
