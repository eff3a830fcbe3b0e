"""Re-ranking: from scores to a new order and its ranks, and the job."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asjob import run_job
from asking import ANSWER, PROMPT
from checkout import planned
from slq.baselines.candidates import (
    order_by_listwise_choice,
    order_by_pointwise_score,
    select_candidates,
    top_k_indices,
    update_ranks,
)
from slq.common.files import read_json, read_jsonl
from slq.config import baseline_settings, job_settings
from slq.config.loading import validate_config
from slq.datasets.splits import read_split
from slq.evaluation.rank_table import RetrievalVariant
from slq.evaluation.ranks import Ranks, compute_recalls
from slq.evaluation.rescoring import recheck_ranks
from slq.synthetic.datasets import draw_split


def test_the_chosen_one_comes_first_and_the_others_in_coarse_order():
    chances = np.array([[0.1, 0.2, 0.6], [0.3, 0.3, 0.1], [0.0, 0.5, 0.5]])
    assert order_by_listwise_choice(chances).tolist() == [[2, 0, 1], [0, 1, 2], [1, 0, 2]]


# ---- order and ranks


def test_the_order_is_that_of_a_plain_sort():
    draw = np.random.default_rng(0)
    probability = draw.random((200, 5)).astype(np.float32).round(2)
    probability += draw.random((200, 5)).astype(np.float32) / 1000
    entropy = draw.random((200, 5)).astype(np.float32).round(1)
    for row, (ps, hs) in enumerate(zip(probability.tolist(), entropy.tolist(), strict=True)):
        expected = sorted(range(5), key=lambda n: (-math.floor(ps[n] * 100), hs[n], n))
        assert order_by_pointwise_score(probability, entropy, 2)[row].tolist() == expected


def test_a_tie_is_broken_by_entropy_and_then_by_the_coarse_place():
    probability = np.array([[0.911, 0.919, 0.92, 0.912]], np.float32)
    assert order_by_pointwise_score(probability, np.array([[0.5, 0.4, 0.9, 0.4]], np.float32), 2).tolist() == [
        [2, 1, 3, 0]
    ]


def test_a_positive_outside_the_candidates_keeps_its_rank_but_stands_behind_them():
    coarse = Ranks(np.array([1, 2, 7, 3], np.int32), np.array([1, 2, 9, 9], np.int32))
    positive = np.array([[False, False, True], [True, False, False], [False] * 3, [False] * 3])
    new = update_ranks(coarse, positive)
    assert new.optimistic.tolist() == [3, 1, 7, 4]  # the last is a tie that the dataset's order cut off
    assert new.pessimistic.tolist() == [3, 1, 9, 9]
    assert new.optimistic.dtype == np.int32


@pytest.mark.parametrize("seed", range(5))
def test_r_at_1_never_exceeds_the_coarse_r_at_k(seed):
    """This also holds with many ties, which coarse values cause, and with a random order."""
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 3, (300, 30)).astype(np.float32)
    own = draw.integers(0, 30, 300)
    similar = np.take_along_axis(scores, own[:, None], 1)
    coarse = Ranks(1 + (scores > similar).sum(1), (scores >= similar).sum(1))
    first = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    new = np.take_along_axis(first, np.array([draw.permutation(5) for _ in first]), 1)
    after = update_ranks(coarse, new == own[:, None])
    assert compute_recalls(after.optimistic)["R@1"] <= compute_recalls(coarse.optimistic)["R@5"]
    assert (after.optimistic <= after.pessimistic).all()
    assert ((after.optimistic <= 5) == (first == own[:, None]).any(1)).all()


def unit(draw, count, width=6):
    vectors = draw.normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_candidates_are_the_first_of_a_sorted_list_within_the_variants_gallery():
    draw = np.random.default_rng(3)
    images, of_images = unit(draw, 12), np.repeat(np.arange(12), 3)
    texts = unit(draw, 36)
    texts[5] = texts[2]  # equally similar to everything
    other = (unit(draw, 12), unit(draw, 36))
    found = select_candidates((images, texts), other, of_images, RetrievalVariant("folds", captions=2, fold=4), 3)
    assert found.query_captions.tolist() == [n for n in range(36) if n % 3 < 2]
    for row, caption in enumerate(found.query_captions):
        fold = [image for image in range(12) if image // 4 == of_images[caption] // 4]
        expected = sorted(fold, key=lambda image: (-np.float32(texts[caption] @ images[image]), image))[:3]
        assert found.image_candidates[row].tolist() == expected
    for image in range(12):
        inside = [n for n in found.query_captions if of_images[n] // 4 == image // 4]
        expected = sorted(inside, key=lambda n: (-np.float32(other[0][image] @ other[1][n]), n))[:3]
        assert found.caption_candidates[image].tolist() == expected
    assert top_k_indices(images, texts, 36)[0].tolist().index(2) < top_k_indices(images, texts, 36)[0].tolist().index(5)
    assert top_k_indices(images, texts, 99).shape == (12, 36)


# ---- the command


def test_rows_are_planned_on_what_finds_and_on_whom_is_asked(pristine, tmp_path):
    """A row on a comparator's list needs its model; a row on a run's list needs the run, the first of several seeds."""
    mini = {"backbones": ["mini-internvl"], "baselines": ["slq.by.base", "CLIP.by.base"]}
    own = {"CLIP.by.base": {"kind": "rerank", "first_stage": "CLIP-ViT-B-32", "reranker": "base"}}
    (tmp_path / "mine.yaml").write_text(json.dumps({"presets": {"mini": mini}, "baselines": own, "seeds": [1, 2]}))
    plan = planned(pristine, "--cores", "1", "baselines", "--configfile", str(tmp_path / "mine.yaml"))
    expected = {
        "evaluate_baseline": 2,
        "register_base": 1,
        "train": 1,
        "fetch_source": 1,
    }
    assert {rule: plan.get(rule, 0) for rule in expected} == expected


class Command:
    """Re-ranking of the slice's runs as its rule calls it, with prompts from the slice's small vocabulary."""

    def __init__(self, slice_, root, **changes):
        self.slice_, self.data = slice_, root / "data"
        raw = slice_.config
        preset = raw["presets"]["mini"]
        preset["rerank"] |= {
            **{"positive_answer": ANSWER, "batch_size": 5},
            **{"match_prompt": PROMPT, "choice_prompt": "{options}\nwhat shape is red ?"},
        }
        preset["baselines"] = ["slq.by.base"]
        self.raw = raw
        self.settings = baseline_settings.baseline_settings(validate_config(raw), "mini-internvl.slq.by.base") | changes
        for name in ("mini-coco", "mini-flickr30k"):
            draw_split(job_settings.synthetic_split_settings(raw, name, "test"), self.data / name / "test")

    def __call__(self, out, finder, **changes):
        """Re-rank; `finder` is the adapter.json, or the snapshot's manifest, of the first stage."""
        reranker = self.slice_.root / "base" / "adapter" / "adapter.json"
        inputs = {"backbone": self.slice_.snapshot / "manifest.json", "first_stage": finder, "reranker": reranker}
        paths = {"inputs": inputs, "data": self.data, "work": out.with_name("work"), "out": out}
        return run_job("evaluate_baseline", "--threads", "1", settings=self.settings | changes, **paths)

    def retrieve(self, out):
        """Write the first stage's own metrics."""
        adapter = self.slice_.root / "slq" / "adapter"
        told = job_settings.retrieval_settings(self.raw, "mini-internvl")
        paths = {"backbone_folder": self.slice_.snapshot, "adapter_folder": adapter, "data": self.data, "out": out}
        events = {"events_file": out / "retrieval.jsonl"}
        assert run_job("evaluate_retrieval", "--threads", "1", settings=told, **paths, **events) == 0


@pytest.fixture(scope="module")
def reranked(slice_, tmp_path_factory):
    root = tmp_path_factory.mktemp("rerank")
    command = Command(slice_, root)
    assert command(root / "row", slice_.root / "slq" / "adapter" / "adapter.json") == 0
    command.retrieve(root / "coarse")
    return command, root


def test_the_command_writes_what_the_contract_of_rows_says(reranked):
    command, root = reranked
    row = read_json(root / "row" / "baseline.json")
    assert (row["schema"], row["baseline"], row["kind"]) == (2, "mini-internvl.slq.by.base", "rerank")
    assert row["settings"] == command.settings and row["provenance"]["versions"] and row["device"]["kind"]
    spans = [line for line in read_jsonl(root / "row" / "events" / "retrieval.jsonl") if line["event"] == "span"]
    assert {(span["name"], span.get("dataset")) for span in spans} == {
        ("init", None),
        ("eval", "mini-coco"),
        ("eval", "mini-flickr30k"),
    }
    for name in ("mini-coco", "mini-flickr30k"):
        path = root / "row" / "retrieval" / f"{name}.json"
        assert recheck_ranks(path).changed_keys == []
        assert read_json(path)["inputs"].keys() == {
            "backbone",
            "first_stage",
            "reranker",
            "dataset",
            "settings",
            "gallery",
            "ranks",
        }
    assert not list(root.rglob("*.tmp"))


def by_variant(folder, name):
    content = read_json(folder / f"{name}.json")
    others = {variant: one["metrics"] for variant, one in content["variants"].items()}
    return {content["variant"]: content["metrics"], **others}


@pytest.mark.parametrize("name", ["mini-coco", "mini-flickr30k"])
def test_r_at_1_is_bounded_by_the_coarse_r_at_5_and_larger_k_stay(reranked, name):
    _, root = reranked
    before, after = (by_variant(root / folder, name) for folder in ("coarse", "row/retrieval"))
    assert before.keys() == after.keys()
    for variant, metrics in after.items():
        for direction in ("t2i", "i2t"):
            then = before[variant][direction]
            assert metrics[direction]["R@1"] <= then["R@5"] == metrics[direction]["R@5"]
            assert metrics[direction]["R@10"] == then["R@10"]


@pytest.mark.parametrize("name", ["mini-coco", "mini-flickr30k"])
def test_stored_lines_give_the_stored_ranks(reranked, name):
    """Order follows from scores and ranks from order, computed by hand, so that another tie-break can be tried."""
    _, root = reranked
    ranks = pd.read_parquet(root / "row" / "retrieval" / f"{name}.ranks.parquet")
    coarse = pd.read_parquet(root / "coarse" / f"{name}.ranks.parquet")
    lines = read_jsonl(root / "row" / "retrieval" / f"{name}.reranked.jsonl")
    key = ["variant", "direction", "query"]
    now, then = (table.set_index(key)["rank"] for table in (ranks, coarse))
    assert sum(len(line["variants"]) for line in lines) == (ranks["direction"] != "i2t_strict").sum()
    for line in lines:
        scored = range(len(line["candidates"]))
        if line["direction"] == "t2i":
            places = [(-math.floor(line["score"][n] * 100), line["entropy"][n], n) for n in scored]
            positives = [n for n in scored if line["candidates"][n] == line["query"].rpartition("#")[0]]
        else:
            best = max(scored, key=lambda n: line["score"][n])
            places = [(n != best, n) for n in scored]
            positives = [n for n in scored if line["candidates"][n].rpartition("#")[0] == line["query"]]
        order = sorted(scored, key=lambda n: places[n])
        assert line["order"] == order
        for variant in line["variants"]:
            query = (variant, line["direction"], line["query"])
            expected = 1 + min(map(order.index, positives)) if positives else max(then[query], len(order) + 1)
            assert now[query] == expected


def test_candidates_are_of_their_folds_gallery(reranked):
    _, root = reranked
    lines = read_jsonl(root / "row" / "retrieval" / "mini-coco.reranked.jsonl")
    places = {item["id"]: n for n, item in enumerate(read_split(root / "data", "mini-coco", "test").items)}
    folds = [line for line in lines if "folds" in line["variants"]]
    assert folds
    for line in folds:
        images = {one.rpartition("#")[0] or one for one in [line["query"], *line["candidates"]]}
        assert len({places[image] // 8 for image in images}) == 1


def test_a_comparators_list_is_re_ranked_too(reranked, slice_, tmp_path):
    """The first stage is the backbone read out by a zero query, with different vectors for each direction."""
    command, _ = reranked
    turns = {"text": "{text}", "image": "{image}"}
    readout = {"queries": 1, "instructions": {"t2i": turns, "i2t": turns | {"image": "{image} what shape ?"}}}
    model = {"backbone": "mini-internvl", "family": "internvl", "dtype": "float32", "readout": readout}
    datasets = [one for one in command.settings["datasets"] if one["name"] == "mini-flickr30k"]
    assert (
        command(tmp_path / "row", slice_.snapshot / "manifest.json", first_stage={"model": model}, datasets=datasets)
        == 0
    )
    assert recheck_ranks(tmp_path / "row" / "retrieval" / "mini-flickr30k.json").changed_keys == []


def test_injection_changes_scores_and_batches_do_not(reranked, slice_, tmp_path):
    command, root = reranked
    datasets = [one for one in command.settings["datasets"] if one["name"] == "mini-flickr30k"]
    adapter = slice_.root / "slq" / "adapter" / "adapter.json"
    injection = {"ratio": 0.3, "layers": [5, 16], "entropy": 0.0}
    assert command(tmp_path / "injected", adapter, injection=injection, datasets=datasets) == 0
    assert command(tmp_path / "batched", adapter, batch_size=3, datasets=datasets) == 0
    scores = [
        np.array([line["score"] for line in read_jsonl(Path(folder) / "retrieval" / "mini-flickr30k.reranked.jsonl")])
        for folder in (root / "row", tmp_path / "injected", tmp_path / "batched")
    ]
    assert np.abs(scores[0] - scores[1]).max() > 1e-4
    assert np.abs(scores[0] - scores[2]).max() < 1e-5


def test_an_answer_that_the_backbone_cannot_give_stops_it_and_nothing_is_written(reranked, slice_, tmp_path, capsys):
    command, _ = reranked
    orders = tmp_path / "row/retrieval/mini-coco.reranked.jsonl"
    orders.parent.mkdir(parents=True)
    orders.write_text("of an earlier evaluation")
    assert command(tmp_path / "row", slice_.root / "slq" / "adapter" / "adapter.json", positive_answer="verily") == 1
    assert "rerank.positive_answer" in capsys.readouterr().err
    assert not (tmp_path / "row" / "baseline.json").exists() and list(orders.parent.iterdir()) == []
