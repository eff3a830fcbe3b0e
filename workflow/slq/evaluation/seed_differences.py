"""Differences between two methods over seeds, and the margins that a number of seeds can resolve.

The difference is the mean over seeds of the differences at equal seed. Seeds and images (or questions) are both
sampled, so the half-width of its interval is the root of the sum of two squares: the half-width of Student's interval
(1908) over the seeds' differences, and that of the bootstrap of their mean over images. It is never narrower than
either of these. The wider of the two is not enough, because the variance of the mean is the sum of both variances: it
rejects a true null hypothesis in up to 6, 7 and 9 % of cases with 3, 4 and 5 seeds, and the interval of Welch (1947) in
up to 8, 6 and 6 %. The root of squares holds its 5 % (simulated in `test_seed_differences.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import hypot, inf, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr, ndtri, stdtrit

from slq.common.errors import SlqError
from slq.config.runs import MIN_SEEDS as MIN_SEEDS  # also read from here
from slq.evaluation.ranks import RECALL_KS
from slq.evaluation.statistics import (
    CONFIDENCE_LEVEL,
    RESAMPLES,
    ClusteredHits,
    Difference,
    Interval,
    accuracy_difference,
    compute_hits_per_question,
    paired_differences,
)

POWER = 0.8
Z = float(ndtri((1 + CONFIDENCE_LEVEL) / 2))  # half the width of a normal 95 % interval, in standard errors
SMALLEST_LEVEL = 1e-300
CHI_SQUARE_POINTS = 4000  # quantiles of a seed's variance over which a power is averaged
Pairs = Sequence[tuple[ClusteredHits, ClusteredHits]]


@dataclass(frozen=True)
class SeedDifference(Difference):
    """Difference between two methods over seeds, in percentage points.

    With fewer than MIN_SEEDS seeds, interval and p-value are those of the items alone.

    Attributes:
        num_seeds: number of pairs of runs
        is_equal_by_check: whether both numbers are inherited from the same run, so that no seed can change the zero
    """

    num_seeds: int = 1
    is_equal_by_check: bool = False

    @property
    def decides(self) -> bool:
        """Whether the difference says something about the methods, and not only about these runs."""
        return self.is_equal_by_check or self.num_seeds >= MIN_SEEDS


def recall_seed_differences(pairs: Pairs, seed: int, resamples: int = RESAMPLES) -> dict[str, SeedDifference]:
    """Compute the differences between two methods' recalls over seeds.

    Args:
        pairs: the hits of both methods, by seed; a method without seeds has the same hits in every pair
        seed, resamples: of the bootstrap
    """
    differences = differences_over_seeds(pairs, seed, resamples)
    return {f"R@{k}": difference for k, difference in zip(RECALL_KS, differences, strict=True)}


def accuracy_seed_difference(
    pairs: Sequence[tuple[Mapping[str, bool], Mapping[str, bool]]], seed: int, resamples: int = RESAMPLES
) -> SeedDifference:
    """Compute the difference between two methods' accuracies over seeds; of a single seed, p is McNemar's.

    Args:
        pairs: whether each answer of both methods is a hit, by id of the question, for each seed
        seed, resamples: of the bootstrap
    """
    if len(pairs) == 1:
        return SeedDifference(**vars(accuracy_difference(*pairs[0], seed)))
    hits = [(compute_hits_per_question(first), compute_hits_per_question(second)) for first, second in pairs]
    return differences_over_seeds(hits, seed, resamples)[0]


def differences_over_seeds(pairs: Pairs, seed: int, resamples: int = RESAMPLES) -> list[SeedDifference]:
    """Compute the difference of each column of the hits over seeds."""
    clusters = pairs[0][0]
    if not all(clusters.has_same_clusters(one) for pair in pairs for one in pair):
        raise SlqError(
            "the runs were evaluated on different images, captions or questions; evaluate all on one dataset"
        )
    gains = np.stack([first.hits - second.hits for first, second in pairs])  # (seeds, I, K)
    differences = paired_differences(gains.mean(0), clusters.num_queries, seed, resamples)
    by_seed = 100.0 * gains.sum(1) / clusters.num_queries.sum()
    return [add_seed_spread(one, values) for one, values in zip(differences, by_seed.T, strict=True)]


def add_seed_spread(difference: Difference, values: Sequence[float] | np.ndarray) -> SeedDifference:
    """Add the spread between seeds to a difference whose interval covers only the items.

    Args:
        difference: the mean over the seeds, with its interval over items
        values: the difference of each seed (n,); fewer than MIN_SEEDS change nothing
    """
    count = len(values)
    if count < MIN_SEEDS:
        return SeedDifference(**vars(difference), num_seeds=count)
    value, seed_error = difference.value, standard_error(values)
    interval = widen(Interval(value, difference.low, difference.high), seed_error, count - 1)
    item_error = max(value - difference.low if value > 0 else difference.high - value, 0.0) / Z
    p = p_value(abs(value), seed_error, count - 1, item_error)
    return SeedDifference(value, interval.low, interval.high, p, count)


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Compute the standard error of the mean over seeds."""
    return float(np.std(values, ddof=1)) / sqrt(len(values))


def mean_interval(intervals: Sequence[Interval]) -> Interval:
    """Compute the mean of one method's number over seeds, with its interval over seeds and items.

    The items' part is the mean of the seeds' own intervals, which is at least as wide as that of the mean, as one
    standard error is at most the mean of several. With fewer than MIN_SEEDS seeds, it is the whole interval.
    """
    value, low, high = np.mean([(one.value, one.low, one.high) for one in intervals], axis=0).tolist()
    if len(intervals) < MIN_SEEDS:
        return Interval(value, low, high)
    return widen(Interval(value, low, high), standard_error([one.value for one in intervals]), len(intervals) - 1)


def widen(interval: Interval, seed_error: float, degrees_of_freedom: float) -> Interval:
    """Widen an interval over items by Student's interval over seeds."""
    spread = float(half_width(seed_error, degrees_of_freedom, 0.0))
    below, above = interval.value - interval.low, interval.high - interval.value
    return Interval(interval.value, interval.value - hypot(below, spread), interval.value + hypot(above, spread))


def half_width(
    seed_error: np.ndarray | float, degrees_of_freedom: float, item_error: np.ndarray | float, level: float = 0.05
) -> np.ndarray:
    """Compute the half-width of the interval at a significance level; a larger difference is told apart from zero.

    Args:
        seed_error: estimated standard error of the mean over seeds, with its degrees of freedom
        item_error: standard error of the mean over items
    """
    tail = level / 2
    return np.hypot(stdtrit(degrees_of_freedom, tail) * seed_error, ndtri(tail) * item_error)


def p_value(size: float, seed_error: float, degrees_of_freedom: float, item_error: float) -> float:
    """Compute the significance level at which the interval of a difference of this size ends at zero."""

    def excess(log_level: float) -> float:
        return float(half_width(seed_error, degrees_of_freedom, item_error, np.exp(log_level))) - size

    smallest = float(np.log(SMALLEST_LEVEL))
    if size <= 0:
        return 1.0
    return 0.0 if excess(smallest) <= 0 else float(np.exp(brentq(excess, smallest, 0.0)))


# ---- power -----------------------------------------------------------------------------------------------------------


def detection_probability(margin: float, num_seeds: int, difference_sd: float, item_error: float) -> float:
    """Compute the probability that a true margin is told apart from zero, with its sign, at the 5 % level.

    The seeds' differences and the mean over items are normal. With fewer than MIN_SEEDS seeds it is 0.

    Args:
        margin: the true difference between the methods in percentage points, at least 0
        difference_sd: standard deviation between seeds of a difference at equal seed. For two runs that each vary by
            `seed_sd`, and unless it is measured, this is `seed_sd` times the square root of 2
        item_error: standard error, over images or questions, of the mean over seeds of the difference
    """
    if num_seeds < MIN_SEEDS:
        return 0.0
    seed_error, freedom = difference_sd / sqrt(num_seeds), num_seeds - 1
    if not (seed_error or item_error):
        return float(margin > 0)
    estimated = seed_error * _relative_deviations(num_seeds)
    return float(ndtr((margin - half_width(estimated, freedom, item_error)) / hypot(seed_error, item_error)).mean())


@cache
def _relative_deviations(num_seeds: int) -> np.ndarray:
    """Compute quantiles of a sample standard deviation of as many seeds, relative to the true one."""
    tails = (np.arange(CHI_SQUARE_POINTS) + 0.5) / CHI_SQUARE_POINTS
    return np.sqrt(chdtri(num_seeds - 1, tails) / (num_seeds - 1))


def smallest_margin(num_seeds: int, difference_sd: float, item_error: float, power: float = POWER) -> float:
    """Compute the smallest margin that is detected with the given probability, in percentage points.

    With fewer than MIN_SEEDS seeds it is infinite. The arguments are those of `detection_probability`.
    """
    if num_seeds < MIN_SEEDS:
        return inf
    highest = 100 * hypot(difference_sd, item_error)
    if not highest:
        return 0.0
    return float(
        brentq(lambda margin: detection_probability(margin, num_seeds, difference_sd, item_error) - power, 0, highest)
    )
