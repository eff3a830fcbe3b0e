"""With SLQ's adapter loaded, the backbone's answers equal base's token for token; and this check can fail."""

import pytest
import torch

from answering import answered_otherwise, reply_tokens
from sliced import BACKBONE, METHODS, SEED
from slq.common.errors import SlqError
from slq.evaluation.generation import GenerationParams
from slq.methods.adapter import build_retriever
from slq.methods.registry import find_method
from slq.models.backbone import hash_weights
from slq.training import run as training_run


def changed_answers(slice_, backbone):
    """Ids of the questions that a backbone answers with other tokens than base."""
    base, _ = slice_.load("base")
    replies = [reply_tokens(one, slice_.questions, GenerationParams(8, 16)) for one in (base, backbone)]
    assert len(replies[0]) == 16 and len(set(map(tuple, replies[0]))) > 2
    return answered_otherwise(slice_.questions.items, *replies)


def test_a_reply_ends_at_its_end_token_whatever_stands_beside_it_in_a_batch(slice_):
    """A word is a second end token, so that replies of one batch end at different places."""
    backbone, _ = slice_.load("base")
    whole = reply_tokens(backbone, slice_.questions, GenerationParams(8, 16))
    ends = {backbone.tokenizer.eos_token_id, whole[0][0]}
    backbone.model.generation_config.eos_token_id = sorted(ends)
    replies = reply_tokens(backbone, slice_.questions, GenerationParams(8, 16))
    assert replies == reply_tokens(backbone, slice_.questions, GenerationParams(8, 1))
    assert {len(reply) for reply in replies if reply[-1] not in ends} <= {8}
    assert len({len(reply) for reply in replies if reply[-1] in ends}) > 1
    assert all(ends.isdisjoint(reply[:-1]) for reply in replies)
    shorter = [next((place for place, token in enumerate(ids, 1) if token in ends), len(ids)) for ids in whole]
    assert replies == [ids[:length] for ids, length in zip(whole, shorter, strict=True)]


def test_with_slqs_adapter_loaded_the_answers_are_bases_token_for_token(slice_):
    backbone, _ = slice_.load("slq")
    assert hash_weights(backbone.model) == hash_weights(slice_.load("base")[0].model)
    assert changed_answers(slice_, backbone) == []


def test_the_adapter_is_really_loaded(slice_):
    """It is not zero, differs from its initial value, and gives vectors unlike base's and the initial ones."""
    backbone, retriever = slice_.load("slq")
    start = build_retriever("slq", slice_.load("base")[0], slice_.settings("slq")["hyperparameters"], SEED)
    assert retriever.backbone is backbone
    assert torch.all(retriever.queries.norm(dim=1) > 0)
    assert torch.all((retriever.queries - start.queries).norm(dim=1) > 0.1 * start.queries.norm(dim=1))
    trained = slice_.vectors(backbone, retriever)
    for other in (slice_.load("base"), (start.backbone, start)):
        for ours, theirs in zip(trained, slice_.vectors(*other), strict=True):
            assert (ours * theirs).sum(1).max() < 0.99


@pytest.mark.parametrize("method", METHODS)
def test_the_proved_methods_train_nothing_that_generation_passes_through(slice_, method):
    """`inherits_retention`, which the rules read, is true of exactly these methods; base is the reference."""
    backbone, retriever = slice_.load(method)
    inside = {id(parameter) for parameter in backbone.model.parameters()}
    trained = [id(parameter) for _, parameter in retriever.named_trainable_parameters()]
    assert (trained != [] and inside.isdisjoint(trained)) == find_method(method).inherits_retention


@pytest.mark.parametrize("method", ["full_ft", "lora"])
def test_the_check_fails_for_a_tuned_backbone(slice_, method):
    backbone, _ = slice_.load(method)
    assert changed_answers(slice_, backbone)


def test_the_check_fails_for_one_weight_that_tips_every_answer(slice_):
    """One entry of the last norm's scale becomes so large that it alone decides between two words."""
    backbone, _ = slice_.load("slq")
    base = reply_tokens(backbone, slice_.questions, GenerationParams(1, 16))
    words = backbone.model.lm_head.weight.detach()
    extremes = torch.stack([words.argmax(0), words.argmin(0)])  # the two words, for each entry
    given = torch.tensor(base).view(-1, 1, 1)
    entry = int((extremes != given).all(0).all(0).nonzero()[0])
    with torch.no_grad():
        backbone.inner.language_model.norm.weight[entry] = 1e6
    assert changed_answers(slice_, backbone) == [item["id"] for item in slice_.questions.items]


def test_the_hash_sees_the_least_change_of_one_weight(slice_):
    backbone, _ = slice_.load("slq")
    before = hash_weights(backbone.model)
    weight = backbone.inner.language_model.norm.weight
    with torch.no_grad():
        weight[0] = torch.nextafter(weight[0], torch.tensor(torch.inf))
    assert hash_weights(backbone.model) != before
    with torch.no_grad():
        weight[0] = torch.nextafter(weight[0], torch.tensor(-torch.inf))
    assert hash_weights(backbone.model) == before


@pytest.mark.parametrize(("method", "same"), [("base", True), ("slq", True), ("lora", True), ("full_ft", False)])
def test_run_json_says_whether_the_backbone_was_tuned(slice_, method, same):
    weights = slice_.weights(method)
    assert weights["before"] == hash_weights(slice_.load("base")[0].model)
    assert (weights["after"] == weights["before"]) == same


@pytest.mark.parametrize("method", ["slq", "lora"])
def test_a_training_that_touches_frozen_weights_stops_and_saves_nothing(slice_, method, monkeypatch):
    learn = training_run.train

    def slip(retriever, *arguments):
        with torch.no_grad():
            retriever.backbone.inner.language_model.norm.weight[0] += 1e-6
        return learn(retriever, *arguments)

    monkeypatch.setattr(training_run, "train", slip)
    with pytest.raises(SlqError, match=rf"^{method} on {BACKBONE}: the backbone's weights changed during training"):
        slice_.train(method, name=f"{method}-slipped")
    assert not (slice_.root / f"{method}-slipped").exists()
