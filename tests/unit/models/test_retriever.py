"""The two-call retriever compared with one call over the whole sequence, on both families' real classes."""

import pytest
import torch

from oracles import CASES, SHORT, compare_with_the_whole_sequence, messages, named_trainable_parameters
from slq.common.errors import SlqError
from slq.methods.adapter import build_retriever, load_retriever, save_adapter, trainable_state_dict
from slq.models.backbone import hash_weights
from slq.models.prefix import collate, continue_positions, tokenize_message
from slq.models.retriever import LatentQueryRetriever, initial_queries


@pytest.fixture
def retriever(tiny_backbone):
    queries = initial_queries(4, tiny_backbone.hidden_size, "normal", torch.Generator().manual_seed(0))
    return LatentQueryRetriever(tiny_backbone, queries)


@pytest.mark.parametrize("case", CASES)
def test_two_calls_equal_the_whole_sequence(retriever, case):
    batch = [tokenize_message(retriever.backbone, parts) for parts in messages(retriever.backbone, case)]
    compare_with_the_whole_sequence(retriever, batch)


def test_queries_go_on_behind_the_furthest_position():
    """By hand, since the oracle above uses these positions too: padded texts, and axes that differ over an image."""
    texts = torch.tensor([[0, 0, 1, 2], [0, 1, 2, 3]])
    assert continue_positions(texts, 2).tolist() == [[3, 4], [4, 5]]
    image = torch.tensor([[[0, 1, 1, 1, 1]], [[0, 1, 1, 2, 2]], [[0, 1, 2, 3, 4]]])  # axes, rows, tokens
    assert continue_positions(image, 3).tolist() == [[[5, 6, 7]]] * 3


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_position_would_be_seen(retriever, case, monkeypatch):
    """The comparison above can fail: queries one position too far give other vectors."""
    batch = [tokenize_message(retriever.backbone, parts) for parts in messages(retriever.backbone, case)]
    with torch.no_grad():
        right = retriever.embed(batch)
        monkeypatch.setattr(
            "slq.models.retriever.continue_positions", lambda positions, count: continue_positions(positions, count) + 1
        )
        assert (retriever.embed(batch) - right).abs().max() > 1e-3


def test_explicit_positions_are_the_familys_own(tiny_backbone):
    """Without padding, the stock forward with its own positions gives the same hidden states as ours."""
    batch = [tokenize_message(tiny_backbone, parts) for parts in messages(tiny_backbone, "text after image")[:1]]
    inputs = collate(tiny_backbone, batch)
    with torch.no_grad():
        ours = tiny_backbone.inner(**inputs).last_hidden_state
        del inputs["position_ids"]
        stock = tiny_backbone.inner(**inputs).last_hidden_state
    assert (ours - stock).abs().max() < 1e-5


@pytest.mark.parametrize("method", ["base", "slq"])
def test_padding_changes_nothing(tiny_backbone, method):
    retriever = build_retriever(method, tiny_backbone, {"queries": 4, "init": "normal"}, seed=0)
    batch = [tokenize_message(tiny_backbone, parts) for parts in messages(tiny_backbone, "mixed")]
    with torch.no_grad():
        together = retriever.embed(batch)
        alone = torch.cat([retriever.embed([item]) for item in batch])
    assert (together - alone).abs().max() < 1e-5
    assert torch.allclose(together.norm(dim=-1), torch.ones(len(batch)))


def test_earlier_calls_leave_no_trace(retriever):
    """Qwen3-VL keeps rope_deltas between calls; an image batch must not change a later text batch."""
    backbone = retriever.backbone
    texts = [tokenize_message(backbone, parts) for parts in messages(backbone, "padded texts")]
    images = [tokenize_message(backbone, parts) for parts in messages(backbone, "images")]
    with torch.no_grad():
        before = retriever.embed(texts)
        retriever.embed(images)
        assert torch.equal(before, retriever.embed(texts))


HYPERPARAMETERS = {
    "base": {},
    "slq": {"queries": 4, "init": "normal"},
    "lora": {"rank": 2, "alpha": 4, "dropout": 0.0},
    "full_ft": {},
    "lora_queries": {"rank": 2, "alpha": 4, "dropout": 0.0, "queries": 4, "init": "normal"},
    "linear_head": {},
}


@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_save_load_equal(fresh_backbone, tmp_path, method):
    trained = build_retriever(method, fresh_backbone(), HYPERPARAMETERS[method], seed=3)
    with torch.no_grad():
        for _, tensor in trained.named_trainable_parameters():
            tensor += 0.01 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(5))
    save_adapter(
        method,
        trainable_state_dict(trained),
        0.07,
        tmp_path,
        {"backbone_sha256": "b", "hyperparameters": HYPERPARAMETERS[method]},
    )
    loaded = load_retriever(fresh_backbone(), tmp_path, "b")
    batch = [tokenize_message(trained.backbone, parts) for parts in messages(trained.backbone, "mixed")]
    with torch.no_grad():
        assert torch.equal(trained.embed(batch), loaded.embed(batch))


def test_an_adapter_of_another_backbone_is_refused(fresh_backbone, tmp_path):
    trained = build_retriever("slq", fresh_backbone(), HYPERPARAMETERS["slq"], seed=3)
    of_run = {"backbone_sha256": "b", "hyperparameters": HYPERPARAMETERS["slq"]}
    save_adapter("slq", trainable_state_dict(trained), 0.07, tmp_path, of_run)
    with pytest.raises(SlqError, match=r"trained on another backbone \(sha256 b, expected another\); train it again"):
        load_retriever(fresh_backbone(), tmp_path, "another")


@pytest.mark.parametrize(("method", "parts"), [("slq", []), ("base", []), ("full_ft", ["language_model"])])
def test_only_the_methods_own_tensors_train(fresh_backbone, method, parts):
    backbone = fresh_backbone()
    before = hash_weights(backbone.model)
    retriever = build_retriever(method, backbone, HYPERPARAMETERS[method], seed=0)
    tuned = {name.split(".")[1] for name, tensor in backbone.model.named_parameters() if tensor.requires_grad}
    assert tuned == set(parts)
    if method == "slq":
        assert [name for name, _ in named_trainable_parameters(retriever)] == ["queries"]
    assert hash_weights(backbone.model) == before


def test_weight_hash_sees_one_nudged_number(fresh_backbone):
    backbone = fresh_backbone()
    before = hash_weights(backbone.model)
    with torch.no_grad():
        next(backbone.model.parameters()).view(-1)[0] += 1e-6
    assert hash_weights(backbone.model) != before


def test_queries_stay_in_float32_over_a_bfloat16_backbone(fresh_backbone):
    backbone = fresh_backbone()
    backbone.model.to(torch.bfloat16)
    retriever = build_retriever("slq", backbone, HYPERPARAMETERS["slq"], seed=0)
    vectors = retriever.embed([tokenize_message(backbone, (SHORT,))])
    assert retriever.queries.dtype == vectors.dtype == torch.float32
