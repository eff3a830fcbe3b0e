"""Visual re-injection: image tokens are fed again into the MLP of one layer of the language model.

This is the enhancement of RetLLM (arXiv 2602.22278), after the visual retracing of MemVR (Zou et al. 2024, arXiv
2410.03577). If the language model is uncertain about its next token after layer l, the MLP (FFN) of layer l + 1 uses
the image tokens z_j as additional keys and values:

    FFN'(x) = (1 - ratio) FFN(x) + ratio Delta(x | Z)
    Delta(x | Z) = sum_j SiLU(<x, z_j>) z_j

Forward hooks implement this and are removed afterwards; the model itself is not changed.
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

TOP_TOKENS = 10  # number of most likely next tokens over which the entropy is computed


@dataclass(frozen=True)
class InjectionConfig:
    """Settings of visual re-injection.

    Attributes:
        ratio: weight of Delta in the MLP's output, from 0 to 1; with 0, no hooks are registered.
        layer_bounds: exclusive bounds of the monitored layers l. The first monitored layer after which the model is
            uncertain triggers the injection.
        entropy_threshold: the model is uncertain if its normalised entropy, between 0 and 1, exceeds this threshold.
    """

    ratio: float
    layer_bounds: tuple[int, int]
    entropy_threshold: float

    def monitored_layers(self, num_layers: int) -> range:
        """Return the monitored layers l of a model with `num_layers` layers; l + 1 is always a layer too.

        The bounds are intended for models with 28 layers. In a model that is too shallow to have a layer between the
        bounds, the second-last layer is monitored.
        """
        low, high = self.layer_bounds
        return range(max(min(low + 1, num_layers - 2), 0), min(high, num_layers - 1))


@dataclass
class VisualTokens:
    """Visual tokens Z of a batch.

    Attributes:
        embeddings: input embeddings at each row's image tokens (B, V, d). Rows with fewer than V image tokens are
            padded with zero vectors, which do not contribute to Delta.
        counts: number of image tokens of each row (B,).
    """

    embeddings: Tensor = field(default_factory=lambda: torch.empty(0))
    counts: Tensor = field(default_factory=lambda: torch.empty(0))

    def select_rows(self, rows: Tensor) -> "VisualTokens":
        """Select the visual tokens of the given rows, which may repeat; empty visual tokens are returned unchanged."""
        return VisualTokens(self.embeddings[rows], self.counts[rows]) if len(self.counts) else self


@contextmanager
def capture_visual_tokens(backbone: Backbone, image_mask: Tensor, injection: InjectionConfig) -> Iterator[VisualTokens]:
    """Yield an object that a forward pass in the context fills with its visual tokens; with ratio 0 it stays empty.

    Args:
        image_mask: mask (B, L) of the image tokens in the input of the forward pass.
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
    """Inject visual tokens into one forward pass of the language model in the context.

    Rows are independent. Injection happens once per row, after the first monitored layer at which the entropy of the
    last token's prediction exceeds the threshold.

    Args:
        visual_tokens: tokens to inject.
        token_mask: mask (B, L) of the positions at which they are injected.
    """
    if not injection.ratio:
        yield
        return
    layers = backbone.inner.language_model.layers
    inject_next = token_mask.new_zeros(len(token_mask))  # mask (B,) of the rows into which the next layer injects
    injected = inject_next.clone()
    handles = []

    def after_layer(module: Any, arguments: Any, output: Tensor) -> None:
        """Mark the rows into which the next layer's MLP injects: uncertain rows without an injection so far."""
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
    """Compute the normalised entropy (B,) of the distribution over the ten most likely next tokens.

    The entropy is divided by ln 10: it is 0 if the model is certain, and 1 if all ten tokens are equally likely. As in
    RetLLM's released code, the LM head is applied to a layer's hidden states (B, d) without the final norm.
    """
    top_logits = backbone.model.get_output_embeddings()(states).float().topk(TOP_TOKENS).values
    return softmax_entropy(top_logits) / math.log(TOP_TOKENS)


def softmax_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy (B,) of the softmax of logits (B, n), in nats."""
    log_probabilities = logits.log_softmax(-1)
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def compute_delta(x: Tensor, output: Tensor, visual_tokens: VisualTokens, mlp: Any, token_mask: Tensor) -> Tensor:
    """Compute Delta(x | Z) (B, L, d), scaled to the mean magnitude of the MLP's output over each row's positions.

    As in RetLLM's released code, the keys are Z times mean|W_gate| / mean|Z|. The released code also multiplies the
    values by mean|W_down| / mean|Z|. This factor is omitted here, because the final scaling cancels it.

    Args:
        x: input of the MLP (B, L, d).
        output: output of the MLP (B, L, d).
        token_mask: mask (B, L) of the positions over which mean magnitudes are computed.
    """
    z = visual_tokens.embeddings
    token_magnitude = z.abs().sum((1, 2)) / (visual_tokens.counts * z.shape[-1])
    keys = z * (mlp.gate_proj.weight.abs().mean() / token_magnitude)[:, None, None]
    unscaled = silu(x @ keys.mT) @ z
    return unscaled * (mean_magnitude(output, token_mask) / mean_magnitude(unscaled, token_mask))[:, None, None]


def mean_magnitude(values: Tensor, token_mask: Tensor) -> Tensor:
    """Compute the mean absolute value (B,) of each row of values (B, L, d) over the positions in a mask (B, L)."""
    return (values.abs().mean(-1) * token_mask).sum(1) / token_mask.sum(1)
