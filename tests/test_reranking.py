"""RetLLM's second stage against plain implementations of its parts, and the command that re-ranks."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from checkout import planned
from oracles import LONG, RED, SHORT, TALL, WIDE, untrained
from slq import cli, row_settings, settings
from slq.config import load
from slq.data.prepared import read_split
from slq.errors import SlqError
from slq.evaluation.ranks import Ranks, recalls
from slq.evaluation.rescored_ranks import recount
from slq.evaluation.variants import Variant
from slq.files import read_json, read_lines
from slq.models.prefix import collate, continue_positions
from slq.reranking.candidates import candidates, nearest
from slq.reranking.choose import choosing, option_tokens, options, shown_order, undo
from slq.reranking.inject import Injection, injecting, looking
from slq.reranking.judge import Manner, first_token, head, image_places, judge, matching, tail, truth
from slq.reranking.order import by_choice, by_truth, moved
from slq.rows import rows_of
from slq.world.sets import draw_split

PROMPT = "{text}\nwhat color is the shape ?"
TEXTS = [SHORT, LONG, "a ring", "a blue square above a green ring"]
ANSWER = "red"


def asked(backbone, images=(RED, WIDE, TALL), texts=TEXTS):
    """Of each image a turn per text; the images' prefixes differ in length where the family's do."""
    return [matching(backbone, backbone.family.process(image), PROMPT, texts) for image in images]


def next_logits(backbone, turn):
    """Oracle: the stock forward, head and all, over one turn by itself, without padding."""
    inputs = collate(backbone, [turn])
    with torch.inference_mode():
        return backbone.model(**inputs).logits[0, -1].tolist()


def plain_softmax(logits):
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def plain_entropy(probabilities):
    return -sum(p * math.log(p) for p in probabilities if p)


def read_truth(backbone):
    return truth(first_token(backbone, ANSWER, "rerank.answer"))


# ---- the probability of the answer, and the entropy


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 100])
def test_probability_and_entropy_are_the_stock_forwards(tiny_backbone, rows, reuse):
    """Whatever runs together, however it is padded, with an image's prefix reused or not."""
    turns = asked(tiny_backbone)
    found = judge(tiny_backbone, turns, read_truth(tiny_backbone), Manner(rows, reuse=reuse))
    token = tiny_backbone.tokenizer(ANSWER)["input_ids"][0]
    expected = []
    for turn in (turn for some in turns for turn in some):
        spread = plain_softmax(next_logits(tiny_backbone, turn))
        expected.append([spread[token], plain_entropy(spread)])
    assert np.array(expected)[:, 0].std() > 1e-4  # candidates differ, so a wrong order would be seen
    assert np.abs(found.numpy() - expected).max() < 1e-5


def test_a_wrong_position_behind_the_prefix_would_be_seen(tiny_backbone, monkeypatch):
    turns, read = asked(tiny_backbone), read_truth(tiny_backbone)
    right = judge(tiny_backbone, turns, read, Manner(100))
    monkeypatch.setattr(
        "slq.reranking.judge.continue_positions", lambda positions, count: continue_positions(positions, count) + 1
    )
    assert (judge(tiny_backbone, turns, read, Manner(100)) - right).abs().max() > 1e-4


def test_a_turn_is_cut_among_its_tokens_at_the_end_of_its_image(tiny_backbone):
    turns = asked(tiny_backbone)[0]
    for turn in turns:
        first = head(tiny_backbone, turn)
        assert first.ids + tail(tiny_backbone, turn) == turn.ids
        assert first.ids == head(tiny_backbone, turns[0]).ids
        assert turn.ids.count(first.ids[-1]) == first.ids.count(first.ids[-1]) == turn.images[0].tokens


def test_braces_in_a_caption_are_a_captions(tiny_backbone):
    (turn,) = matching(tiny_backbone, tiny_backbone.family.process(RED), PROMPT, ["a {text} {0} ring"])
    assert PROMPT.split("\n")[1].split()[0] in tiny_backbone.tokenizer.decode(turn.ids)


def test_an_answer_without_a_token_is_refused(tiny_backbone):
    with pytest.raises(SlqError, match=r"rerank\.answer.*'verily'"):
        first_token(tiny_backbone, "verily", "rerank.answer")


def test_reuse_is_twice_as_fast_with_five_candidates(raw_config, tmp_path):
    """256 image tokens, as InternVL3 has, and the mini preset's widths."""
    entry = raw_config["backbones"]["mini-internvl"]
    model, size = entry["pretrain"]["model"], {"height": 224, "width": 224}
    model |= {"image_seq_length": 256}
    model["vision_config"] |= {"image_size": [224, 224]}
    model["text_config"] |= {"max_position_embeddings": 1024}
    entry["pretrain"]["image_processor"] |= {"size": size}
    backbone = untrained("mini-internvl", entry, tmp_path)
    turns = asked(backbone, [RED, WIDE, TALL, RED], [*TEXTS, "a red ring"])
    read, seconds, found = read_truth(backbone), {}, {}
    for reuse in (True, False, True, False, True, False):
        start = time.perf_counter()
        found[reuse] = judge(backbone, turns, read, Manner(20, reuse=reuse))
        seconds[reuse] = min(time.perf_counter() - start, seconds.get(reuse, math.inf))
    assert (found[True] - found[False]).abs().max() < 1e-5
    assert seconds[False] > 2 * seconds[True]


# ---- visual re-injection


def lens(backbone, states):
    """Oracle: entropy of the ten likeliest tokens among themselves, by ln 10."""
    logits = sorted(backbone.model.lm_head(states).tolist(), reverse=True)[:10]
    return plain_entropy(plain_softmax(logits)) / math.log(10)


def silu(value):
    return value / (1 + math.exp(-value))


def naive_delta(mlp, x, z, output, behind):
    """Oracle: sums written out, position by position, for one row. x, output (L, d), z (V, d) as lists of tensors."""
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
    """Oracle: logits of one turn by itself, whose one MLP is replaced by a written-out one."""
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
    watched = [n for n in range(len(layers)) if n in how.watched(len(layers))]
    unsure = next((n for n in watched if lens(backbone, captured[n]) > how.entropy), None)
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
    """In one batch, rows that are unsure, and rows that are not and stay as they are."""
    turns = asked(tiny_backbone)
    flat = [turn for some in turns for turn in some]
    everywhere = Injection(0.3, (-1, 16), -1.0)
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
    how = Injection(0.3, (5, 16), float(np.median(bars)))
    for one in (how, everywhere):
        oracles = [naively_injected(tiny_backbone, turn, one, monkeypatch) for turn in flat]
        found = judge(tiny_backbone, turns, lambda logits: logits, Manner(5, one, reuse))
        assert np.abs(found.numpy() - [logits for logits, _ in oracles]).max() < 1e-4
    layers = {layer for _, layer in oracles}
    assert layers == {0}  # the first that is watched, and no other after it
    plain = judge(tiny_backbone, turns, lambda logits: logits, Manner(5))
    injected = judge(tiny_backbone, turns, lambda logits: logits, Manner(5, how, reuse))
    moved_rows = (plain - injected).abs().amax(1) > 1e-3
    assert moved_rows.tolist() == [bar > how.entropy for bar in bars]


def test_watched_layers_are_clipped_to_a_shallow_model():
    assert list(Injection(layers=(5, 16)).watched(28)) == list(range(6, 16))
    assert list(Injection(layers=(5, 16)).watched(12)) == list(range(6, 11))
    assert list(Injection(layers=(5, 16)).watched(3)) == [1]
    assert list(Injection(layers=(5, 16)).watched(2)) == [0]


def hooks(backbone):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in backbone.model.modules())


@torch.inference_mode()
def test_ratio_zero_is_the_identity_bit_for_bit_and_registers_nothing(tiny_backbone):
    off = Injection(0.0, (-1, 16), -1.0)
    turns = sorted(asked(tiny_backbone)[0], key=lambda turn: len(turn.ids))  # as they run together
    inputs = collate(tiny_backbone, turns)
    stock = tiny_backbone.model.lm_head(tiny_backbone.inner(**inputs, use_cache=False).last_hidden_state[:, -1])
    assert torch.equal(judge(tiny_backbone, [turns], lambda logits: logits, Manner(100, off, reuse=False)), stock)
    before = hooks(tiny_backbone)
    places = image_places(tiny_backbone, inputs["input_ids"])
    with looking(tiny_backbone, places, off) as seen, injecting(tiny_backbone, seen, places, off):
        assert hooks(tiny_backbone) == before


def test_hooks_are_gone_afterwards_also_after_an_error(tiny_backbone):
    how, turns = Injection(0.3, (5, 16), 0.0), asked(tiny_backbone)
    plain = judge(tiny_backbone, turns, read_truth(tiny_backbone), Manner(100))
    before = hooks(tiny_backbone)  # transformers has put its own on InternVL's vision tower
    judge(tiny_backbone, turns, read_truth(tiny_backbone), Manner(100, how))
    assert hooks(tiny_backbone) == before
    assert torch.equal(judge(tiny_backbone, turns, read_truth(tiny_backbone), Manner(100)), plain)
    places = image_places(tiny_backbone, collate(tiny_backbone, turns[0])["input_ids"])
    with (
        pytest.raises(KeyError),
        looking(tiny_backbone, places, how) as seen,
        injecting(tiny_backbone, seen, places, how),
    ):
        assert hooks(tiny_backbone) > before
        raise KeyError
    assert hooks(tiny_backbone) == before


# ---- listwise choice


def test_the_order_of_options_is_drawn_for_each_image_and_the_same_every_time():
    orders = [shown_order(str(image), 5) for image in range(400)]
    assert orders == [shown_order(str(image), 5) for image in range(400)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    first = np.bincount([order.index(0) for order in orders], minlength=5)
    assert first.min() > 50  # the coarse list's first stands at every place, about as often


def test_a_choice_is_undone_by_place_so_equal_captions_stay_two():
    shown = shown_order("image 7", 4)
    said = torch.tensor([0.1, 0.4, 0.2, 0.3])
    back = undo(shown, said)
    assert all(back[candidate] == said[place] for place, candidate in enumerate(shown))


def test_the_choice_is_what_one_forward_says_of_the_numbers(tiny_backbone):
    pixels = tiny_backbone.family.process(WIDE)
    turn = choosing(tiny_backbone, pixels, "{options}\nwhat shape is red ?", [SHORT, SHORT, LONG])
    tokens = option_tokens(tiny_backbone, 3)
    (found,) = judge(tiny_backbone, [[turn]], options(tokens), Manner(1, reuse=False))
    spread = plain_softmax(next_logits(tiny_backbone, turn))
    assert found.tolist() == pytest.approx([spread[token] for token in tokens], abs=1e-5)
    said = tiny_backbone.tokenizer.decode(turn.ids)
    assert f"1. {SHORT} 2. {SHORT} 3. {LONG}" in said


def test_more_options_than_numbers_with_a_token_of_their_own_are_refused(tiny_backbone):
    with pytest.raises(SlqError, match=r"rerank\.k.*'10'"):
        option_tokens(tiny_backbone, 10)


def test_the_chosen_one_comes_first_and_the_others_in_coarse_order():
    chances = np.array([[0.1, 0.2, 0.6], [0.3, 0.3, 0.1], [0.0, 0.5, 0.5]])
    assert by_choice(chances).tolist() == [[2, 0, 1], [0, 1, 2], [1, 0, 2]]


# ---- order and ranks


def test_the_order_is_that_of_a_plain_sort():
    draw = np.random.default_rng(0)
    probability = draw.random((200, 5)).astype(np.float32).round(2)
    probability += draw.random((200, 5)).astype(np.float32) / 1000
    entropy = draw.random((200, 5)).astype(np.float32).round(1)
    for row, (ps, hs) in enumerate(zip(probability.tolist(), entropy.tolist(), strict=True)):
        expected = sorted(range(5), key=lambda n: (-math.floor(ps[n] * 100), hs[n], n))
        assert by_truth(probability, entropy, 2)[row].tolist() == expected


def test_a_tie_is_broken_by_entropy_and_then_by_the_coarse_place():
    probability = np.array([[0.911, 0.919, 0.92, 0.912]], np.float32)
    assert by_truth(probability, np.array([[0.5, 0.4, 0.9, 0.4]], np.float32), 2).tolist() == [[2, 1, 3, 0]]


def test_a_positive_outside_the_candidates_keeps_its_rank_but_stands_behind_them():
    coarse = Ranks(np.array([1, 2, 7, 3], np.int32), np.array([1, 2, 9, 9], np.int32))
    positive = np.array([[False, False, True], [True, False, False], [False] * 3, [False] * 3])
    new = moved(coarse, positive)
    assert new.optimistic.tolist() == [3, 1, 7, 4]  # the last is a tie that was cut off by its place in the set
    assert new.pessimistic.tolist() == [3, 1, 9, 9]
    assert new.optimistic.dtype == np.int32


@pytest.mark.parametrize("seed", range(5))
def test_r_at_1_never_exceeds_the_coarse_r_at_k(seed):
    """Also with ties, which coarse values make many of, and with an order by chance."""
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 3, (300, 30)).astype(np.float32)
    own = draw.integers(0, 30, 300)
    similar = np.take_along_axis(scores, own[:, None], 1)
    coarse = Ranks(1 + (scores > similar).sum(1), (scores >= similar).sum(1))
    first = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    new = np.take_along_axis(first, np.array([draw.permutation(5) for _ in first]), 1)
    after = moved(coarse, new == own[:, None])
    assert recalls(after.optimistic)["R@1"] <= recalls(coarse.optimistic)["R@5"]
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
    found = candidates((images, texts), other, of_images, Variant("folds", captions=2, fold=4), 3)
    assert found.captions.tolist() == [n for n in range(36) if n % 3 < 2]
    for row, caption in enumerate(found.captions):
        fold = [image for image in range(12) if image // 4 == of_images[caption] // 4]
        expected = sorted(fold, key=lambda image: (-np.float32(texts[caption] @ images[image]), image))[:3]
        assert found.images[row].tolist() == expected
    for image in range(12):
        inside = [n for n in found.captions if of_images[n] // 4 == image // 4]
        expected = sorted(inside, key=lambda n: (-np.float32(other[0][image] @ other[1][n]), n))[:3]
        assert found.texts[image].tolist() == expected
    assert nearest(images, texts, 36)[0].tolist().index(2) < nearest(images, texts, 36)[0].tolist().index(5)
    assert nearest(images, texts, 99).shape == (12, 36)


# ---- the command


def test_rows_are_planned_on_what_finds_and_on_whom_is_asked(pristine, tmp_path):
    """A comparator's list needs its model; a run's list the run, of several seeds the first."""
    rows = [{"coarse": "slq", "by": "base"}, {"coarse": "CLIP-ViT-B-32", "by": "base"}]
    mini = {"backbones": ["mini-internvl"], "comparators": [], "zero_shot": [], "rerank": {"rows": rows}}
    (tmp_path / "mine.yaml").write_text(json.dumps({"presets": {"mini": mini}, "seeds": [1, 2]}))
    plan = planned(pristine, "--cores", "1", "rows", "--configfile", str(tmp_path / "mine.yaml"))
    expected = {"rerank_row": 2, "register_base": 1, "train": 1, "fetch_source": 1, "embed_row": 0}
    assert {rule: plan.get(rule, 0) for rule in expected} == expected


class Command:
    """`slq rerank` on the slice's runs, as its rule calls it, with words that its small vocabulary has."""

    def __init__(self, slice_, root, **changes):
        self.slice_, self.data = slice_, root / "data"
        raw = slice_.config
        preset = raw["presets"]["mini"]
        preset["rerank"] |= {
            **{"rows": [{"coarse": "slq", "by": "base"}], "answer": ANSWER, "match": PROMPT, "batch_size": 5},
            **{"choose": "{options}\nwhat shape is red ?"},
        }
        self.raw = raw
        (row,) = [row for row in rows_of(load(raw)) if row.kind == "rerank"]
        self.settings = json.loads(row_settings.rerank_settings(load(raw), row)) | changes
        for name in ("mini-coco", "mini-flickr30k"):
            draw_split(json.loads(settings.draw_settings(raw, name, "test")), self.data / name / "test")

    def __call__(self, out, finder, **changes):
        """`finder`: the adapter, or the snapshot, that finds the candidates."""
        paths = {"backbone": self.slice_.snapshot, "coarse": finder, "by": self.slice_.root / "base" / "adapter"}
        paths |= {"data": self.data, "work": out.with_name("work"), "out": out}
        arguments = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
        return cli.main(["rerank", "--settings", json.dumps(self.settings | changes), *arguments, "--threads", "1"])

    def retrieve(self, out):
        """The coarse list's own metrics."""
        adapter = self.slice_.root / "slq" / "adapter"
        told = settings.retrieve_settings(self.raw, "mini-internvl")
        paths = {"backbone": self.slice_.snapshot, "adapter": adapter, "data": self.data, "out": out}
        arguments = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
        events = ["--events", str(out / "retrieve.jsonl"), "--threads", "1"]
        assert cli.main(["retrieve", "--settings", told, *arguments, *events]) == 0


@pytest.fixture(scope="module")
def reranked(slice_, tmp_path_factory):
    root = tmp_path_factory.mktemp("rerank")
    command = Command(slice_, root)
    assert command(root / "row", slice_.root / "slq" / "adapter") == 0
    command.retrieve(root / "coarse")
    return command, root


def test_the_command_writes_what_the_contract_of_rows_says(reranked):
    command, root = reranked
    row = read_json(root / "row" / "row.json")
    assert (row["schema"], row["row"], row["kind"]) == (1, "mini-internvl.slq.by.base", "rerank")
    assert row["settings"] == command.settings and row["provenance"]["versions"] and row["device"]["kind"]
    spans = [line for line in read_lines(root / "row" / "events" / "retrieve.jsonl") if line["event"] == "span"]
    assert {(span["name"], span.get("set")) for span in spans} == {
        ("init", None),
        ("eval", "mini-coco"),
        ("eval", "mini-flickr30k"),
    }
    for name in ("mini-coco", "mini-flickr30k"):
        path = root / "row" / "retrieval" / f"{name}.json"
        assert recount(path).changed == []
        assert read_json(path)["inputs"].keys() == {"backbone", "coarse", "by", "set", "settings", "gallery"}
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
    """So that another tie-break can be tried: order from scores, and ranks from order, as a person would do it."""
    _, root = reranked
    ranks = pd.read_parquet(root / "row" / "retrieval" / f"{name}.ranks.parquet")
    coarse = pd.read_parquet(root / "coarse" / f"{name}.ranks.parquet")
    lines = read_lines(root / "row" / "retrieval" / f"{name}.reranked.jsonl")
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
    lines = read_lines(root / "row" / "retrieval" / "mini-coco.reranked.jsonl")
    places = {item["id"]: n for n, item in enumerate(read_split(root / "data", "mini-coco", "test").items)}
    folds = [line for line in lines if "folds" in line["variants"]]
    assert folds
    for line in folds:
        images = {one.rpartition("#")[0] or one for one in [line["query"], *line["candidates"]]}
        assert len({places[image] // 8 for image in images}) == 1


def test_a_comparators_list_is_re_ranked_too(reranked, slice_, tmp_path):
    """Here the backbone read out by a zero query; each direction by its own vectors."""
    command, _ = reranked
    turns = {"text": "{text}", "image": "{image}"}
    readout = {"queries": 1, "instructions": {"t2i": turns, "i2t": turns | {"image": "{image} what shape ?"}}}
    model = {"backbone": "mini-internvl", "family": "internvl", "dtype": "float32", "readout": readout}
    sets = [one for one in command.settings["sets"] if one["name"] == "mini-flickr30k"]
    assert command(tmp_path / "row", slice_.snapshot, coarse={"model": model}, sets=sets) == 0
    assert recount(tmp_path / "row" / "retrieval" / "mini-flickr30k.json").changed == []


def test_injection_changes_scores_and_batches_do_not(reranked, slice_, tmp_path):
    command, root = reranked
    sets = [one for one in command.settings["sets"] if one["name"] == "mini-flickr30k"]
    adapter = slice_.root / "slq" / "adapter"
    inject = {"ratio": 0.3, "layers": [5, 16], "entropy": 0.0}
    assert command(tmp_path / "injected", adapter, inject=inject, sets=sets) == 0
    assert command(tmp_path / "batched", adapter, batch_size=3, sets=sets) == 0
    scores = [
        np.array([line["score"] for line in read_lines(Path(folder) / "retrieval" / "mini-flickr30k.reranked.jsonl")])
        for folder in (root / "row", tmp_path / "injected", tmp_path / "batched")
    ]
    assert np.abs(scores[0] - scores[1]).max() > 1e-4
    assert np.abs(scores[0] - scores[2]).max() < 1e-5


def test_an_answer_that_the_backbone_cannot_give_stops_it_and_nothing_is_written(reranked, slice_, tmp_path, capsys):
    command, _ = reranked
    assert command(tmp_path / "row", slice_.root / "slq" / "adapter", answer="verily") == 1
    assert "rerank.answer" in capsys.readouterr().err
    assert not (tmp_path / "row" / "row.json").exists() and not (tmp_path / "row" / "retrieval").exists()
