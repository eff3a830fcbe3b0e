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

TOP_TOKENS = 10  # tokens of the lens whose entropy is looked at


@dataclass(frozen=True)
class InjectionConfig:
    """How visual tokens are injected again.

    ratio: of Delta in the MLP's output; 0 registers no hook at all.
    layer_bounds: the first of the layers l between these two, both excluded, after which the model is unsure, counts.
    entropy_threshold: unsure is who has more than that, of at most 1.
    """

    ratio: float = 0.0
    layer_bounds: tuple[int, int] = (5, 16)
    entropy_threshold: float = 0.75

    def monitored_layers(self, num_layers: int) -> range:
        """The layers l of a model of `num_layers` layers that are looked at; l + 1 is a layer too.

        The bounds are those of a model of 28 layers. Of one so shallow that it has nothing between them, the last layer
        but one is looked at.
        """
        low, high = self.layer_bounds
        return range(max(min(low + 1, num_layers - 2), 0), min(high, num_layers - 1))


@dataclass
class VisualTokens:
    """The visual tokens Z of a batch: the input embeddings at each row's image tokens, (B, V, d), and how many (B,).

    Rows with fewer are filled up with zero vectors, which give nothing to Delta.
    """

    embeddings: Tensor = field(default_factory=lambda: torch.empty(0))
    counts: Tensor = field(default_factory=lambda: torch.empty(0))

    def select_rows(self, rows: Tensor) -> "VisualTokens":
        """Those of some rows, perhaps of one several times."""
        return VisualTokens(self.embeddings[rows], self.counts[rows])


@contextmanager
def capture_visual_tokens(backbone: Backbone, image_mask: Tensor, injection: InjectionConfig) -> Iterator[VisualTokens]:
    """Within it a forward leaves its visual tokens; `image_mask` (B, L) says where they are in its input."""
    visual_tokens = VisualTokens()

    def capture(module: Any, arguments: Any, keyword_arguments: dict[str, Any]) -> None:
        embedded = keyword_arguments["inputs_embeds"]
        visual_tokens.embeddings = pad_sequence(
            [row[image] for row, image in zip(embedded, image_mask, strict=True)], True
        )
        visual_tokens.counts = image_mask.sum(1)

    if not injection.ratio:
        yield visual_tokens
        return
    handle = backbone.inner.language_model.register_forward_pre_hook(capture, with_kwargs=True)
    try:
        yield visual_tokens
    finally:
        handle.remove()


@contextmanager
def inject_visual_tokens(
    backbone: Backbone, visual_tokens: VisualTokens, token_mask: Tensor, injection: InjectionConfig
) -> Iterator[None]:
    """Within it one forward of the language model injects `visual_tokens` at the positions `token_mask` (B, L) of its
    rows.

    Each row by itself: the first layer after which its last token is unsure, once.
    """
    if not injection.ratio:
        yield
        return
    layers = backbone.inner.language_model.layers
    inject_next = token_mask.new_zeros(len(token_mask))  # rows that the next layer injects
    injected = inject_next.clone()
    handles = []

    def after_layer(module: Any, arguments: Any, output: Tensor) -> None:
        nonlocal inject_next, injected
        inject_next = (normalized_entropy(backbone, output[:, -1]) > injection.entropy_threshold) & ~injected
        injected = injected | inject_next

    def after_mlp(module: Any, arguments: Any, output: Tensor) -> Tensor:
        inject_mask = token_mask & inject_next[:, None]
        if not inject_mask.any():
            return output
        mixed = (1 - injection.ratio) * output + injection.ratio * compute_delta(
            arguments[0], output, visual_tokens, module, token_mask
        )
        return torch.where(inject_mask[..., None], mixed, output)

    for number in injection.monitored_layers(len(layers)):
        handles.append(layers[number].register_forward_hook(after_layer))
        handles.append(layers[number + 1].mlp.register_forward_hook(after_mlp))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def normalized_entropy(backbone: Backbone, states: Tensor) -> Tensor:
    """Entropy (B,) of the ten likeliest next tokens among themselves, divided by ln 10: 0 sure, 1 not at all.

    The LM head reads the states (B, d) of a layer as they are, without the final norm, as in the released code.
    """
    top_logits = backbone.model.get_output_embeddings()(states).float().topk(TOP_TOKENS).values
    return softmax_entropy(top_logits) / math.log(TOP_TOKENS)


def softmax_entropy(logits: Tensor) -> Tensor:
    """Of the softmax of logits (B, n), in nats (B,)."""
    log_probabilities = logits.log_softmax(-1)
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def compute_delta(x: Tensor, output: Tensor, visual_tokens: VisualTokens, mlp: Any, token_mask: Tensor) -> Tensor:
    """Delta(x | Z) (B, L, d), as large as the MLP's output (B, L, d): the same mean magnitude over a row's positions.

    As released, keys are Z times mean|gate| / mean|Z|. Its values are scaled by mean|down| / mean|Z|, which the last
    step undoes: left out.
    """
    z = visual_tokens.embeddings
    token_magnitude = z.abs().sum((1, 2)) / (visual_tokens.counts * z.shape[-1])
    keys = z * (mlp.gate_proj.weight.abs().mean() / token_magnitude)[:, None, None]
    unscaled = silu(x @ keys.mT) @ z
    return unscaled * (mean_magnitude(output, token_mask) / mean_magnitude(unscaled, token_mask))[:, None, None]


def mean_magnitude(values: Tensor, token_mask: Tensor) -> Tensor:
    """Mean absolute value (B,) of each row of (B, L, d), over its positions `token_mask` (B, L)."""
    return (values.abs().mean(-1) * token_mask).sum(1) / token_mask.sum(1)
