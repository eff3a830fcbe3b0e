"""Scores of candidates by a backbone, compared with the stock forward: one text at a time (T2I), or a list (I2T)."""

import math
import time

import numpy as np
import pytest
import torch

from asking import ANSWER, PROMPT, TEXTS, asked, inference, next_logits, plain_entropy, plain_softmax, read_truth
from oracles import LONG, RED, SHORT, TALL, WIDE, untrained
from slq.baselines.next_token import (
    build_pointwise_messages,
    cut_after_image,
    first_token_id,
    score_next_tokens,
    tokens_after_image,
)
from slq.baselines.rerank_scores import (
    build_listwise_message,
    option_order,
    option_score_function,
    option_token_ids,
    restore_candidate_order,
)
from slq.common.errors import SlqError
from slq.models.prefix import continue_positions

# ---- the probability of the answer, and the entropy


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 100])
def test_probability_and_entropy_are_the_stock_forwards(tiny_backbone, rows, reuse):
    """The batch, its padding and the reuse of an image's prefix do not change the result."""
    turns = asked(tiny_backbone)
    found = score_next_tokens(tiny_backbone, turns, read_truth(tiny_backbone), inference(rows, reuse_prefix=reuse))
    token = tiny_backbone.tokenizer(ANSWER)["input_ids"][0]
    expected = []
    for turn in (turn for some in turns for turn in some):
        spread = plain_softmax(next_logits(tiny_backbone, turn))
        expected.append([spread[token], plain_entropy(spread)])
    assert np.array(expected)[:, 0].std() > 1e-4  # candidates differ, so a wrong order would be seen
    assert np.abs(found.numpy() - expected).max() < 1e-5


def test_a_wrong_position_behind_the_prefix_would_be_seen(tiny_backbone, monkeypatch):
    turns, read = asked(tiny_backbone), read_truth(tiny_backbone)
    right = score_next_tokens(tiny_backbone, turns, read, inference(100))
    monkeypatch.setattr(
        "slq.baselines.next_token.continue_positions", lambda positions, count: continue_positions(positions, count) + 1
    )
    assert (score_next_tokens(tiny_backbone, turns, read, inference(100)) - right).abs().max() > 1e-4


def test_a_turn_is_cut_among_its_tokens_at_the_end_of_its_image(tiny_backbone):
    turns = asked(tiny_backbone)[0]
    for turn in turns:
        first = cut_after_image(tiny_backbone, turn)
        assert first.ids + tokens_after_image(tiny_backbone, turn) == turn.ids
        assert first.ids == cut_after_image(tiny_backbone, turns[0]).ids
        assert turn.ids.count(first.ids[-1]) == first.ids.count(first.ids[-1]) == turn.images[0].num_tokens


def test_braces_in_a_caption_are_a_captions(tiny_backbone):
    (turn,) = build_pointwise_messages(tiny_backbone, tiny_backbone.family.process(RED), PROMPT, ["a {text} {0} ring"])
    assert PROMPT.split("\n")[1].split()[0] in tiny_backbone.tokenizer.decode(turn.ids)


@pytest.mark.parametrize("reuse", [True, False], ids=["prefix once", "prefix each time"])
def test_candidates_may_spell_an_images_token(tiny_backbone, reuse):
    """In pointwise and listwise scoring, an image token's name counts as any other word unknown to the backbone."""
    pixels, found = tiny_backbone.family.process(RED), []
    for word in (tiny_backbone.family.placeholder, "zebra"):
        texts = [f"a tag called {word}", SHORT, word]
        turns = [
            build_pointwise_messages(tiny_backbone, pixels, PROMPT, texts),
            [build_listwise_message(tiny_backbone, pixels, "{options}\nwhat shape is red ?", texts)],
        ]
        how = inference(2, reuse_prefix=reuse)
        found.append(
            torch.cat([score_next_tokens(tiny_backbone, [one], read_truth(tiny_backbone), how) for one in turns])
        )
    assert torch.equal(*found)


def test_an_answer_without_a_token_is_refused(tiny_backbone):
    with pytest.raises(SlqError, match=r"rerank\.positive_answer.*'verily'"):
        first_token_id(tiny_backbone, "verily", "rerank.positive_answer")


def test_reuse_is_twice_as_fast_with_five_candidates(raw_config, tmp_path):
    """The test uses 256 image tokens, as InternVL3 does, and the mini preset's widths."""
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
        found[reuse] = score_next_tokens(backbone, turns, read, inference(20, reuse_prefix=reuse))
        seconds[reuse] = min(time.perf_counter() - start, seconds.get(reuse, math.inf))
    assert (found[True] - found[False]).abs().max() < 1e-5
    assert seconds[False] > 2 * seconds[True]


# ---- listwise choice


def test_the_order_of_options_is_drawn_for_each_image_and_the_same_every_time():
    orders = [option_order(str(image), 5) for image in range(400)]
    assert orders == [option_order(str(image), 5) for image in range(400)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    first = np.bincount([order.index(0) for order in orders], minlength=5)
    assert first.min() > 50  # the first stage's first candidate is shown at every position about equally often


def test_a_choice_is_undone_by_place_so_equal_captions_stay_two():
    """Several images are used, because an order of four may be its own inverse."""
    said = torch.tensor([0.1, 0.4, 0.2, 0.3])
    for image in range(8):
        shown = option_order(f"image {image}", 4)
        back = restore_candidate_order(shown, said)
        assert all(back[candidate] == said[place] for place, candidate in enumerate(shown))


def test_the_choice_is_what_one_forward_says_of_the_numbers(tiny_backbone):
    pixels = tiny_backbone.family.process(WIDE)
    turn = build_listwise_message(tiny_backbone, pixels, "{options}\nwhat shape is red ?", [SHORT, SHORT, LONG])
    tokens = option_token_ids(tiny_backbone, 3)
    (found,) = score_next_tokens(
        tiny_backbone, [[turn]], option_score_function(tokens), inference(1, reuse_prefix=False)
    )
    spread = plain_softmax(next_logits(tiny_backbone, turn))
    assert found.tolist() == pytest.approx([spread[token] for token in tokens], abs=1e-5)
    said = tiny_backbone.tokenizer.decode(turn.ids)
    assert f"1. {SHORT} 2. {SHORT} 3. {LONG}" in said


def test_more_options_than_numbers_with_a_token_of_their_own_are_refused(tiny_backbone):
    with pytest.raises(SlqError, match=r"rerank\.k.*'10'"):
        option_token_ids(tiny_backbone, 10)
