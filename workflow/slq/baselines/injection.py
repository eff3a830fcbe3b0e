"""Visual re-injection (RetLLM's enhancement, after MemVR, arXiv 2410.03577): what was seen, once more inside one MLP.

Where the language model is unsure of its next token after layer l, the MLP of layer l + 1 reads the image's own tokens
as keys and values: FFN'(x) = (1 - ratio) FFN(x) + ratio Delta(x | Z), Delta(x | Z) = sum_j SiLU(<x, z_j>) z_j. Forward
hooks do it and are taken off again; nothing of the model is changed.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu
from torch.nn.utils.rnn import pad_sequence

from slq.models.backbone import Backbone

TOP = 10  # tokens of the lens whose entropy is looked at


@dataclass(frozen=True)
class Injection:
    """How visual tokens are injected again.

    ratio: of Delta in the MLP's output; 0 registers no hook at all.
    layers: the first of the layers l between these two, both excluded, after which the model is unsure, counts.
    entropy: unsure is who has more than that, of at most 1.
    """

    ratio: float = 0.0
    layers: tuple[int, int] = (5, 16)
    entropy: float = 0.75

    def watched(self, depth: int) -> range:
        """The layers l of a model of `depth` layers that are looked at; l + 1 is a layer too.

        The bounds are those of a model of 28 layers. Of one so shallow that it has nothing between them, the last layer
        but one is looked at.
        """
        low, high = self.layers
        return range(max(min(low + 1, depth - 2), 0), min(high, depth - 1))


@dataclass
class Visual:
    """The visual tokens Z of a batch: the input embeddings at each row's image tokens, (B, V, d), and how many (B,).

    Rows with fewer are filled up with zero vectors, which give nothing to Delta.
    """

    tokens: Tensor = field(default_factory=lambda: torch.empty(0))
    counts: Tensor = field(default_factory=lambda: torch.empty(0))

    def of(self, rows: Tensor) -> "Visual":
        """Those of some rows, perhaps of one several times."""
        return Visual(self.tokens[rows], self.counts[rows])


@contextmanager
def looking(backbone: Backbone, is_image: Tensor, how: Injection) -> Iterator[Visual]:
    """Within it a forward leaves its visual tokens; `is_image` (B, L) says where they are in its input."""
    found = Visual()

    def keep(module: Any, arguments: Any, named: dict[str, Any]) -> None:
        embedded = named["inputs_embeds"]
        found.tokens = pad_sequence([row[image] for row, image in zip(embedded, is_image, strict=True)], True)
        found.counts = is_image.sum(1)

    if not how.ratio:
        yield found
        return
    handle = backbone.inner.language_model.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def injecting(backbone: Backbone, visual: Visual, where: Tensor, how: Injection) -> Iterator[None]:
    """Within it one forward of the language model injects `visual` at the positions `where` (B, L) of its rows.

    Each row by itself: the first layer after which its last token is unsure, once.
    """
    if not how.ratio:
        yield
        return
    layers = backbone.inner.language_model.layers
    due = where.new_zeros(len(where))  # rows that the next layer injects
    done = due.clone()
    handles = []

    def after_layer(module: Any, arguments: Any, output: Tensor) -> None:
        nonlocal due, done
        due = (unsureness(backbone, output[:, -1]) > how.entropy) & ~done
        done = done | due

    def after_mlp(module: Any, arguments: Any, output: Tensor) -> Tensor:
        put = where & due[:, None]
        if not put.any():
            return output
        mixed = (1 - how.ratio) * output + how.ratio * delta(arguments[0], output, visual, module, where)
        return torch.where(put[..., None], mixed, output)

    for number in how.watched(len(layers)):
        handles.append(layers[number].register_forward_hook(after_layer))
        handles.append(layers[number + 1].mlp.register_forward_hook(after_mlp))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def unsureness(backbone: Backbone, states: Tensor) -> Tensor:
    """Entropy (B,) of the ten likeliest next tokens among themselves, divided by ln 10: 0 sure, 1 not at all.

    The LM head reads the states (B, d) of a layer as they are, without the final norm, as in the released code.
    """
    likeliest = backbone.model.get_output_embeddings()(states).float().topk(TOP).values
    return entropy(likeliest) / math.log(TOP)


def entropy(logits: Tensor) -> Tensor:
    """Of the softmax of logits (B, n), in nats (B,)."""
    spread = logits.log_softmax(-1)
    return -(spread.exp() * spread).sum(-1)


def delta(x: Tensor, output: Tensor, visual: Visual, mlp: Any, where: Tensor) -> Tensor:
    """Delta(x | Z) (B, L, d), as large as the MLP's output (B, L, d): the same mean magnitude over a row's positions.

    As released, keys are Z times mean|gate| / mean|Z|. Its values are scaled by mean|down| / mean|Z|, which the last
    step undoes: left out.
    """
    z = visual.tokens
    size = z.abs().sum((1, 2)) / (visual.counts * z.shape[-1])
    keys = z * (mlp.gate_proj.weight.abs().mean() / size)[:, None, None]
    found = silu(x @ keys.mT) @ z
    return found * (magnitude(output, where) / magnitude(found, where))[:, None, None]


def magnitude(values: Tensor, where: Tensor) -> Tensor:
    """Mean absolute value (B,) of each row of (B, L, d), over its positions `where` (B, L)."""
    return (values.abs().mean(-1) * where).sum(1) / where.sum(1)
