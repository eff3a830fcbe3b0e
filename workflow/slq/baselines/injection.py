"""Visual re-injection (RetLLM's enhancement, after MemVR, arXiv 2410.03577): image tokens fed again into one MLP layer.

If the language model is uncertain about its next token after layer l, the MLP of layer l + 1 takes the image's own
tokens as keys and values: FFN'(x) = (1 - ratio) FFN(x) + ratio Delta(x | Z), Delta(x | Z) = sum_j SiLU(<x, z_j>) z_j.
This is done by forward hooks, which are removed afterwards; the model itself is not changed.
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

TOP_TOKENS = 10  # likeliest next tokens whose entropy is computed


@dataclass(frozen=True)
class InjectionConfig:
    """Settings of visual re-injection.

    Attributes:
        ratio: the weight of Delta in the MLP's output; with 0 no hook is registered.
        layer_bounds: exclusive bounds of the layers l that are monitored; the first of them after which the model is
            uncertain triggers the injection.
        entropy_threshold: the model counts as uncertain if its normalised entropy, at most 1, exceeds this.
    """

    ratio: float
    layer_bounds: tuple[int, int]
    entropy_threshold: float

    def monitored_layers(self, num_layers: int) -> range:
        """Return the layers l that are monitored in a model of `num_layers` layers, such that l + 1 is a layer too.

        The bounds are meant for a model of 28 layers. In a model too shallow to have a layer between them, the last
        layer but one is monitored.
        """
        low, high = self.layer_bounds
        return range(max(min(low + 1, num_layers - 2), 0), min(high, num_layers - 1))


@dataclass
class VisualTokens:
    """Visual tokens Z of a batch.

    Attributes:
        embeddings: the input embeddings at each row's image tokens (B, V, d). Rows with fewer tokens are padded with
            zero vectors, which contribute nothing to Delta.
        counts: the number of image tokens of each row (B,).
    """

    embeddings: Tensor = field(default_factory=lambda: torch.empty(0))
    counts: Tensor = field(default_factory=lambda: torch.empty(0))

    def select_rows(self, rows: Tensor) -> "VisualTokens":
        """Select the visual tokens of the given rows, which may repeat; of none, none."""
        return VisualTokens(self.embeddings[rows], self.counts[rows]) if len(self.counts) else self


@contextmanager
def capture_visual_tokens(backbone: Backbone, image_mask: Tensor, injection: InjectionConfig) -> Iterator[VisualTokens]:
    """Yield an object that a forward pass within the context fills with its visual tokens; it stays empty at ratio 0.

    Args:
        image_mask: the positions of image tokens in the forward pass's input (B, L).
    """
    visual_tokens = VisualTokens()

    def capture(module: Any, arguments: Any, keyword_arguments: dict[str, Any]) -> None:
        """Store the visual tokens of the language model's input embeddings."""
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
    """Inject visual tokens into the one forward pass of the language model within the context.

    Each row is treated by itself: injection happens once, after the first monitored layer at which the entropy of its
    last token's prediction exceeds the threshold.

    Args:
        visual_tokens: the tokens to inject.
        token_mask: the positions at which they are injected (B, L).
    """
    if not injection.ratio:
        yield
        return
    layers = backbone.inner.language_model.layers
    inject_next = token_mask.new_zeros(len(token_mask))  # rows into which the next layer injects
    injected = inject_next.clone()
    handles = []

    def after_layer(module: Any, arguments: Any, output: Tensor) -> None:
        """Mark the rows into which the next layer's MLP injects: uncertain ones without an injection so far."""
        nonlocal inject_next, injected
        inject_next = (normalized_entropy(backbone, output[:, -1]) > injection.entropy_threshold) & ~injected
        injected = injected | inject_next

    def after_mlp(module: Any, arguments: Any, output: Tensor) -> Tensor:
        """Mix Delta into the MLP's output at the marked rows' positions."""
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
    """Compute the entropy (B,) of the ten likeliest next tokens among themselves, divided by ln 10.

    It is 0 if the model is certain, and 1 if all ten are equally likely. The LM head is applied to the states (B, d) of
    a layer as they are, without the final norm, as in the released code.
    """
    top_logits = backbone.model.get_output_embeddings()(states).float().topk(TOP_TOKENS).values
    return softmax_entropy(top_logits) / math.log(TOP_TOKENS)


def softmax_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy (B,) of the softmax of logits (B, n), in nats."""
    log_probabilities = logits.log_softmax(-1)
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def compute_delta(x: Tensor, output: Tensor, visual_tokens: VisualTokens, mlp: Any, token_mask: Tensor) -> Tensor:
    """Compute Delta(x | Z) (B, L, d), scaled to the same mean magnitude over a row's positions as the MLP's output.

    As in the released code, keys are Z times mean|gate| / mean|Z|. That code also scales values by mean|down| /
    mean|Z|; this is left out, because the final scaling cancels it.

    Args:
        x: the MLP's input (B, L, d).
        output: the MLP's output (B, L, d).
        token_mask: the positions over which mean magnitudes are taken (B, L).
    """
    z = visual_tokens.embeddings
    token_magnitude = z.abs().sum((1, 2)) / (visual_tokens.counts * z.shape[-1])
    keys = z * (mlp.gate_proj.weight.abs().mean() / token_magnitude)[:, None, None]
    unscaled = silu(x @ keys.mT) @ z
    return unscaled * (mean_magnitude(output, token_mask) / mean_magnitude(unscaled, token_mask))[:, None, None]


def mean_magnitude(values: Tensor, token_mask: Tensor) -> Tensor:
    """Compute the mean absolute value (B,) of each row of values (B, L, d) over the positions in a mask (B, L)."""
    return (values.abs().mean(-1) * token_mask).sum(1) / token_mask.sum(1)
