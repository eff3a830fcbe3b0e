"""The controls: LoRA with latent queries, and a linear head; the oracles of training cover them as well."""

import pytest
import torch

from counting import BACKBONES
from oracles import CASES, messages
from slq.cost.architecture import read_architecture
from slq.cost.flops import TokenTotals
from slq.cost.memory import MemoryEstimate
from slq.methods.adapter import build_retriever
from slq.methods.registry import find_method, list_methods
from slq.models.prefix import tokenize_message
from slq.training.distributed import DistributedContext
from slq.training.grad_cache import compute_loss_and_gradients
from slq.training.pairs import Pair

LORA = {"rank": 2, "alpha": 4, "dropout": 0.0}
QUERIES = {"queries": 4, "init": "normal"}


def built(method, backbone):
    own = {"lora": LORA, "slq": QUERIES, "lora_queries": LORA | QUERIES}
    return build_retriever(method, backbone, own.get(method, {}), seed=3)


def vectors(retriever, case):
    batch = [tokenize_message(retriever.backbone, parts) for parts in messages(retriever.backbone, case)]
    with torch.no_grad():
        return retriever.embed(batch)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("control", "parent"), [("lora_queries", "slq"), ("linear_head", "base")])
def test_a_control_begins_as_the_method_that_it_differs_from(fresh_backbone, control, parent, case):
    """LoRA's B begins with zeros and the head as the identity, so the vectors are those of SLQ, and of base."""
    ours, theirs = (vectors(built(method, fresh_backbone()), case) for method in (control, parent))
    assert (ours - theirs).abs().max() < 1e-5


def test_its_weights_begin_as_those_of_lora_and_slq(fresh_backbone):
    ours, *others = (
        dict(built(method, fresh_backbone()).named_trainable_parameters()) for method in ("lora_queries", "lora", "slq")
    )
    theirs = {name: tensor for other in others for name, tensor in other.items()}
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("method", [name for name in list_methods() if find_method(name).trains])
def test_a_method_that_is_said_to_leave_the_backbone_unchanged_trains_nothing_in_it(fresh_backbone, method):
    retriever = built(method, fresh_backbone())
    inside = {id(parameter) for parameter in retriever.backbone.model.parameters()}
    trained = {id(parameter) for parameter in retriever.trainable_parameters()}
    assert trained and trained.isdisjoint(inside) == find_method(method).inherits_retention


@pytest.mark.parametrize(("method", "calls_per_message"), [("linear_head", 1), ("lora_queries", 2)])
def test_grad_cache_runs_a_frozen_backbone_once(fresh_backbone, method, calls_per_message):
    retriever = built(method, fresh_backbone())
    image, text = (
        [tokenize_message(retriever.backbone, parts) for parts in messages(retriever.backbone, case)]
        for case in ("images", "padded texts")
    )
    batch = [Pair(picture, caption, number) for number, (picture, caption) in enumerate(zip(image, text, strict=True))]
    calls = []
    retriever.backbone.inner.register_forward_hook(lambda *_: calls.append(1))
    settings = {"micro_batch_size": 1, "grad_cache": True, "mask_same_image": False}
    compute_loss_and_gradients(
        retriever, batch, torch.tensor(0.0, requires_grad=True), settings, DistributedContext(), (0,)
    )
    assert len(calls) == 2 * len(batch) * calls_per_message
    assert all(tensor.grad is not None for tensor in retriever.trainable_parameters())


def test_memory_is_that_of_what_a_gradient_passes_through():
    """A head needs no activations of the language model; queries behind LoRA need those of N more tokens a message."""
    architecture = read_architecture(BACKBONES["InternVL3-1B"]["architecture"])
    image, text = TokenTotals.of_equal_length(1, 266, 256), TokenTotals.of_equal_length(1, 30)
    training = {"batch_size": 64, "micro_batch_size": 64, "grad_cache": False, "gradient_checkpointing": False}
    training |= {"sharding": False}

    def device_gb(method, **own):
        plan = find_method(method).plan(own, architecture.text)
        return MemoryEstimate(architecture, plan, image, text, "bfloat16", 1).device_gb(training), plan

    (base, _), (head, head_plan), (lora, _) = device_gb("base"), device_gb("linear_head"), device_gb("lora", rank=8)
    assert head - base == pytest.approx(16 * head_plan.num_trainable / 1e9)
    both, plan = device_gb("lora_queries", rank=8, queries=20)
    weights = 16 * 20 * architecture.text.hidden_size / 1e9
    assert (both - weights - base - 16 * plan.adapter_parameters / 1e9) / (
        lora - base - 16 * plan.adapter_parameters / 1e9
    ) == pytest.approx((266 + 30 + 2 * 20) / (266 + 30))
