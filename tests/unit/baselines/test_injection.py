"""Visual re-injection compared with the written-out formula, and the removal of its hooks."""

import math

import numpy as np
import pytest
import torch

from asking import OFF, asked, inference, next_logits, plain_entropy, plain_softmax, read_truth
from slq.baselines.injection import InjectionConfig, capture_visual_tokens, inject_visual_tokens
from slq.baselines.next_token import image_token_mask, score_next_tokens
from slq.models.prefix import collate


def lens(backbone, states):
    """Oracle: entropy of the ten most likely tokens, renormalised among themselves, divided by ln 10."""
    logits = sorted(backbone.model.lm_head(states).tolist(), reverse=True)[:10]
    return plain_entropy(plain_softmax(logits)) / math.log(10)


def silu(value):
    return value / (1 + math.exp(-value))


def naive_delta(mlp, x, z, output, behind):
    """Oracle for one row: sums written out position by position. x, output (L, d) and z (V, d) are lists of tensors."""
    size = sum(vector.abs().sum().item() for vector in z) / (len(z) * len(z[0]))
    scale = mlp.gate_proj.weight.abs().mean().item() / size
    found = []
    for position in behind:
        total = torch.zeros_like(x[0])
        for vector in z:
            total = total + silu(scale * torch.dot(x[position], vector).item()) * vector
        found.append(total)
    ours = sum(total.abs().mean().item() for total in found) / len(found)
    theirs = sum(output[position].abs().mean().item() for position in behind) / len(behind)
    return [total * theirs / ours for total in found]


def naively_injected(backbone, turn, how, monkeypatch):
    """Oracle: logits of one turn run separately, with one MLP replaced by a written-out one."""
    inputs, layers = collate(backbone, [turn]), backbone.inner.language_model.layers
    captured = {}
    handle = backbone.inner.language_model.register_forward_pre_hook(
        lambda module, arguments, named: captured.update(embedded=named["inputs_embeds"][0]), with_kwargs=True
    )
    states = [layer.register_forward_hook(lambda m, a, out, n=n: captured.update({n: out[0, -1]}))
              for n, layer in enumerate(layers)]  # fmt: skip
    with torch.inference_mode():
        backbone.model(**inputs)
    for one in (handle, *states):
        one.remove()
    image = backbone.model.config.image_token_id
    z = [vector for vector, token in zip(captured["embedded"], turn.ids, strict=True) if token == image]
    behind = range(max(place for place, token in enumerate(turn.ids) if token == image) + 1, len(turn.ids))
    watched = [n for n in range(len(layers)) if n in how.monitored_layers(len(layers))]
    unsure = next((n for n in watched if lens(backbone, captured[n]) > how.entropy_threshold), None)
    if unsure is None:
        return next_logits(backbone, turn), None
    mlp = layers[unsure + 1].mlp
    stock = mlp.forward

    def forward(x):
        output = stock(x)
        mixed = output.clone()
        for position, total in zip(behind, naive_delta(mlp, x[0], z, output[0], behind), strict=True):
            mixed[0, position] = (1 - how.ratio) * output[0, position] + how.ratio * total
        return mixed

    with monkeypatch.context() as patch:
        patch.setattr(mlp, "forward", forward)
        return next_logits(backbone, turn), unsure


@pytest.mark.parametrize("reuse", [True, False])
@torch.inference_mode()
def test_injection_is_the_written_out_one(tiny_backbone, monkeypatch, reuse):
    """One batch contains uncertain rows, which are injected, and certain rows, which stay as they are."""
    turns = asked(tiny_backbone)
    flat = [turn for some in turns for turn in some]
    everywhere = InjectionConfig(0.3, (-1, 16), -1.0)
    bars = []
    for turn in flat:
        inputs = collate(tiny_backbone, [turn])
        states = []
        handle = tiny_backbone.inner.language_model.layers[1].register_forward_hook(
            lambda m, a, out, states=states: states.append(out[0, -1])
        )
        with torch.inference_mode():
            tiny_backbone.model(**inputs)
        handle.remove()
        bars.append(lens(tiny_backbone, states[0]))
    how = InjectionConfig(0.3, (5, 16), float(np.median(bars)))
    for one in (how, everywhere):
        oracles = [naively_injected(tiny_backbone, turn, one, monkeypatch) for turn in flat]
        found = score_next_tokens(tiny_backbone, turns, lambda logits: logits, inference(5, one, reuse))
        assert np.abs(found.numpy() - [logits for logits, _ in oracles]).max() < 1e-4
    layers = {layer for _, layer in oracles}
    assert layers == {0}  # the first watched layer, and none after it
    plain = score_next_tokens(tiny_backbone, turns, lambda logits: logits, inference(5))
    injected = score_next_tokens(tiny_backbone, turns, lambda logits: logits, inference(5, how, reuse))
    moved_rows = (plain - injected).abs().amax(1) > 1e-3
    assert moved_rows.tolist() == [bar > how.entropy_threshold for bar in bars]


def test_watched_layers_are_clipped_to_a_shallow_model():
    assert list(OFF.monitored_layers(28)) == list(range(6, 16))
    assert list(OFF.monitored_layers(12)) == list(range(6, 11))
    assert list(OFF.monitored_layers(3)) == [1]
    assert list(OFF.monitored_layers(2)) == [0]


def hooks(backbone):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in backbone.model.modules())


@torch.inference_mode()
def test_ratio_zero_is_the_identity_bit_for_bit_and_registers_nothing(tiny_backbone):
    off = InjectionConfig(0.0, (-1, 16), -1.0)
    turns = sorted(asked(tiny_backbone)[0], key=lambda turn: len(turn.ids))  # in the order in which they are batched
    inputs = collate(tiny_backbone, turns)
    stock = tiny_backbone.model.lm_head(tiny_backbone.inner(**inputs, use_cache=False).last_hidden_state[:, -1])
    assert torch.equal(
        score_next_tokens(tiny_backbone, [turns], lambda logits: logits, inference(100, off, reuse_prefix=False)),
        stock,
    )
    before = hooks(tiny_backbone)
    places = image_token_mask(tiny_backbone, inputs["input_ids"])
    with (
        capture_visual_tokens(tiny_backbone, places, off) as seen,
        inject_visual_tokens(tiny_backbone, seen, places, off),
    ):
        assert hooks(tiny_backbone) == before


def test_hooks_are_gone_afterwards_also_after_an_error(tiny_backbone):
    how, turns = InjectionConfig(0.3, (5, 16), 0.0), asked(tiny_backbone)
    plain = score_next_tokens(tiny_backbone, turns, read_truth(tiny_backbone), inference(100))
    before = hooks(tiny_backbone)  # transformers has registered its own on InternVL's vision tower
    score_next_tokens(tiny_backbone, turns, read_truth(tiny_backbone), inference(100, how))
    assert hooks(tiny_backbone) == before
    assert torch.equal(score_next_tokens(tiny_backbone, turns, read_truth(tiny_backbone), inference(100)), plain)
    places = image_token_mask(tiny_backbone, collate(tiny_backbone, turns[0])["input_ids"])
    with (
        pytest.raises(KeyError),
        capture_visual_tokens(tiny_backbone, places, how) as seen,
        inject_visual_tokens(tiny_backbone, seen, places, how),
    ):
        assert hooks(tiny_backbone) > before
        raise KeyError
    assert hooks(tiny_backbone) == before
