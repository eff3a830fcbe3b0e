"""Closed form of the FLOPs of a method, by part, from the numbers of tokens of its messages.

A multiplication and an addition count as two FLOPs. Attention is counted over the full square of positions, as torch's
FlopCounterMode does; a kernel that skips masked positions computes half of it. Norms, activations, rotary embeddings
and the loss (under 1 %) are left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from operator import add
from typing import Any

from slq.cost.architecture import Architecture
from slq.methods.plan import ComputePlan
from slq.methods.registry import Method, find_method, method_name

PARTS = ("vision", "projector", "prefix", "queries", "attention", "backward", "recompute")
Flops = dict[str, float]
# Changed fields of ComputePlan for each level of the image cache (models/prefix.py).
CACHED_SHARES: Mapping[str, Mapping[str, Any]] = {"features": {"vision_share": 0.0}, "kv": {"prefix_share": 0.0}}


@dataclass(frozen=True)
class TokenTotals:
    """Sums of token counts over the messages to embed, from which all FLOPs are computed.

    Attributes:
        num_messages: number of messages.
        tokens, squared_tokens: sum over messages of the number of tokens, including image tokens, and of its square.
        image_tokens, squared_image_tokens: sum over images of the number of image tokens, and of its square.
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


def find_settings_method(settings: Mapping[str, Any], name: str) -> Method:
    """Return the method of a row of the settings; rows that are variants are listed under `variants`."""
    return find_method(method_name(settings.get("variants", {}).get(name, {"method": name})))


def method_plan(settings: Mapping[str, Any], name: str, architecture: Architecture) -> ComputePlan:
    """Build the compute plan of a row of the settings from its `hyperparameters`."""
    hyperparameters = settings["hyperparameters"].get(name, {})
    return find_settings_method(settings, name).plan(hyperparameters, architecture.text)


def embed_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> Flops:
    """Compute the FLOPs of embedding messages without gradients (only the forward pass), by part."""
    return _forward_flops(architecture, plan, totals)[0]


def train_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> Flops:
    """Compute the FLOPs of one training pass over messages (forward, backward and recomputation), by part."""
    parts, linear_flops, attention_flops = _forward_flops(architecture, plan, totals)
    second_pass = linear_flops + attention_flops if plan.keeps_prefix else sum(parts.values())
    text, backward, recomputed = architecture.text, 0.0, linear_flops + attention_flops
    if plan.num_trainable:
        backward = linear_flops + 2 * attention_flops  # gradients of the inputs
    if plan.trains_language_model:
        backward += linear_flops
        inputs, outputs = text.linear_shapes[-1]
        recomputed -= 2 * totals.tokens * text.layers * inputs * outputs  # no gradient needs the output of `down`
    elif plan.num_trainable and not plan.keeps_prefix:
        backward += 2 * _adapter_flops(plan, totals)
        if not plan.num_queries:
            # q, k and v of the first layer read the frozen embeddings, for which no gradient is computed.
            backward -= 2 * totals.tokens * sum(inputs * outputs for inputs, outputs in text.linear_shapes[:3])
    return parts | {
        "backward": backward,
        "recompute": plan.checkpointing * recomputed + (plan.num_forward_passes - 1) * second_pass,
    }


def cache_build_flops(architecture: Architecture, totals: TokenTotals, cache_level: str) -> Flops:
    """Compute the FLOPs of building an image cache once, by part.

    Args:
        cache_level: `features` to cache the image features, `kv` to cache the KV cache of the whole prefixes.
    """
    parts = embed_flops(architecture, ComputePlan(), totals)
    return {part: value for part, value in parts.items() if cache_level == "kv" or part in ("vision", "projector")}


def total_flops(parts: Mapping[str, float]) -> float:
    """Sum the FLOPs of all parts."""
    return sum(parts.values())


def sum_flops(parts_list: Iterable[Mapping[str, float]]) -> Flops:
    """Sum the FLOPs of several computations part by part."""
    sums = dict.fromkeys(PARTS, 0.0)
    for parts in parts_list:
        for part, value in parts.items():
            sums[part] += value
    return sums


def _forward_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> tuple[Flops, float, float]:
    """Compute the FLOPs of a forward pass.

    Returns:
        All FLOPs by part, then the FLOPs of the linear maps and of the attention that a gradient passes through.
    """
    text, num_queries = architecture.text, plan.num_queries
    per_token = 2 * text.layers * text.parameters_per_layer
    per_square = 4 * text.layers * text.heads * text.head_dim
    computed_share = plan.prefix_share if num_queries else 1.0
    prefix, queries = computed_share * per_token * totals.tokens, per_token * num_queries * totals.num_messages
    queries += (
        2 * plan.num_trainable * totals.num_messages * plan.head_only
    )  # a head, like queries, is run once a message
    prefix_attention = computed_share * per_square * totals.squared_tokens
    # Queries attend to the prefix and to each other. In a single sequence, full squares are counted, so the masked
    # attention of the prefix to the queries is counted too.
    query_attention = per_square * (num_queries * totals.tokens + num_queries**2 * totals.num_messages)
    if plan.whole_sequence:
        query_attention += per_square * num_queries * totals.tokens
    parts = dict.fromkeys(PARTS, 0.0) | _vision_flops(architecture, totals, min(plan.vision_share, computed_share))
    parts |= {"prefix": prefix + _adapter_flops(plan, totals), "queries": queries}
    parts |= {"attention": prefix_attention + query_attention}
    if plan.keeps_prefix:
        return parts, queries, query_attention
    return parts, prefix + queries, prefix_attention + query_attention


def _vision_flops(architecture: Architecture, totals: TokenTotals, share: float) -> Flops:
    """Compute the FLOPs of the vision tower, including its attention, and of the projector; both are always frozen.

    Args:
        share: share of the images whose features are computed instead of read from a cache.
    """
    vision = architecture.vision
    positions, squared_positions = vision.count_positions(totals.image_tokens, totals.squared_image_tokens)
    tower = 2 * vision.patches_per_token * totals.image_tokens * vision.values_per_patch * vision.hidden_size
    tower += vision.layers * (2 * positions * vision.parameters_per_layer + 4 * squared_positions * vision.hidden_size)
    return {"vision": share * tower, "projector": share * 2 * totals.image_tokens * vision.projector_parameters}


def _adapter_flops(plan: ComputePlan, totals: TokenTotals) -> float:
    """Compute the forward FLOPs of the linear maps that a method adds to the language model."""
    return 2 * (totals.tokens + plan.num_queries * totals.num_messages) * plan.adapter_parameters
