"""The closed form of FLOPs: what a method computes for so many messages of so many tokens, by part.

A multiplication and an addition are two. Attention counts whole squares, as torch's FlopCounterMode does; a kernel that
skips what is masked does half of them. Norms, activations, rotations and the loss, under 1 %, are left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from operator import add
from typing import Any

from slq.common.errors import SlqError, UnknownMethod
from slq.cost.architecture import Architecture

PARTS = ("vision", "projector", "prefix", "queries", "attention", "backward", "recompute")
Flops = dict[str, float]
# By method, the key of its tuning that its cost depends on.
SIZED_BY = {"base": None, "full_ft": None, "lora": "rank", "slq": "queries"}
# What is not computed for an image's message of which something is there (models/prefix.py): shares of Plan.
SPARED = {"seen": {"vision": 0.0}, "kept": {"prefix": 0.0}}


@dataclass(frozen=True)
class Work:
    """Messages to embed, as sums over them: a closed form needs no more.

    Attributes:
        tokens, squares: tokens of the messages, images included, and their squares.
        visual, visual_squares: image tokens, and their squares, over images.
    """

    messages: float = 0
    tokens: float = 0
    squares: float = 0
    visual: float = 0
    visual_squares: float = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(*map(add, astuple(self), astuple(other)))

    @classmethod
    def alike(cls, messages: float, tokens: float, visual: float = 0) -> "Work":
        """So many messages of equal length."""
        return cls(messages, messages * tokens, messages * tokens**2, messages * visual, messages * visual**2)


@dataclass(frozen=True)
class Plan:
    """How a method trains.

    Attributes:
        method: `base` computes no gradient.
        queries: N of SLQ, else 0.
        rank: of LoRA, else 0.
        whole_sequence: SLQ as released: the gradient runs through the prefix too, which no gradient needs.
        checkpointing: activations of the language model are computed again for the gradient.
        passes: 2 where a batch is embedded once without gradient and once, in chunks, with it, to save memory; of SLQ
            the queries alone run twice, over prefixes that are kept.
        vision, prefix: shares of the messages whose image features, or prefix, are computed and not found stored.

    Raises:
        UnknownMethod: there is no closed form of the method.
    """

    method: str
    queries: int = 0
    rank: int = 0
    whole_sequence: bool = False
    checkpointing: bool = False
    passes: int = 1
    vision: float = 1.0
    prefix: float = 1.0

    def __post_init__(self) -> None:
        if self.method not in SIZED_BY:
            raise UnknownMethod(self.method, "cost/flops.py", "which gradients its training computes")

    @classmethod
    def of(cls, method: str, tuning: Mapping[str, Any], **changes: Any) -> "Plan":
        """From a method's entry of `tuning` in config.yaml.

        Raises:
            SlqError: there is no closed form of the method, or its entry lacks the size that it depends on.
        """
        size = SIZED_BY.get(method)
        if size is not None and size not in tuning:
            raise SlqError(f"config: tuning.{method}.{size} is missing; the cost of {method} depends on it")
        return cls(method, queries=tuning.get("queries", 0), rank=tuning.get("rank", 0), **changes)


def embed_flops(architecture: Architecture, plan: Plan, work: Work) -> Flops:
    """Of embedding messages without any gradient, by part: forward alone."""
    return _forward(architecture, plan, work)[0]


def train_flops(architecture: Architecture, plan: Plan, work: Work) -> Flops:
    """Of training on messages once, by part: forward, backward and what is computed again."""
    parts, linear, attention = _forward(architecture, plan, work)
    kept = plan.queries and not plan.whole_sequence  # the prefix is, between two passes
    once = linear + attention if kept else sum(parts.values())
    of_inputs, of_attention = linear, 2 * attention
    again = linear + attention
    if plan.method == "full_ft":
        backward = 2 * linear + of_attention
        inputs, outputs = architecture.text.maps[-1]
        again -= 2 * work.tokens * architecture.text.layers * inputs * outputs  # no gradient asks for its output
    elif plan.method == "lora":
        text = architecture.text
        # The maps of the first layer that read the embeddings need no gradient of their frozen input.
        spared = 2 * work.tokens * sum(inputs * outputs for inputs, outputs in text.maps[:3])
        backward = of_inputs - spared + of_attention + 2 * _lora(architecture, plan, work)
    elif plan.method == "slq":
        backward = of_inputs + of_attention
    elif plan.method == "base":
        backward = 0.0
    else:
        raise UnknownMethod(plan.method, "cost/flops.py", "which gradients its training computes")
    return parts | {"backward": backward, "recompute": plan.checkpointing * again + (plan.passes - 1) * once}


def keep_flops(architecture: Architecture, work: Work, state: str) -> Flops:
    """Of computing once what is then spared: the features of images (`seen`), or their whole prefixes (`kept`)."""
    parts = embed_flops(architecture, Plan("base"), work)
    return {part: value for part, value in parts.items() if state == "kept" or part in ("vision", "projector")}


def total(parts: Mapping[str, float]) -> float:
    return sum(parts.values())


def added(several: Iterable[Mapping[str, float]]) -> Flops:
    """The sums of all parts."""
    sums = dict.fromkeys(PARTS, 0.0)
    for parts in several:
        for part, value in parts.items():
            sums[part] += value
    return sums


def _forward(architecture: Architecture, plan: Plan, work: Work) -> tuple[Flops, float, float]:
    """Parts of a forward pass; beside them, of what a gradient runs through, the linear maps and the attention."""
    text, count = architecture.text, plan.queries
    per_token = 2 * text.layers * text.layer_weights
    per_square = 4 * text.layers * text.heads * text.head_dim
    stored = plan.prefix if count else 1.0
    prefix, queries = stored * per_token * work.tokens, per_token * count * work.messages
    squares = stored * per_square * work.squares
    # Queries attend to the prefix and to each other; in one sequence with them the prefix attends to them too.
    of_queries = per_square * (count * work.tokens + count**2 * work.messages)
    if plan.whole_sequence:
        of_queries += per_square * count * work.tokens
    parts = dict.fromkeys(PARTS, 0.0) | _seeing(architecture, work, min(plan.vision, stored))
    parts |= {"prefix": prefix + _lora(architecture, plan, work), "queries": queries}
    parts |= {"attention": squares + of_queries}
    if count and not plan.whole_sequence:
        return parts, queries, of_queries
    return parts, prefix + queries, squares + of_queries


def _seeing(architecture: Architecture, work: Work, share: float) -> Flops:
    """The vision tower, its attention included, and the projector; frozen for every method."""
    vision = architecture.vision
    positions, squares = vision.positions(work.visual, work.visual_squares)
    tower = 2 * vision.patches * work.visual * vision.patch_values * vision.hidden
    tower += vision.layers * (2 * positions * vision.layer_weights + 4 * squares * vision.hidden)
    return {"vision": share * tower, "projector": share * 2 * work.visual * vision.projector_weights}


def _lora(architecture: Architecture, plan: Plan, work: Work) -> float:
    """The two narrow maps beside each linear map of the language model, forward."""
    return 2 * work.tokens * architecture.text.layers * plan.rank * architecture.text.map_ends
