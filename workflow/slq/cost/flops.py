"""The closed form of FLOPs: what a method computes for so many messages of so many tokens, by part.

A multiplication and an addition are two. Attention counts whole squares, as torch's FlopCounterMode does; a kernel that
skips what is masked does half of them. Norms, activations, rotations and the loss, under 1 %, are left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from operator import add
from typing import Any

from slq.common.errors import SlqError, UnknownMethodError
from slq.cost.architecture import Architecture

PARTS = ("vision", "projector", "prefix", "queries", "attention", "backward", "recompute")
Flops = dict[str, float]
# By method, the key of its hyperparameters that its cost depends on.
COST_HYPERPARAMETERS = {"base": None, "full_ft": None, "lora": "rank", "slq": "queries"}
# What is not computed for an image's message of which something is there (models/prefix.py): shares of ComputePlan.
CACHED_SHARES = {"features": {"vision_share": 0.0}, "kv": {"prefix_share": 0.0}}


@dataclass(frozen=True)
class TokenTotals:
    """Messages to embed, as sums over them: a closed form needs no more.

    Attributes:
        tokens, squared_tokens: tokens of the messages, images included, and their squares.
        image_tokens, squared_image_tokens: image tokens, and their squares, over images.
    """

    num_messages: float = 0
    tokens: float = 0
    squared_tokens: float = 0
    image_tokens: float = 0
    squared_image_tokens: float = 0

    def __add__(self, other: "TokenTotals") -> "TokenTotals":
        return TokenTotals(*map(add, astuple(self), astuple(other)))

    @classmethod
    def of_equal_length(cls, num_messages: float, tokens: float, image_tokens: float = 0) -> "TokenTotals":
        """So many messages of equal length."""
        return cls(
            num_messages,
            num_messages * tokens,
            num_messages * tokens**2,
            num_messages * image_tokens,
            num_messages * image_tokens**2,
        )


@dataclass(frozen=True)
class ComputePlan:
    """How a method trains.

    Attributes:
        method: `base` computes no gradient.
        num_queries: N of SLQ, else 0.
        rank: of LoRA, else 0.
        whole_sequence: SLQ as released: the gradient runs through the prefix too, which no gradient needs.
        checkpointing: activations of the language model are computed again for the gradient.
        num_forward_passes: 2 where a batch is embedded once without gradient and once, in chunks, with it, to save
            memory; of SLQ the queries alone run twice, over prefixes that are kept.
        vision_share, prefix_share: shares of the messages whose image features, or prefix, are computed, not cached.

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
        if self.method not in COST_HYPERPARAMETERS:
            raise UnknownMethodError(self.method, "cost/flops.py", "which gradients its training computes")

    @classmethod
    def from_hyperparameters(cls, method: str, hyperparameters: Mapping[str, Any], **changes: Any) -> "ComputePlan":
        """From a method's entry of `hyperparameters` in config.yaml.

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
    """Of embedding messages without any gradient, by part: forward alone."""
    return _forward_flops(architecture, plan, totals)[0]


def train_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> Flops:
    """Of training on messages once, by part: forward, backward and what is computed again."""
    parts, linear_flops, attention_flops = _forward_flops(architecture, plan, totals)
    keeps_prefix = plan.num_queries and not plan.whole_sequence  # the prefix is, between the two passes of GradCache
    second_pass = linear_flops + attention_flops if keeps_prefix else sum(parts.values())
    of_inputs, of_attention = linear_flops, 2 * attention_flops
    recomputed = linear_flops + attention_flops
    if plan.method == "full_ft":
        backward = 2 * linear_flops + of_attention
        inputs, outputs = architecture.text.linear_shapes[-1]
        recomputed -= 2 * totals.tokens * architecture.text.layers * inputs * outputs  # no gradient asks for its output
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
    """Of computing once what is then spared: the features of images (`features`), or their whole prefixes (`kv`)."""
    parts = embed_flops(architecture, ComputePlan("base"), totals)
    return {part: value for part, value in parts.items() if cache_level == "kv" or part in ("vision", "projector")}


def total_flops(parts: Mapping[str, float]) -> float:
    return sum(parts.values())


def sum_flops(parts_list: Iterable[Mapping[str, float]]) -> Flops:
    """The sums of all parts."""
    sums = dict.fromkeys(PARTS, 0.0)
    for parts in parts_list:
        for part, value in parts.items():
            sums[part] += value
    return sums


def _forward_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> tuple[Flops, float, float]:
    """Parts of a forward pass; beside them, of what a gradient runs through, the linear maps and the attention."""
    text, num_queries = architecture.text, plan.num_queries
    per_token = 2 * text.layers * text.parameters_per_layer
    per_square = 4 * text.layers * text.heads * text.head_dim
    computed_share = plan.prefix_share if num_queries else 1.0
    prefix, queries = computed_share * per_token * totals.tokens, per_token * num_queries * totals.num_messages
    prefix_attention = computed_share * per_square * totals.squared_tokens
    # Queries attend to the prefix and to each other; in one sequence with them the prefix attends to them too.
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
    """The vision tower, its attention included, and the projector; frozen for every method."""
    vision = architecture.vision
    positions, squared_positions = vision.count_positions(totals.image_tokens, totals.squared_image_tokens)
    tower = 2 * vision.patches_per_token * totals.image_tokens * vision.values_per_patch * vision.hidden_size
    tower += vision.layers * (2 * positions * vision.parameters_per_layer + 4 * squared_positions * vision.hidden_size)
    return {"vision": share * tower, "projector": share * 2 * totals.image_tokens * vision.projector_parameters}


def _lora_flops(architecture: Architecture, plan: ComputePlan, totals: TokenTotals) -> float:
    """The two narrow maps beside each linear map of the language model, forward."""
    return 2 * totals.tokens * architecture.text.layers * plan.rank * architecture.text.lora_parameters_per_rank
