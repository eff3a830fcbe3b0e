"""Settings of how a backbone computes in training: they change what memory holds, and not what is learned."""

import pytest
import torch

from slq.common.errors import SlqError
from slq.common.events import EventLog
from slq.methods.adapter import build_retriever
from slq.models.backbone import set_attention_implementation
from slq.training.distributed import DistributedContext
from slq.training.execution import enable_gradient_checkpointing, upcast_trainable_parameters
from slq.training.grad_cache import compute_loss_and_gradients
from slq.training.loop import RunContext, Trainer
from together import HYPERPARAMETERS, SEED, SETTINGS, drawn, pairs_of, tiny


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("data"))


@pytest.fixture
def begun(split, tmp_path):
    """Function that returns a retriever, its backbone changed as given, and a batch of eight pairs."""

    def call(method, dtype="float32", change=lambda retriever: None):
        retriever = build_retriever(method, tiny(tmp_path / "backbone", dtype), HYPERPARAMETERS[method], SEED)
        change(retriever)
        pairs = pairs_of(retriever.backbone, split, {"text": "", "image": ""})
        return retriever, [pairs[number] for number in range(0, 80, 10)]

    return call


def gradient(retriever, batch):
    compute_loss_and_gradients(
        retriever,
        batch,
        torch.tensor(0.07).log().requires_grad_(),
        SETTINGS | {"micro_batch_size": 4},
        DistributedContext(),
    )
    return torch.cat([tensor.grad.flatten() for _, tensor in retriever.named_trainable_parameters()])


@pytest.mark.parametrize("method", ["lora", "full_ft"])
def test_layers_that_run_again_give_the_same_gradient(begun, method):
    runs = []
    retriever, batch = begun(method, change=lambda retriever: enable_gradient_checkpointing(retriever, method))
    for layer in retriever.backbone.inner.language_model.layers:
        layer.mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    again = gradient(retriever, batch)
    assert len(runs) == 2 * 2 * 4, "two layers run twice for two parts of images and of texts"
    assert not any(layer.self_attn.training for layer in retriever.backbone.inner.language_model.layers)
    assert torch.equal(again, gradient(*begun(method)))


def test_layers_cannot_run_again_for_slq(begun):
    with pytest.raises(SlqError, match=r"turn it off for slq: backbones\.<name>\.runs\.slq\.training"):
        begun("slq", change=lambda retriever: enable_gradient_checkpointing(retriever, "slq"))


@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_a_bfloat16_backbone_learns_in_single_precision(begun, tmp_path, method):
    """Parameters, vectors, temperature, loss and moments do; frozen weights stay bfloat16; steps of 1e-5 arrive."""
    retriever, batch = begun(method, "bfloat16", upcast_trainable_parameters)
    assert {tensor.dtype for tensor in retriever.trainable_parameters()} == {torch.float32}
    own = [tensor for tensor in retriever.backbone.model.parameters() if not tensor.requires_grad]
    assert {tensor.dtype for tensor in own} == {torch.bfloat16}
    assert retriever.embed([batch[0].image]).dtype == torch.float32
    hyperparameters = HYPERPARAMETERS[method] | {"learning_rate": 1e-5, "warmup_steps": 0}
    context = RunContext(EventLog(tmp_path / "events.jsonl"), DistributedContext(), None, lambda: None)
    loop = Trainer(retriever, SETTINGS, hyperparameters, 10**6, SEED, context)
    before = [tensor.detach().clone() for tensor in retriever.trainable_parameters()]
    loop.take_step(batch)
    assert {tensor.dtype for tensor in loop.state_dict().values()} == {torch.float32}
    moved = [
        (new - old).abs().max()
        for new, old in zip(retriever.trainable_parameters(), before, strict=True)
        if new.grad is not None
    ]
    assert max(moved).item() == pytest.approx(1e-5, rel=0.1)


@pytest.mark.parametrize("method", ["full_ft"])
def test_its_gradient_is_near_that_of_single_precision(begun, method):
    mixed, exact = gradient(*begun(method, "bfloat16", upcast_trainable_parameters)), gradient(*begun(method))
    assert 0 < (mixed - exact).norm() / exact.norm() < 0.1


def test_attention_that_is_not_installed_is_named(begun):
    with pytest.raises(SlqError, match=r"training\.attention is flash_attention_2, which is not available here"):
        begun("lora", change=lambda retriever: set_attention_implementation(retriever.backbone, "flash_attention_2"))


def test_eager_attention_gives_nearly_the_same_gradient(begun):
    eager, sdpa = (
        gradient(*begun("lora", change=lambda one, name=name: set_attention_implementation(one.backbone, name)))
        for name in ("eager", "sdpa")
    )
    assert (eager - sdpa).norm() / sdpa.norm() < 1e-4
