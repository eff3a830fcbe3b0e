"""Differences over seeds compared with plain loops, and their verdicts and power with simulated results."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import norm, t

from slq.common.errors import SlqError
from slq.evaluation.seed_differences import (
    SeedDifference,
    accuracy_seed_difference,
    add_seed_spread,
    detection_probability,
    half_width,
    mean_interval,
    recall_seed_differences,
    smallest_margin,
)
from slq.evaluation.statistics import ClusteredHits, Difference, Interval, accuracy_difference, recall_differences

Z = 1.959963984540054


def hits_of(rng, images=30):
    """Hits of an invented run on images with one to five captions, at each of three K."""
    counts = np.arange(images) % 5 + 1
    at_1 = rng.binomial(counts, 0.4)
    return ClusteredHits(np.arange(images), np.stack([at_1, (at_1 + counts) // 2, counts], 1), counts.astype(float))


def pairs_of(seeds, start=0):
    """Hits of two invented methods, by seed."""
    rng = np.random.default_rng(start)
    return [(hits_of(rng), hits_of(rng)) for _ in range(seeds)]


# ---- the statistic ---------------------------------------------------------------------------------------------------


def loop(pairs, column, seed, resamples):
    """The difference of each seed, and the resampled means over seeds, with images drawn and counted one by one."""
    images, queries = len(pairs[0][0].hits), pairs[0][0].num_queries

    def mean_difference(drawn):
        found = []
        for first, second in pairs:
            gained = sum(first.hits[n][column] - second.hits[n][column] for n in drawn)
            found.append(100 * gained / sum(queries[n] for n in drawn))
        return found

    draws = np.random.default_rng(seed).integers(0, images, (resamples, images))
    return mean_difference(range(images)), np.sort([sum(mean_difference(drawn)) / len(pairs) for drawn in draws])


def test_a_difference_over_seeds_equals_a_plain_loop():
    pairs = pairs_of(4)
    by_seed, resampled = loop(pairs, 0, seed=5, resamples=81)
    found = recall_seed_differences(pairs, seed=5, resamples=81)["R@1"]
    value = sum(by_seed) / 4
    sd = sqrt(sum((one - value) ** 2 for one in by_seed) / 3)
    student = t.ppf(0.975, 3) * sd / 2
    # Of 81 sorted values, the 2.5 % and 97.5 % quantiles are the third and the third last.
    below, above = value - resampled[2], resampled[-3] - value
    assert (found.value, found.num_seeds) == (pytest.approx(value), 4)
    assert (found.low, found.high) == pytest.approx(
        (value - np.hypot(below, student), value + np.hypot(above, student))
    )
    # The interval at the level p ends at zero.
    item_error = (below if value > 0 else above) / Z
    student, normal = t.isf(found.p / 2, 3) * sd / 2, norm.isf(found.p / 2) * item_error
    assert np.hypot(student, normal) == pytest.approx(abs(value))


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_an_interval_over_seeds_is_never_narrower_than_those_over_seeds_or_over_images(seeds):
    pairs = pairs_of(seeds)
    mean = [np.mean([pair[side].hits for pair in pairs], 0) for side in (0, 1)]
    ids, counts = pairs[0][0].cluster_ids, pairs[0][0].num_queries
    items = recall_differences(*(ClusteredHits(ids, hits, counts) for hits in mean), seed=1)
    for metric, column in (("R@1", 0), ("R@5", 1)):
        found = recall_seed_differences(pairs, seed=1)[metric]
        by_seed = [100 * (a.hits[:, column] - b.hits[:, column]).sum() / counts.sum() for a, b in pairs]
        assert found.value == pytest.approx(items[metric].value)
        assert found.low < items[metric].low and found.high > items[metric].high
        assert found.high - found.low > 2 * t.ppf(0.975, seeds - 1) * np.std(by_seed, ddof=1) / sqrt(seeds)


def test_a_p_value_is_below_5_percent_if_and_only_if_the_interval_excludes_zero():
    rng = np.random.default_rng(4)
    found = [
        add_seed_spread(Difference(value, value - low, value + high, 0.5), value + rng.normal(0, 1.5, 3))
        for value, low, high in zip(rng.normal(0, 4, 300), *rng.uniform(0.1, 3, (2, 300)), strict=True)
    ]
    told_apart = [not one.low <= 0 <= one.high for one in found]
    assert told_apart == [one.p < 0.05 for one in found]
    assert 30 < sum(told_apart) < 270


def test_with_one_seed_the_numbers_are_those_of_the_run_and_decide_nothing():
    pairs = pairs_of(1)
    for metric, found in recall_seed_differences(pairs, seed=3).items():
        single = recall_differences(*pairs[0], seed=3)[metric]
        assert found == SeedDifference(**vars(single), num_seeds=1)
        assert not found.decides
    answers = [{str(n): bool(rng.integers(2)) for n in range(50)} for rng in map(np.random.default_rng, (1, 2))]
    found = accuracy_seed_difference([(answers[0], answers[1])], seed=3)
    assert found == SeedDifference(**vars(accuracy_difference(*answers, seed=3)), num_seeds=1)
    assert not found.decides


def test_two_seeds_decide_nothing_and_three_do():
    for seeds, decides in ((2, False), (3, True)):
        found = recall_seed_differences(pairs_of(seeds), seed=1)
        assert [one.decides for one in found.values()] == [decides] * 3


def test_answers_over_seeds_are_the_hits_of_images_with_one_caption():
    rng = np.random.default_rng(2)
    names = [f"q{n:02}" for n in range(40)]
    answers = [tuple(dict(zip(names, rng.integers(2, size=40) > 0, strict=True)) for _ in "ab") for _ in range(3)]
    pairs = [
        tuple(
            ClusteredHits(np.array(names), np.repeat([[float(one[n])] for n in names], 3, 1), np.ones(40))
            for one in two
        )
        for two in answers
    ]
    found, recalls = accuracy_seed_difference(answers, seed=7), recall_seed_differences(pairs, seed=7)
    assert vars(found) == pytest.approx(vars(recalls["R@1"]))


def test_a_method_without_seeds_is_compared_with_every_seed_of_the_other():
    rng = np.random.default_rng(3)
    base, tuned = hits_of(rng), [hits_of(rng) for _ in range(3)]
    found = recall_seed_differences([(one, base) for one in tuned], seed=1)["R@1"]
    mean = np.mean([one.recalls()["R@1"] for one in tuned])
    assert found.value == pytest.approx(mean - base.recalls()["R@1"])


def test_equal_runs_differ_by_nothing_and_equal_differences_have_the_interval_of_the_images():
    run = hits_of(np.random.default_rng(0))
    found = recall_seed_differences([(run, run)] * 3, seed=1)["R@1"]
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    pair = pairs_of(1)[0]
    found, single = (recall_seed_differences([pair] * seeds, seed=1)["R@1"] for seeds in (3, 1))
    assert (found.low, found.high) == pytest.approx((single.low, single.high))


def test_a_difference_by_check_decides_with_any_number_of_seeds():
    assert SeedDifference(0.0, 0.0, 0.0, 1.0, is_equal_by_check=True).decides


def test_runs_on_other_images_are_refused():
    rng = np.random.default_rng(1)
    pairs = [*pairs_of(2), (hits_of(rng, images=29), hits_of(rng, images=29))]
    with pytest.raises(SlqError, match="different images"):
        recall_seed_differences(pairs, seed=1)


def test_an_interval_of_one_method_is_that_of_its_seeds_and_their_spread():
    intervals = [Interval(48.0, 45.0, 50.0), Interval(50.0, 47.0, 51.0), Interval(52.0, 49.0, 52.0)]
    student = t.ppf(0.975, 2) * 2 / sqrt(3)
    found = mean_interval(intervals)
    assert (found.value, found.low, found.high) == pytest.approx(
        (50, 50 - np.hypot(3, student), 50 + np.hypot(1, student))
    )
    assert mean_interval(intervals[:1]) == intervals[0]
    assert mean_interval(intervals[:2]) == Interval(49.0, 46.0, 50.5)


# ---- simulated results -----------------------------------------------------------------------------------------------


def simulate_clusters(rng, repetitions, seeds, seed_sd, margin, images=200, captions=5, noise=0.0):
    """Differences of simulated hits by repetition and seed, and of their mean the standard error over images.

    A caption is a hit if a normal score is positive. The score has parts of the image (shared by both methods, and of
    each), of the caption, of the seed, and of seed and image (`noise`, a variance). The seed moves the expected recall
    by `seed_sd` points; expected recalls are 60 % + margin and 60 %.
    """
    sizes = {"image": 0.9, "method": 0.4, "caption": 0.4, "rest": 0.3}
    shape = (repetitions, seeds, images, captions)
    shared = rng.normal(0, sqrt(sizes["image"]), (repetitions, 1, images, 1))
    shared = shared + rng.normal(0, sqrt(sizes["caption"]), (repetitions, 1, images, captions))
    recalls = []
    for expected in (0.6 + margin / 100, 0.6):
        share = seed_sd / 100 / norm.pdf(ndtri(expected))  # the seed's part of the whole standard deviation
        whole = sqrt((sum(sizes.values()) + noise) / (1 - share**2))
        score = ndtri(expected) * whole + shared
        score = score + rng.normal(0, whole * share, (repetitions, seeds, 1, 1))
        score = score + rng.normal(0, sqrt(sizes["method"]), (repetitions, 1, images, 1))
        score = score + rng.normal(0, sqrt(noise), (repetitions, seeds, images, 1))
        recalls.append(100 * (score + rng.normal(0, sqrt(sizes["rest"]), shape) > 0).mean(-1))
    gains = recalls[0] - recalls[1]
    return gains.mean(-1), gains.mean(1).std(-1) / sqrt(images)


def simulate_normal(rng, repetitions, seeds, seed_sd, image_error, margin=0.0):
    """Normal differences by repetition and seed: a margin, the part of the images, and that of the seed."""
    of_images = rng.normal(margin, image_error, (repetitions, 1))
    return of_images + rng.normal(0, seed_sd * sqrt(2), (repetitions, seeds)), np.full(repetitions, image_error)


def told_apart(by_seed, image_error):
    """The signs of the differences that are told apart from zero, by repetition; otherwise 0."""
    seeds, mean = by_seed.shape[1], by_seed.mean(1)
    width = half_width(by_seed.std(1, ddof=1) / sqrt(seeds), seeds - 1, image_error)
    return np.sign(mean) * (np.abs(mean) > width)


def wider_of_two(by_seed, image_error):
    """As `told_apart`, with the wider of Student's interval and that of the images."""
    seeds, mean = by_seed.shape[1], by_seed.mean(1)
    student = t.ppf(0.975, seeds - 1) * by_seed.std(1, ddof=1) / sqrt(seeds)
    return np.sign(mean) * (np.abs(mean) > np.maximum(student, Z * image_error))


def binomial_error(share, repetitions):
    """Four standard errors of a simulated share."""
    return 4 * sqrt(share * (1 - share) / repetitions)


def test_the_simulated_verdict_is_that_of_each_difference():
    by_seed, image_error = simulate_clusters(np.random.default_rng(8), 100, 3, 1.0, 6.0)
    signs = []
    for values, error in zip(by_seed, image_error, strict=True):
        mean = values.mean()
        found = add_seed_spread(Difference(mean, mean - Z * error, mean + Z * error, 0.5), values)
        signs.append(np.sign(found.value) if found.p < 0.05 else 0)
    assert signs == told_apart(by_seed, image_error).tolist()
    assert 20 < sum(map(abs, signs)) < 80


def test_the_images_error_of_a_simulation_is_that_of_the_bootstrap():
    rng = np.random.default_rng(6)
    pairs = [(hits_of(rng, 200), hits_of(rng, 200)) for _ in range(3)]
    gains = np.mean([a.hits[:, 0] - b.hits[:, 0] for a, b in pairs], 0) * 100
    counts = pairs[0][0].num_queries
    ratio = gains.sum() / counts.sum()
    error = sqrt(((gains - ratio * counts) ** 2).sum()) / counts.sum()
    found = recall_seed_differences(pairs, seed=1)["R@1"]
    values = [100 * (a.hits[:, 0] - b.hits[:, 0]).sum() / counts.sum() for a, b in pairs]
    assert found.high - found.low == pytest.approx(2 * half_width(np.std(values, ddof=1) / sqrt(3), 2, error), rel=0.03)


@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_without_a_true_difference_verdicts_hold_their_5_percent(seeds):
    rng, repetitions = np.random.default_rng(seeds), 40_000
    wrong, wrong_by_the_wider = [], []
    for seed_sd in (0.0, 0.25, 0.5, 1.0, 2.0):
        for image_error in (0.25, 0.7, 2.0):
            simulated = simulate_normal(rng, repetitions, seeds, seed_sd, image_error)
            wrong.append((told_apart(*simulated) != 0).mean())
            wrong_by_the_wider.append((wider_of_two(*simulated) != 0).mean())
    limit = 0.05 + binomial_error(0.05, repetitions)
    assert max(wrong) < limit
    # This is why the interval is not the wider of the two.
    assert max(wrong_by_the_wider) > limit


@pytest.mark.parametrize("noise", [0.0, 0.6])
def test_verdicts_hold_their_5_percent_for_captions_that_share_an_image(noise):
    rng, repetitions = np.random.default_rng(1), 2000
    for seeds in (3, 5):
        for seed_sd in (0.0, 2.0):
            simulated = simulate_clusters(rng, repetitions, seeds, seed_sd, 0.0, images=100, noise=noise)
            assert (told_apart(*simulated) != 0).mean() < 0.05 + binomial_error(0.05, repetitions)


@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_margins_are_detected_as_often_as_the_plan_says(seeds):
    rng, repetitions = np.random.default_rng(seeds), 20_000
    for seed_sd, image_error in ((0.0, 0.5), (0.5, 0.7), (1.0, 0.3), (2.0, 1.0)):
        smallest = smallest_margin(seeds, seed_sd * sqrt(2), image_error)
        for margin, planned in ((smallest, 0.8), (smallest / 2, None)):
            planned = planned or detection_probability(margin, seeds, seed_sd * sqrt(2), image_error)
            signs = told_apart(*simulate_normal(rng, repetitions, seeds, seed_sd, image_error, margin))
            assert (signs > 0).mean() == pytest.approx(planned, abs=binomial_error(planned, repetitions))


def compare_with_plan(rng, repetitions, seeds, seed_sd, noise, images=200):
    """The share of simulated margins that is detected, and the share that the plan says."""
    by_seed, error = simulate_clusters(rng, repetitions, seeds, seed_sd, 0.0, images, noise=noise)
    sd, image_error = sqrt(by_seed.var(1, ddof=1).mean()), sqrt((error**2).mean())
    margin = smallest_margin(seeds, sd, image_error)
    by_seed, error = simulate_clusters(rng, repetitions, seeds, seed_sd, margin, images, noise=noise)
    sd, image_error = sqrt(by_seed.var(1, ddof=1).mean()), sqrt((error**2).mean())
    planned = detection_probability(by_seed.mean(), seeds, sd, image_error)
    return (told_apart(by_seed, error) > 0).mean(), planned


def test_margins_of_clustered_hits_are_detected_at_least_as_often_as_the_plan_says():
    # A seed's own noise on each image is in both sources, so the plan promises up to 4 % less than happens.
    for seed_sd, noise in ((2.0, 0.0), (0.5, 0.6)):
        found, planned = compare_with_plan(np.random.default_rng(5), 600, 3, seed_sd, noise, images=100)
        error = binomial_error(planned, 600)
        assert planned - error < found < planned + 0.04 + error


def test_one_and_two_seeds_detect_no_margin():
    for seeds in (1, 2):
        assert detection_probability(1000.0, seeds, 0.5, 0.5) == 0
        assert smallest_margin(seeds, 0.5, 0.5) == inf


def test_more_seeds_and_less_noise_resolve_smaller_margins():
    margins = [smallest_margin(seeds, 0.7, 0.5) for seeds in (3, 4, 5, 10)]
    assert margins == sorted(margins, reverse=True)
    assert smallest_margin(3, 0.0, 0.5) == pytest.approx(0.5 * (Z + ndtri(0.8)), rel=1e-4)
    assert smallest_margin(3, 0.0, 0.0) == 0
    assert detection_probability(1.0, 3, 0.0, 0.5) == pytest.approx(ndtr(2 - Z))


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("seed_sd", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_the_whole_grid_of_clustered_hits(seeds, seed_sd, noise):
    rng, repetitions = np.random.default_rng(seeds), 4000
    batches = [simulate_clusters(rng, 500, seeds, seed_sd, 0.0, noise=noise) for _ in range(repetitions // 500)]
    wrong = np.mean([(told_apart(*one) != 0).mean() for one in batches])
    assert wrong < 0.05 + binomial_error(0.05, repetitions)
    shares = np.mean([compare_with_plan(rng, 500, seeds, seed_sd, noise) for _ in range(4)], 0)
    error = binomial_error(0.8, 2000)
    assert shares[1] - error < shares[0] < shares[1] + 0.04 + error
