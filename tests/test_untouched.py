"""With SLQ's adapter loaded the backbone answers as base does, token for token; and the check of that can fail."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from snakemake.utils import update_config

from checkout import ROOT
from slq import settings
from slq.data.prepared import Split, read_split
from slq.errors import SlqError
from slq.evaluation.embed import embed_split
from slq.evaluation.retention import answered_otherwise, reply_tokens
from slq.evaluation.run import load_run
from slq.models import methods
from slq.models.backbone import hash_weights
from slq.training import run as training_run
from slq.training.run import register_base, run_training
from slq.world.backbones import pretrain
from slq.world.sets import draw_split

BACKBONE = "mini-internvl"
METHODS = ("base", "slq", "lora", "full_ft")
SEED = 1


@pytest.fixture(scope="module")
def config():
    """The mini preset in the sizes of the slice."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(config, yaml.safe_load((ROOT / "tests/slice.yaml").read_text()))
    return config


@dataclass
class Slice:
    """The slice's backbone, splits and runs, where the workflow has them."""

    root: Path
    config: dict

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def snapshot(self) -> Path:
        return self.root / "backbone"

    @property
    def questions(self) -> Split:
        return read_split(self.root / "test", "mini-realworldqa", "test")

    def settings(self, method: str) -> dict:
        return json.loads(settings.train_settings(self.config, BACKBONE, method))

    def train(self, method: str, name: str | None = None) -> None:
        """A run under `name`, as the rules `register_base` and `train` start it."""
        folder = self.root / (name or method)
        adapter, run = folder / "adapter", folder / "run.json"
        if method == "base":
            register_base(self.settings(method), self.snapshot, adapter, run)
            return
        paths = (self.snapshot, self.data, "mini-coco", self.root / "work", adapter, run, folder / "events.jsonl")
        run_training(self.settings(method), SEED, *paths, lambda *_: {"t2i": {"R@1": 0.0}})

    def load(self, method: str):
        """Backbone and retriever of a run, as evaluation loads them."""
        return load_run(self.settings(method), self.snapshot, self.root / method / "adapter")

    def weights(self, method: str) -> dict:
        return json.loads((self.root / method / "run.json").read_text())["weights"]

    def vectors(self, backbone, retriever):
        """Of the val split's images and captions."""
        split = read_split(self.data, "mini-coco", "val")
        return embed_split(retriever, backbone, split, {"text": "", "image": ""}, 16)[:2]


@pytest.fixture(scope="module")
def slice_(config, tmp_path_factory):
    """Every method trained; where training looks for data there is no test split."""
    slice_ = Slice(tmp_path_factory.mktemp("slice"), config)
    for folder, name, split in (
        (slice_.data, "mini-coco", "train"),
        (slice_.data, "mini-coco", "val"),
        (slice_.root / "test", "mini-realworldqa", "test"),
    ):
        draw_split(json.loads(settings.draw_settings(config, name, split)), folder / name / split)
    # After twenty steps every answer is the end of the turn, after forty there are several.
    pretrain(json.loads(settings.pretrain_settings(config, BACKBONE)) | {"steps": 40}, slice_.data, slice_.snapshot)
    for method in METHODS:
        slice_.train(method)
    return slice_


def changed_answers(slice_, backbone):
    """The check: ids of the questions that a backbone answers with other tokens than base."""
    base, _ = slice_.load("base")
    replies = [reply_tokens(one, slice_.questions, max_new_tokens=8, batch_size=16) for one in (base, backbone)]
    assert len(replies[0]) == 16 and len(set(map(tuple, replies[0]))) > 2
    return answered_otherwise(slice_.questions.items, *replies)


def test_a_reply_ends_at_its_end_token_whatever_stands_beside_it_in_a_batch(slice_):
    backbone, _ = slice_.load("base")
    replies = reply_tokens(backbone, slice_.questions, max_new_tokens=8, batch_size=16)
    assert replies == reply_tokens(backbone, slice_.questions, max_new_tokens=8, batch_size=1)
    end = backbone.tokenizer.eos_token_id
    assert {len(reply) for reply in replies if reply[-1] != end} <= {8}
    assert len({len(reply) for reply in replies if reply[-1] == end}) > 1
    assert all(end not in reply[:-1] for reply in replies)


def test_with_slqs_adapter_loaded_the_answers_are_bases_token_for_token(slice_):
    backbone, _ = slice_.load("slq")
    assert hash_weights(backbone.model) == hash_weights(slice_.load("base")[0].model)
    assert changed_answers(slice_, backbone) == []


def test_the_adapter_is_really_loaded(slice_):
    """Not zero, not what it began as, and retrieval sees it: vectors are neither base's nor those of the beginning."""
    backbone, retriever = slice_.load("slq")
    start = methods.begin("slq", slice_.load("base")[0], slice_.settings("slq")["tuning"], SEED)
    assert retriever.backbone is backbone
    assert torch.all(retriever.queries.norm(dim=1) > 0)
    assert torch.all((retriever.queries - start.queries).norm(dim=1) > 0.1 * start.queries.norm(dim=1))
    trained = slice_.vectors(backbone, retriever)
    for other in (slice_.load("base"), (start.backbone, start)):
        for ours, theirs in zip(trained, slice_.vectors(*other), strict=True):
            assert (ours * theirs).sum(1).max() < 0.99


@pytest.mark.parametrize("method", ["full_ft", "lora"])
def test_the_check_fails_for_a_tuned_backbone(slice_, method):
    backbone, _ = slice_.load(method)
    assert changed_answers(slice_, backbone)


def test_the_check_fails_for_one_weight_that_tips_every_answer(slice_):
    """One entry of the last norm's scale, so large that it alone decides: among all words, for one of two."""
    backbone, _ = slice_.load("slq")
    base = reply_tokens(backbone, slice_.questions, max_new_tokens=1, batch_size=16)
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
