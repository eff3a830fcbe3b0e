"""Significance tests for the two numbers of a cell: over seeds, over paired items, or from confidence intervals.

The p-values are not bootstrapped: with 10,000 resamples, no two-sided p-value would be below 0.0002, which is not small
after a correction for the 240 cells of the paper's tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import hypot, inf, sqrt
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from scipy.stats import binom, t

from slq.evaluation.seed_differences import MIN_SEEDS, SeedDifference, differences_over_seeds, p_value
from slq.evaluation.statistics import (
    BOOTSTRAP_SEED,
    ClusteredHits,
    accuracy_interval,
    bootstrap_percentages,
    percentile_interval,
)
from slq.reporting.comparison.metric_values import MetricValue, SampleStatistics

Key = TypeVar("Key")
# Half the width of a 95 % interval, in standard deviations; scipy's value differs in the last digit.
Z_95 = NormalDist().inv_cdf(0.975)
ROUND_OFF = 1e-9
PAIRED_TEST = "exact sign-flip test on the same items"
SEED_PAIRS_TEST = "Student's t over {} pairs of equal seed, and the same items"
SEEDS_T_TEST = "Student's t over {a} and {b} seeds"
SAME_ITEMS_TEST = "the same items"
INTERVALS_TEST = "intervals of both numbers"
UNKNOWN_SEED_SD = (
    "one seed against another, and seed_sd of the preset does not say how far a seed moves {kind}s of the method"
)


@dataclass(frozen=True)
class SignificanceResult:
    """The result of a significance test.

    Attributes:
        low: lower bound of the 95 % confidence interval of the difference, in the printed unit
        high: upper bound of the 95 % confidence interval of the difference, in the printed unit
        p_value: two-sided p-value under the null hypothesis of no difference
        test_name: the test used
    """

    low: float
    high: float
    p_value: float
    test_name: str


@dataclass(frozen=True)
class PairedDifferences:
    """Differences between two runs on the same items.

    Attributes:
        hit_differences: hits of one run minus hits of the other, by item and recall (I, K)
        low: lower bound of the 95 % interval of each recall's difference (K,), in percentage points
        high: upper bound of the 95 % interval of each recall's difference (K,), in percentage points
    """

    hit_differences: np.ndarray
    low: np.ndarray
    high: np.ndarray


def compute_significance(a: MetricValue, b: MetricValue, seed_sd: float | None) -> SignificanceResult | None:
    """Test whether chance alone may explain a difference; return None if nothing can be tested.

    The test depends on the data:

    - The same seeds, at least MIN_SEEDS, and the same items: differences at equal seed
      (`slq.evaluation.seed_differences`).
    - Two sides with samples, of which one has several seeds: Student's t-test. The spread between runs that differ only
      in their seed covers all randomness on one test set.
    - The same seed and the same items: an exact sign-flip test on the items that only one of the runs finds.
    - Otherwise: a normal approximation from the confidence intervals. If the seeds differ, which includes the paper,
      the variance between seeds is added, because items do not show how a seed shifts a run as a whole. If it is
      measured, it has Student's t.

    Args:
        seed_sd: standard deviation between runs that differ only in their seed, in points, for a number near 50 %. If
            it is None and no side has several seeds, a difference between other seeds gets a p-value of 1.
    """
    sample = a.sample or b.sample
    if sample is None:
        return None
    if a.seeds == b.seeds and len(a.seeds) >= MIN_SEEDS and (by_seed := _seed_differences(a.item_hits, b.item_hits)):
        low, high, p = (getattr(by_seed[a.hits_column], name) for name in ("low", "high", "p"))
        test_name = SEED_PAIRS_TEST.format(len(a.seeds))
        return SignificanceResult(a.units_per_point * low, a.units_per_point * high, p, test_name)
    sd, degrees_of_freedom = pooled_sd([a.values, b.values])
    if degrees_of_freedom and a.sample and b.sample:
        return _t_test_over_seeds(a, b, sd, degrees_of_freedom)
    delta, paired, seed_sd_of_delta = a.value - b.value, _paired_differences(a.item_hits, b.item_hits), 0.0
    below, above = _interval_margins(a, b, sample, paired)
    if a.seeds != b.seeds:
        if not degrees_of_freedom and seed_sd is None:
            return SignificanceResult(delta - below, delta + above, 1.0, UNKNOWN_SEED_SD.format(kind=a.kind))
        seed_sd_of_delta = (sd if degrees_of_freedom else _seed_sd_at_value(a, b, seed_sd or 0.0)) * sqrt(
            1 / len(a.values) + 1 / len(b.values)
        )
    if not seed_sd_of_delta and paired:
        return SignificanceResult(
            delta - below, delta + above, sign_flip_p(paired.hit_differences[:, a.hits_column]), PAIRED_TEST
        )
    item_error = (below if delta > 0 else above) / Z_95
    freedom = degrees_of_freedom or inf  # a configured deviation counts as known, a measured one does not
    below, above = (hypot(gap, t_critical(freedom) * seed_sd_of_delta) for gap in (below, above))
    p = p_value(abs(delta), seed_sd_of_delta, freedom, item_error) if abs(delta) > ROUND_OFF else 1.0
    test_name = (
        SAME_ITEMS_TEST if paired else INTERVALS_TEST
    ) + f", with {seed_sd_of_delta:.1f} of standard deviation from seeds" * (seed_sd_of_delta > 0)
    return SignificanceResult(delta - below, delta + above, p, test_name)


def _seed_sd_at_value(a: MetricValue, b: MetricValue, seed_sd: float) -> float:
    """Scale the standard deviation between seeds to the size of the two numbers, in the printed unit.

    It equals `seed_sd` at 50 % and 0 at 0 % and 100 %. A seed makes a model slightly better or worse on all items, and
    the items with the most uncertain outcome change most often.
    """
    share = (a.value + b.value) / (2 * a.units_per_point)
    return a.units_per_point * seed_sd * 2 * sqrt(max(share * (100 - share), 0.0)) / 100


def _t_test_over_seeds(a: MetricValue, b: MetricValue, sd: float, degrees_of_freedom: int) -> SignificanceResult:
    """Test a difference of means over seeds with Student's t-test."""
    delta, standard_error = a.value - b.value, sd * sqrt(1 / len(a.values) + 1 / len(b.values))
    half_width = t_critical(degrees_of_freedom) * standard_error
    p = (
        t_test_p(delta / standard_error, degrees_of_freedom)
        if standard_error > ROUND_OFF
        else float(abs(delta) <= ROUND_OFF)
    )
    return SignificanceResult(
        delta - half_width, delta + half_width, p, SEEDS_T_TEST.format(a=len(a.values), b=len(b.values))
    )


def _interval_margins(
    a: MetricValue, b: MetricValue, sample: SampleStatistics, paired: PairedDifferences | None
) -> tuple[float, float]:
    """Compute how far the 95 % interval of the difference, from the items, extends below and above the difference.

    For paired items, it is a bootstrap interval. For different items, it is method 10 of Newcombe (Interval estimation
    for the difference between independent proportions, 1998).
    """
    if paired:
        low, high = (a.units_per_point * ends[a.hits_column] for ends in (paired.low, paired.high))
        return a.value - b.value - low, high - (a.value - b.value)
    (a_low, a_high), (b_low, b_high) = _value_interval(a, sample, b), _value_interval(b, sample, a)
    return hypot(a.value - a_low, b_high - b.value), hypot(a_high - a.value, b.value - b_low)


@lru_cache(maxsize=4)
def _seed_differences(a: tuple[ClusteredHits, ...], b: tuple[ClusteredHits, ...]) -> list[SeedDifference] | None:
    """Compare runs of equal seeds item by item; return None if their items differ or are not known."""
    if not a or not b or not all(a[0].has_same_clusters(one) for one in (*a, *b)):
        return None
    return differences_over_seeds(list(zip(a, b, strict=True)), BOOTSTRAP_SEED)


@lru_cache(maxsize=4)
def _paired_differences(of_a: tuple[ClusteredHits, ...], of_b: tuple[ClusteredHits, ...]) -> PairedDifferences | None:
    """Compare single runs item by item, with bootstrap intervals; return None for several runs, or other items."""
    if len(of_a) != 1 or len(of_b) != 1 or not of_a[0].has_same_clusters(of_b[0]):
        return None
    a, b = of_a[0], of_b[0]
    hit_differences = a.hits - b.hits
    zeros = np.zeros(hit_differences.shape[1])
    if not hit_differences.any():
        return PairedDifferences(hit_differences, zeros, zeros)
    resampled = bootstrap_percentages(hit_differences, a.num_queries, BOOTSTRAP_SEED)
    return PairedDifferences(hit_differences, *percentile_interval(resampled))


def _value_interval(number: MetricValue, sample: SampleStatistics, sampled: MetricValue) -> tuple[float, float]:
    """Return a number's own 95 % interval or, if it has none, a Wilson interval.

    The Wilson interval assumes the effective sample size of the number `sampled`, whose sample is `sample`.
    """
    if number.sample is not None:
        return number.sample.low, number.sample.high
    count, share = _effective_sample_size(sample, sampled), number.value / number.units_per_point
    wilson = accuracy_interval(round(count * share / 100), count)
    below, above = wilson.value - wilson.low, wilson.high - wilson.value
    return number.value - number.units_per_point * below, number.value + number.units_per_point * above


def _effective_sample_size(sample: SampleStatistics, number: MetricValue) -> int:
    """Compute the number of independent items that would give an interval of the same width.

    An image with five captions is equivalent to between one and five independent items.
    """
    share = number.value / number.units_per_point
    standard_error = (sample.high - sample.low) / (2 * Z_95 * number.units_per_point)
    if standard_error < ROUND_OFF:
        return sample.items
    return round(min(max(share * (100 - share) / standard_error**2, sample.items), sample.queries))


def sign_flip_p(hit_differences: np.ndarray) -> float:
    """Compute the two-sided exact p-value of a sum of differences, under random signs of the items' differences.

    If two runs differ by chance alone, they are exchangeable on every item, so the sign of each difference is random.
    For differences of at most one, this is McNemar's exact test. An image with five captions is one item with a
    difference between -5 and 5.

    Args:
        hit_differences: hits of one run minus hits of the other (I,), whole numbers
    """
    sizes, counts = np.unique(np.abs(hit_differences).astype(int), return_counts=True)
    probabilities = np.ones(1)  # distribution of the sum of the absolute differences that have a positive sign
    for size, count in zip(sizes, counts, strict=True):
        if size:
            binomial = np.zeros(size * count + 1)
            binomial[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
            probabilities = np.convolve(probabilities, binomial)
    distances = np.abs(2 * np.arange(len(probabilities)) - (len(probabilities) - 1))
    return min(1.0, float(probabilities[distances >= abs(int(hit_differences.sum()))].sum()))


def t_test_p(t_statistic: float, degrees_of_freedom: int) -> float:
    """Compute the two-sided p-value of a t statistic."""
    return float(2 * t.sf(abs(t_statistic), degrees_of_freedom))


def t_critical(degrees_of_freedom: float, alpha: float = 0.05) -> float:
    """Return the critical value that a t statistic exceeds in absolute value with probability `alpha` by chance."""
    return float(t.isf(alpha / 2, degrees_of_freedom))


def holm_correction(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Correct p-values for the number of tests (Holm, A simple sequentially rejective multiple test procedure, 1979).

    The probability that chance alone brings any corrected p-value below a level is at most that level. This holds under
    any dependence between the cells, such as that between R@1, R@5 and R@10 of one run.
    """
    corrected, highest = {}, 0.0
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[key]))
        corrected[key] = highest
    return corrected


def pooled_sd(samples: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Compute the pooled standard deviation within samples of equal variance, and its degrees of freedom.

    A sample of one value adds no degree of freedom. With no degrees of freedom, the standard deviation is 0.
    """
    sum_of_squares, degrees_of_freedom = 0.0, 0
    for values in samples:
        mean = sum(values) / len(values)
        sum_of_squares += sum((value - mean) ** 2 for value in values)
        degrees_of_freedom += len(values) - 1
    return (sqrt(sum_of_squares / degrees_of_freedom) if degrees_of_freedom else 0.0), degrees_of_freedom
