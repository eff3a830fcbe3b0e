"""The training loop: deterministic, faithful to the global batch, validated on val, stopped by invalid values."""

import json
from dataclasses import replace

import pytest
import torch

from slq.caching.feature_cache import read_training_inputs
from slq.common.errors import SlqError
from slq.common.events import EventLog
from slq.common.snapshots import snapshot_sha256, write_manifest
from slq.datasets.splits import read_split, write_split
from slq.methods.adapter import build_retriever
from slq.models.backbone import hash_weights
from slq.models.prefix import require_texts_fit
from slq.synthetic.datasets import draw_split
from slq.training.distributed import DistributedContext
from slq.training.execution import clip_gradients
from slq.training.grad_cache import compute_loss_and_gradients
from slq.training.loop import BestEpoch, RunContext, linear_schedule, train
from slq.training.run import prepare_retriever
from together import pairs_of

SETTINGS = {
    "epochs": 2,
    "batch_size": 20,
    "micro_batch_size": 20,
    "grad_cache": False,
    "image_cache": "none",
    "checkpoint_steps": 100,
    "mask_same_image": False,
    "temperature": 0.07,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "checkpoint_selection": "last",
    "cache_images_in_memory": True,
    "num_workers": 0,
}
HYPERPARAMETERS = {
    "slq": {"queries": 4, "init": "normal", "learning_rate": 0.03, "warmup_steps": 2},
    "full_ft": {"learning_rate": 0.001, "warmup_steps": 2},
    "lora": {"rank": 2, "alpha": 4, "dropout": 0.0, "learning_rate": 0.01, "warmup_steps": 2},
}
PROMPT = {"text": "", "image": ""}


def log_temperature():
    return torch.tensor(0.07).log().requires_grad_()


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    settings = {"dataset": "drawn", "split": "train", "hub_layout": None, "style": "filled", "words": "plain"}
    draw_split(settings | {"first": 0, "count": 12, "families": False, "seed": 7}, data / "drawn" / "train")
    return read_split(data, "drawn", "train")


def test_training_reads_train_and_val_and_no_test_split(tmp_path):
    """The dataset has all three splits."""
    for part in ("train", "val", "test"):
        folder = tmp_path / "data" / "s" / part
        folder.mkdir(parents=True)
        item = {"id": part, "image": "0.png", "captions": [f"of {part}"]}
        write_split(folder, "s", part, "retrieval", [item], image_hashes={"0.png": part})
    write_manifest(tmp_path / "backbone", {}, {"model.safetensors": "0"})
    found, inputs = read_training_inputs(tmp_path / "backbone", tmp_path / "data", "s")
    assert {part: split.items[0]["id"] for part, split in found.items()} == {"train": "train", "val": "val"}
    splits = {part: read_split(tmp_path / "data", "s", part).sha256 for part in ("train", "val")}
    assert inputs == {"backbone": snapshot_sha256(tmp_path / "backbone"), **splits}


def test_the_rate_warms_up_and_ends_near_nothing():
    rate = linear_schedule(0.8, warmup_steps=4, steps=12)
    assert [rate(step) for step in range(12)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    )


def test_gradients_above_the_norm_are_scaled_to_it_and_others_left_alone():
    for limit, expected in ((1.0, [0.6, 0.8]), (10.0, [3.0, 4.0])):
        parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        for parameter, value in zip(parameters, (3.0, 4.0), strict=True):
            parameter.grad = torch.tensor([value])
        assert clip_gradients(parameters, limit, DistributedContext()).item() == pytest.approx(5.0)
        assert [parameter.grad.item() for parameter in parameters] == pytest.approx(expected, rel=1e-5)


def test_of_equally_good_epochs_the_earlier_is_kept():
    best = BestEpoch()
    for epoch, recall in enumerate([1.0, 3.0, 3.0, 2.0]):
        best.update_if_better([torch.tensor([float(epoch)])], {"t2i": {"R@1": recall}}, epoch)
    assert best.epoch == 1 and best.tensors[0].item() == 1.0


def run(backbone, split, folder, method="slq", seed=1, validate=lambda retriever: {"t2i": {"R@1": 0.0}}, **changes):
    """Train a method for a few steps; returns retriever, outcome and events."""
    retriever = build_retriever(method, backbone, HYPERPARAMETERS[method], seed)
    attempt = RunContext(EventLog(folder / "events.jsonl", run="test"), DistributedContext(), None, lambda: None)
    pairs = pairs_of(backbone, split, PROMPT)
    outcome = train(retriever, pairs, SETTINGS | changes, HYPERPARAMETERS[method], seed, attempt, validate)
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return retriever, outcome, lines


@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_training_lowers_the_loss_and_repeats_exactly(fresh_backbone, split, tmp_path, method):
    outcomes = []
    for attempt in ("a", "b"):
        retriever, outcome, lines = run(fresh_backbone(), split, tmp_path / attempt, method, epochs=6)
        losses = [line["loss"] for line in lines if line["event"] == "step"]
        assert len(losses) == 6 * (60 // 20)
        assert sum(losses[-3:]) < sum(losses[:3])
        outcomes.append((dict(retriever.named_trainable_parameters()), outcome.temperature))
    (first, one), (second, two) = outcomes
    assert one == two
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_trains_other_queries(fresh_backbone, split, tmp_path):
    one, _, _ = run(fresh_backbone(), split, tmp_path / "1", seed=1)
    two, _, _ = run(fresh_backbone(), split, tmp_path / "2", seed=2)
    assert not torch.equal(one.queries, two.queries)


@pytest.mark.parametrize(("method", "changes"), [("slq", False), ("lora", False), ("full_ft", True)])
def test_the_frozen_stay_frozen(fresh_backbone, split, tmp_path, method, changes):
    backbone = fresh_backbone()
    before = hash_weights(backbone.model)
    run(backbone, split, tmp_path, method)
    assert (hash_weights(backbone.model) != before) == changes


@pytest.mark.parametrize("mask", [False, True], ids=["off", "mask"])
@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_the_gradient_does_not_depend_on_the_micro_batch(fresh_backbone, split, method, mask):
    """The batch is every second caption of the first four images: two or three of each, in different chunks."""
    gradients = []
    for micro_batch_size, grad_cache in ((10, False), (3, False), (3, True)):
        backbone = fresh_backbone()
        retriever = build_retriever(method, backbone, HYPERPARAMETERS[method], seed=0)
        pairs = pairs_of(backbone, split, PROMPT, cache_images_in_memory=True)
        settings = SETTINGS | {"micro_batch_size": micro_batch_size, "grad_cache": grad_cache, "mask_same_image": mask}
        compute_loss_and_gradients(
            retriever, [pairs[i] for i in range(0, 20, 2)], log_temperature(), settings, DistributedContext()
        )
        trainable = retriever.named_trainable_parameters()
        gradients.append(torch.cat([tensor.grad.flatten() for _, tensor in trainable if tensor.grad is not None]))
    assert gradients[0].norm() > 0
    for other in gradients[1:]:
        assert (gradients[0] - other).norm() / gradients[0].norm() < 1e-4


def test_the_loss_knows_which_image_a_pair_shows(fresh_backbone, split):
    """With the setting on, the loss leaves out the other captions of each pair's image."""
    backbone = fresh_backbone()
    retriever = build_retriever("slq", backbone, HYPERPARAMETERS["slq"], seed=0)
    pairs = pairs_of(backbone, split, PROMPT, cache_images_in_memory=True)
    numbers = [0, 7, 3, 31, 5, 1, 58]  # of captions, five per image in order: two images occur two or three times
    batch = [pairs[number] for number in numbers]
    images, texts = (retriever.embed([getattr(pair, part) for pair in batch]) for part in ("image", "text"))
    logits = images @ texts.T / 0.07
    negative = torch.tensor([[i // 5 != j // 5 or i == j for j in numbers] for i in numbers])
    expected = sum(
        (logits.exp() * negative).sum(axis).log() - logits.diag() for axis in (0, 1)
    ).mean() / 2  # fmt: skip
    losses = [
        compute_loss_and_gradients(
            retriever,
            batch,
            log_temperature(),
            SETTINGS | {"micro_batch_size": 3, "mask_same_image": mask},
            DistributedContext(),
        ).item()
        for mask in (True, False)
    ]
    assert losses[0] == pytest.approx(expected.item(), rel=1e-4)
    assert losses[1] > losses[0] + 0.1


def test_masking_trains_other_queries(fresh_backbone, split, tmp_path):
    one, _, _ = run(fresh_backbone(), split, tmp_path / "off")
    two, _, _ = run(fresh_backbone(), split, tmp_path / "on", mask_same_image=True)
    assert not torch.equal(one.queries, two.queries)


def test_keep_best_restores_the_best_epoch_on_val(fresh_backbone, split, tmp_path):
    seen, scores = [], iter([1.0, 3.0, 2.0])

    def validate(retriever):
        seen.append(retriever.queries.detach().clone())
        return {"t2i": {"R@1": next(scores)}}

    retriever, outcome, _ = run(
        fresh_backbone(), split, tmp_path, validate=validate, epochs=3, checkpoint_selection="best"
    )
    assert outcome.selected_epoch == 1
    assert torch.equal(retriever.queries, seen[1])


def test_keep_last_ignores_val(fresh_backbone, split, tmp_path):
    scores = iter([9.0, 1.0])
    validate = lambda retriever: {"t2i": {"R@1": next(scores)}}  # noqa: E731
    _, outcome, _ = run(fresh_backbone(), split, tmp_path, validate=validate)
    assert outcome.selected_epoch == 1
    assert [entry["t2i"]["R@1"] for entry in outcome.val_recalls] == [9.0, 1.0]


def test_events_have_spans_steps_and_val(fresh_backbone, split, tmp_path):
    _, _, lines = run(fresh_backbone(), split, tmp_path)
    spans = [line for line in lines if line["event"] == "span"]
    assert [span["name"] for span in spans] == ["train", "eval"] * 2
    assert all(span["seconds"] > 0 and span["start"] > 1e9 and span["run"] == "test" for span in spans)
    assert [line["step"] for line in lines if line["event"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in lines if line["event"] == "val"] == [0, 1]


def test_a_loss_that_is_not_a_number_stops(fresh_backbone, split, tmp_path):
    with pytest.raises(SlqError, match=r"loss is nan after 0 steps; .*epoch 1, batch of images \S+, .* of drawn"):
        run(fresh_backbone(), split, tmp_path, temperature=float("nan"))


def test_a_batch_larger_than_the_split_stops(fresh_backbone, split, tmp_path):
    with pytest.raises(SlqError, match=r"60 training pairs are fewer than one batch of 61; lower training\.batch_size"):
        run(fresh_backbone(), split, tmp_path, batch_size=61)


def test_a_caption_beyond_the_positions_stops_before_the_first_step(slice_, monkeypatch):
    """The last image's caption needs 270 words, 5 tokens of the turn and 2 queries; an epoch may reach it only late."""

    def with_a_long_one(*paths):
        splits, inputs = read_training_inputs(*paths)
        last = splits["train"].items[-1]
        splits["train"].items[-1] = last | {"captions": [*last["captions"], " ".join(["a red ring"] * 90)]}
        return splits, inputs

    monkeypatch.setattr("slq.training.run.read_training_inputs", with_a_long_one)
    monkeypatch.setattr("slq.training.run.train", lambda *_: pytest.fail("training began"))
    with pytest.raises(SlqError, match=r"needs 277 positions, .* has 256 .*it begins 'user a red ring a"):
        slice_.train("slq", "long_caption")


def test_a_caption_that_spells_an_images_token_trains_as_a_text(fresh_backbone, split, tmp_path):
    """An image token's name counts as any other word unknown to the backbone, so the queries are the same."""

    def with_word(word):
        first, *others = split.items
        return replace(split, items=[first | {"captions": [f"a tag called {word}", *first["captions"]]}, *others])

    words = (fresh_backbone().family.placeholder, "zebra")
    spelled, unknown = (run(fresh_backbone(), with_word(word), tmp_path)[0].queries for word in words)
    assert torch.equal(spelled, unknown)


def test_a_caption_with_a_word_that_has_no_embedding_is_named_before_the_first_step(slice_, monkeypatch):
    """The tokenizer has a token without an embedding."""

    def with_a_zebra(*paths):
        splits, inputs = read_training_inputs(*paths)
        last = splits["train"].items[-1]
        splits["train"].items[-1] = last | {"captions": [*last["captions"], "a zebra"]}
        return splits, inputs

    def with_a_word_more(*arguments):
        retriever = prepare_retriever(*arguments)
        retriever.backbone.tokenizer.add_tokens(["zebra"])
        return retriever

    monkeypatch.setattr("slq.training.run.read_training_inputs", with_a_zebra)
    monkeypatch.setattr("slq.training.run.prepare_retriever", with_a_word_more)
    monkeypatch.setattr("slq.training.run.train", lambda *_: pytest.fail("training began"))
    last = read_split(slice_.data, "mini-coco", "train").items[-1]["id"]
    words = f"mini-coco: item '{last}': the token 'zebra' has id "
    with pytest.raises(SlqError, match=rf"{words}(\d+) in a tokenizer .* has only \1 rows.*the text begins 'a zebra'"):
        slice_.train("slq", "a_word_more")


def test_only_texts_that_could_be_too_long_are_tokenized(tiny_backbone, monkeypatch):
    asked = []
    monkeypatch.setattr("slq.models.prefix.collate", lambda backbone, batch, behind: asked.append(len(batch[0].ids)))
    require_texts_fit(tiny_backbone, ["a red ring", "a" * 300, "ring " * 60], "", 8)
    assert asked == [6, 65]
