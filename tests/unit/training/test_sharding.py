"""How a backbone computes while it is trained changes what is held, and not what is learned."""

import pytest
import torch

from slq.common.errors import SlqError
from slq.common.events import Events
from slq.methods import registry
from slq.models.backbone import attend
from slq.training.distributed import Processes
from slq.training.grad_cache import backward
from slq.training.loop import Attempt, Loop
from slq.training.pairs import Pairs
from slq.training.sharding import hold_precisely, recompute_layers
from together import SEED, SETTINGS, TUNING, drawn, tiny


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("data"))


@pytest.fixture
def begun(split, tmp_path):
    """A retriever and a batch of eight pairs, whose backbone was changed as asked."""

    def call(method, dtype="float32", change=lambda retriever: None):
        retriever = registry.begin(method, tiny(tmp_path / "backbone", dtype), TUNING[method], SEED)
        change(retriever)
        pairs = Pairs(retriever.backbone, split, {"text": "", "image": ""}, keep_pixels=True)
        return retriever, [pairs[number] for number in range(0, 80, 10)]

    return call


def gradient(retriever, batch):
    backward(retriever, batch, torch.tensor(0.07).log().requires_grad_(), SETTINGS | {"micro_batch": 4}, Processes())
    return torch.cat([tensor.grad.flatten() for _, tensor in registry.trained_tensors(retriever)])


@pytest.mark.parametrize("method", ["lora", "full_ft"])
def test_layers_that_run_again_give_the_same_gradient(begun, method):
    runs = []
    retriever, batch = begun(method, change=recompute_layers)
    for layer in retriever.backbone.inner.language_model.layers:
        layer.mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    again = gradient(retriever, batch)
    assert len(runs) == 2 * 2 * 4, "two layers run twice for two parts of images and of texts"
    assert not any(layer.self_attn.training for layer in retriever.backbone.inner.language_model.layers)
    assert torch.equal(again, gradient(*begun(method)))


def test_layers_cannot_run_again_for_slq(begun):
    with pytest.raises(SlqError, match=r"turn it off for slq: backbones\.<name>\.runs\.slq\.training"):
        begun("slq", change=recompute_layers)


@pytest.mark.parametrize("method", TUNING)
def test_a_bfloat16_backbone_learns_in_single_precision(begun, tmp_path, method):
    """Parameters, vectors, temperature, loss and moments; what is frozen stays in bfloat16; steps of 1e-5 arrive."""
    retriever, batch = begun(method, "bfloat16", hold_precisely)
    assert {tensor.dtype for tensor in retriever.trainable()} == {torch.float32}
    own = [tensor for tensor in retriever.backbone.model.parameters() if not tensor.requires_grad]
    assert {tensor.dtype for tensor in own} == {torch.bfloat16}
    assert retriever.embed([batch[0].image]).dtype == torch.float32
    loop = Loop(retriever, SETTINGS, TUNING[method] | {"learning_rate": 1e-5, "warmup_steps": 0}, 10**6, SEED,
                Attempt(Events(tmp_path / "events.jsonl")))  # fmt: skip
    before = [tensor.detach().clone() for tensor in retriever.trainable()]
    loop.take_step(batch)
    assert {tensor.dtype for tensor in loop.tensors().values()} == {torch.float32}
    moved = [
        (new - old).abs().max() for new, old in zip(retriever.trainable(), before, strict=True) if new.grad is not None
    ]
    assert max(moved).item() == pytest.approx(1e-5, rel=0.1)


@pytest.mark.parametrize("method", ["full_ft"])
def test_its_gradient_is_near_that_of_single_precision(begun, method):
    mixed, exact = gradient(*begun(method, "bfloat16", hold_precisely)), gradient(*begun(method))
    assert 0 < (mixed - exact).norm() / exact.norm() < 0.1


def test_attention_that_is_not_installed_is_named(begun):
    with pytest.raises(SlqError, match=r"training\.attention is flash_attention_2, which does not work here"):
        begun("lora", change=lambda retriever: attend(retriever.backbone, "flash_attention_2"))


def test_eager_attention_gives_nearly_the_same_gradient(begun):
    eager, sdpa = (gradient(*begun("lora", change=lambda one, name=name: attend(one.backbone, name)))
                   for name in ("eager", "sdpa"))  # fmt: skip
    assert (eager - sdpa).norm() / sdpa.norm() < 1e-4
