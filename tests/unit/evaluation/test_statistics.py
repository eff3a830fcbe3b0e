"""Intervals and tests compared with plain loops, enumerations, and data with a known truth."""

from itertools import product
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from slq.common.errors import SlqError
from slq.evaluation.statistics import (
    ClusteredHits,
    Difference,
    McNemarResult,
    accuracy_interval,
    bootstrap_percentages,
    compute_hits_per_image,
    exact_binomial_p,
    mcnemar_test,
    percentile_interval,
    recall_differences,
    recall_intervals,
)

DRAWS, IMAGES, CAPTIONS = 1000, 200, 5


def ranks_of(seed, images=9):
    """Table of t2i ranks of an invented method, with 1 to 7 captions per image, the same for every seed."""
    counts = np.arange(images) % 7 + 1
    rows = [(f"{image}#{n}", str(image)) for image, count in enumerate(counts) for n in range(count)]
    table = pd.DataFrame(rows, columns=["query", "image"]).assign(direction="t2i")
    return table.assign(rank=np.random.default_rng(seed).integers(1, 15, len(table)))


def loop(tables, seed, resamples):
    """Resampled values of R@5 of each table: images drawn one by one, their captions counted one by one."""
    images = sorted(tables[0]["image"].unique())
    drawn = np.random.default_rng(seed).integers(0, len(images), (resamples, len(images)))
    values = []
    for numbers in drawn:
        ranks = [
            [row.rank for n in numbers for row in table.itertuples() if row.image == images[n]] for table in tables
        ]
        values.append([100 * sum(rank <= 5 for rank in found) / len(found) for found in ranks])
    return np.array(values)


def test_intervals_equal_a_plain_loop():
    table = ranks_of(1)
    values = np.sort(loop([table], seed=5, resamples=81)[:, 0])
    found = recall_intervals(compute_hits_per_image(table, "t2i"), seed=5, resamples=81)["R@5"]
    # Of 81 sorted values, the 2.5 % and 97.5 % quantiles are the third and the third last.
    assert (found.low, found.high) == pytest.approx((values[2], values[-3]))
    assert found.value == 100 * (table["rank"] <= 5).sum() / len(table)


def test_differences_equal_a_plain_loop():
    one, other = ranks_of(1), ranks_of(2)
    values = loop([one, other], seed=5, resamples=81)
    gains = np.sort(values[:, 0] - values[:, 1])
    found = recall_differences(
        compute_hits_per_image(one, "t2i"), compute_hits_per_image(other, "t2i"), seed=5, resamples=81
    )["R@5"]
    assert (found.low, found.high) == pytest.approx((gains[2], gains[-3]))
    assert found.value == pytest.approx(100 * ((one["rank"] <= 5).mean() - (other["rank"] <= 5).mean()))
    against = min((gains <= 1e-9).sum(), (gains >= -1e-9).sum())
    assert found.p == pytest.approx(min(1, 2 * (against + 1) / 82))


def test_a_seed_gives_the_same_interval_and_blocks_do_not_show(monkeypatch):
    found = compute_hits_per_image(ranks_of(1, images=50), "t2i")
    once = recall_intervals(found, seed=1)
    assert recall_intervals(found, seed=1) == once != recall_intervals(found, seed=2)
    monkeypatch.setattr("slq.evaluation.statistics.IMAGES_PER_BATCH", 7 * 50)
    assert recall_intervals(found, seed=1) == once


def test_a_method_does_not_differ_from_itself():
    found = compute_hits_per_image(ranks_of(1), "t2i")
    for difference in recall_differences(found, found, seed=1, resamples=100).values():
        assert difference == Difference(0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def draws():
    """Hits (image, caption, draw), 60 % expected, with a correlation of 0.5 within an image."""
    random = np.random.default_rng(11)
    chance = random.beta(0.6, 0.4, (IMAGES, 1, DRAWS))  # Beta(a, b): mean a / (a + b), correlation 1 / (1 + a + b)
    return random.random((IMAGES, CAPTIONS, DRAWS)) < chance


def coverage(hits, queries):
    """Share of draws (columns of `hits`) whose interval contains 60 %."""
    low, high = percentile_interval(bootstrap_percentages(hits, queries, seed=3, resamples=1000))
    return np.mean((low <= 60) & (high >= 60))


def test_intervals_hold_the_truth_as_often_as_they_say(draws):
    assert 0.93 <= coverage(draws.sum(1), np.full(IMAGES, CAPTIONS)) <= 0.97


def test_resampling_captions_would_be_too_narrow(draws):
    assert coverage(draws.reshape(-1, DRAWS), np.ones(IMAGES * CAPTIONS)) < 0.85


def test_equal_methods_are_told_apart_as_often_as_p_says(draws):
    """Neighbouring draws represent two equally good methods; every three draws fill the three recalls."""
    images, queries = np.arange(IMAGES), np.full(IMAGES, CAPTIONS)
    p = []
    for start in range(0, DRAWS - 5, 6):
        one, other = (draws[:, :, first : first + 3].sum(1) for first in (start, start + 3))
        pair = ClusteredHits(images, one, queries), ClusteredHits(images, other, queries)
        p += [difference.p for difference in recall_differences(*pair, seed=3, resamples=1000).values()]
    assert len(p) == 498 and 0.03 <= np.mean(np.array(p) < 0.05) <= 0.07
    assert 0.4 <= np.mean(np.array(p) < 0.5) <= 0.6


def test_methods_on_other_images_or_captions_are_not_compared():
    found = compute_hits_per_image(ranks_of(1), "t2i")
    for other in (ranks_of(1, images=8), ranks_of(1)[1:]):
        with pytest.raises(SlqError, match="ranks of different images or captions"):
            recall_differences(found, compute_hits_per_image(other, "t2i"), seed=1)


@pytest.mark.parametrize("count", range(1, 11))
def test_even_odds_equal_an_enumeration(count):
    """The enumeration counts all coin falls at least as uneven as the observed one."""
    falls = [abs(2 * sum(coins) - count) for coins in product((0, 1), repeat=count)]
    for one in range(count + 1):
        uneven = abs(2 * one - count)
        assert exact_binomial_p(one, count - one) == sum(fall >= uneven for fall in falls) / 2**count


def test_even_odds_of_many_are_near_the_normal_law():
    """12,300 against 12,700 are too many to enumerate: the binomial coefficients fill 3,000 bytes."""
    z = (400 - 1) / 25_000**0.5
    assert exact_binomial_p(12_300, 12_700) == pytest.approx(2 * NormalDist().cdf(-z), rel=0.01)


def test_mcnemar_counts_what_only_one_answers():
    one = {"a": True, "b": True, "c": True, "d": True, "e": False, "f": False}
    other = {"f": False, "e": True, "d": False, "c": False, "b": False, "a": True}
    assert mcnemar_test(one, other) == McNemarResult(3, 1, 10 / 16)
    assert mcnemar_test(one, one) == McNemarResult(0, 0, 1.0)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"a": True}, {"b": True}, r"2 are in one only \(first: 'a'\)"),
        ({"a": True, "b": False}, {"a": True}, r"1 are in one only \(first: 'b'\)"),
        ({}, {}, "there are none"),
    ],
)
def test_mcnemar_needs_the_same_items(one, other, message):
    with pytest.raises(SlqError, match=message):
        mcnemar_test(one, other)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (7, 10), (430, 900), (790, 1000)])
def test_an_accuracy_is_as_far_from_its_bounds_as_the_score_test_allows(hits, count):
    """Wilson's bounds are the true shares from which the observed share is 1.96 standard errors away."""
    found = accuracy_interval(hits, count)
    assert found.value == 100 * hits / count and found.low <= found.value <= found.high
    for bound in (found.low / 100, found.high / 100):
        if 0 < bound < 1:
            assert abs(hits / count - bound) / (bound * (1 - bound) / count) ** 0.5 == pytest.approx(1.959964, rel=1e-6)
    assert (found.low == 0) == (hits == 0) and (found.high == 100) == (hits == count)


def test_no_answers_have_no_accuracy():
    with pytest.raises(SlqError, match="at least one question"):
        accuracy_interval(0, 0)
