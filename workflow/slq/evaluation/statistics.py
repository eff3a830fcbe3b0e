"""Confidence intervals of metrics, and tests of whether two methods differ.

Recalls: bootstrap over images, each with all its captions; resampling single captions gives intervals that are too
narrow. Retention: Wilson's score interval, and McNemar's exact test on questions that two methods answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from slq.common.errors import SlqError
from slq.evaluation.ranks import RECALL_KS

BOOTSTRAP_SEED = 0  # recorded in the results
RESAMPLES = 10_000
CONFIDENCE_LEVEL = 0.95
IMAGES_PER_BATCH = 2**20  # images drawn per batch: 8 MB


@dataclass(frozen=True, eq=False)
class ClusteredHits:
    """Hits of each image's queries, clustered by image because the captions of an image are not independent.

    Attributes:
        cluster_ids: the ids of the images (I,), sorted.
        hits: how many of each image's queries rank within each of RECALL_KS (I, K).
        num_queries: how many queries each image has (I,).
    """

    cluster_ids: np.ndarray
    hits: np.ndarray
    num_queries: np.ndarray

    def has_same_clusters(self, other: "ClusteredHits") -> bool:
        """Return whether both have the same images with the same numbers of queries."""
        return np.array_equal(self.cluster_ids, other.cluster_ids) and np.array_equal(
            self.num_queries, other.num_queries
        )

    def recalls(self) -> dict[str, float]:
        """Compute R@1, R@5 and R@10 in percent: hits divided by queries."""
        share = 100.0 * self.hits.sum(0) / self.num_queries.sum()
        return {f"R@{k}": float(value) for k, value in zip(RECALL_KS, share, strict=True)}


def compute_hits_per_image(table: pd.DataFrame, direction: str, rank_column: str = "rank") -> ClusteredHits:
    """Compute the hits of each image in one direction of a rank table.

    `t2i` and `i2t` count queries. `i2t_strict` is the mean over images of the share of their captions that rank within
    K (trec_eval's recall, at most 20 % at K = 1 with five captions): every image has the same weight, however many
    captions it has.

    Args:
        rank_column: `rank`, with ties in the query's favour, or `rank_pessimistic`.

    Raises:
        SlqError: the table lacks the column `image` or `rank_column`, or has no rows of the direction.
    """
    for name in ("image", rank_column):
        if name not in table:
            raise SlqError(f"the ranks have no column '{name}', expected of every table of ranks; retrieve again")
    rows = table[table["direction"] == direction]
    if not len(rows):
        raise SlqError(f"no ranks of {direction}: a recall needs at least one query")
    image_index, images = pd.factorize(rows["image"], sort=True)
    is_hit = rows[rank_column].to_numpy()[:, None] <= np.array(RECALL_KS)
    num_queries = np.bincount(image_index).astype(float)
    hits = np.column_stack([np.bincount(image_index, hit) for hit in is_hit.T])
    if direction == "i2t_strict":
        hits, num_queries = hits / num_queries[:, None], np.ones_like(num_queries)
    return ClusteredHits(np.asarray(images), hits, num_queries)


def compute_hits_per_question(hits: Mapping[str, bool]) -> ClusteredHits:
    """Compute the hits of questions in the order of their ids, each question as a cluster of its own."""
    names = sorted(hits)
    return ClusteredHits(np.array(names), np.array([[float(hits[name])] for name in names]), np.ones(len(names)))


def recalls_by_direction(table: pd.DataFrame, rank_column: str = "rank") -> dict[str, dict[str, float]]:
    """Compute the recalls of each direction in a rank table."""
    return {
        direction: compute_hits_per_image(table, direction, rank_column).recalls()
        for direction in table["direction"].unique()
    }


def count_ties(table: pd.DataFrame) -> dict[str, int]:
    """Count the ranks of each direction that depend on how equal similarities are counted."""
    differ = table["rank"] != table["rank_pessimistic"]
    return {direction: int(rows.sum()) for direction, rows in differ.groupby(table["direction"], sort=False)}


@dataclass(frozen=True)
class Interval:
    """Estimate with its 95 % confidence interval, in percent."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Difference between two methods in percentage points, with its 95 % interval and two-sided p-value.

    The null hypothesis of the p-value is that there is no difference.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemarResult:
    """Result of McNemar's exact test.

    Attributes:
        only_first: the number of questions that only the first method answers correctly.
        only_second: the number of questions that only the second method answers correctly.
        p: the exact two-sided p-value under even odds.
    """

    only_first: int
    only_second: int
    p: float


def bootstrap_percentages(
    hits: np.ndarray, num_queries: np.ndarray, seed: int, resamples: int = RESAMPLES
) -> np.ndarray:
    """Draw bootstrap resamples of the images, with replacement, and compute hits among queries of each in percent.

    A resample has as many images as the dataset. The draws depend only on the number of images, the seed and
    `resamples`: two methods get the same images.

    Args:
        hits: the hits of each image (I, K).
        num_queries: the number of queries of each image (I,).

    Returns:
        The percentages (resamples, K).
    """
    count = len(num_queries)
    hits_and_queries = np.column_stack([hits, num_queries])
    if count == 1:  # scipy does not resample a single image
        return np.repeat(100.0 * hits_and_queries[:, :-1] / hits_and_queries[:, -1:], resamples, axis=0)

    def compute_percentages(drawn: np.ndarray, axis: int) -> np.ndarray:
        """Compute the percentages of a batch of resamples, given as image indices."""
        flat_indices = drawn + count * np.arange(len(drawn))[:, None]
        weights = np.bincount(flat_indices.ravel(), minlength=drawn.size).reshape(drawn.shape)
        sums = weights.astype(float) @ hits_and_queries
        return (100.0 * sums[:, :-1] / sums[:, -1:]).T

    drawn = bootstrap(
        (np.arange(count),),
        compute_percentages,
        n_resamples=resamples,
        batch=max(1, IMAGES_PER_BATCH // count),
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return np.asarray(drawn.bootstrap_distribution).T


def percentile_interval(percentages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the lower and upper bounds (K,) of the central 95 % of resampled percentages (resamples, K)."""
    low, high = np.quantile(percentages, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2], axis=0)
    return low, high


def recall_intervals(clustered_hits: ClusteredHits, seed: int, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Compute R@1, R@5 and R@10 with their bootstrap intervals; a recall of 0 or 100 has an interval of zero width."""
    low, high = percentile_interval(
        bootstrap_percentages(clustered_hits.hits, clustered_hits.num_queries, seed, resamples)
    )
    return {
        key: Interval(value, float(low[number]), float(high[number]))
        for number, (key, value) in enumerate(clustered_hits.recalls().items())
    }


def recall_differences(
    first: ClusteredHits, second: ClusteredHits, seed: int, resamples: int = RESAMPLES
) -> dict[str, Difference]:
    """Compute the differences between two methods' recalls on the same dataset, paired by image.

    The p-value is twice the share of resamples in which the difference has the opposite sign or is zero, at most 1; one
    is added to the number of these resamples and to the number of all.

    Raises:
        SlqError: the two methods' hits are not on the same images and queries.
    """
    if not first.has_same_clusters(second):
        raise SlqError(
            "the two methods' ranks are not of the same images and captions; retrieve both on the same dataset"
        )
    gains = first.hits - second.hits
    percentages = bootstrap_percentages(gains, first.num_queries, seed, resamples)
    low, high = percentile_interval(percentages)
    num_opposing = 1 + np.minimum((percentages <= 0).sum(0), (percentages >= 0).sum(0))
    p = np.minimum(1.0, 2 * num_opposing / (resamples + 1))
    value = 100.0 * gains.sum(0) / first.num_queries.sum()
    return {
        f"R@{k}": Difference(*(float(column[number]) for column in (value, low, high, p)))
        for number, k in enumerate(RECALL_KS)
    }


def accuracy_interval(hits: int, count: int) -> Interval:
    """Compute the accuracy on `count` questions in percent, with Wilson's score interval.

    Raises:
        SlqError: there are no questions.
    """
    if not count:
        raise SlqError("no answers: an accuracy needs at least one question")
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    share = hits / count
    midpoint = (share + z * z / (2 * count)) / (1 + z * z / count)
    half_width = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # If all or none are correct, the bound is exactly 100 or 0, which rounding would miss.
    low = midpoint - half_width if hits else 0.0
    high = midpoint + half_width if hits < count else 1.0
    return Interval(100 * share, 100 * low, 100 * high)


def accuracy_difference(first: Mapping[str, bool], second: Mapping[str, bool], seed: int) -> Difference:
    """Compute the difference of two methods' accuracies on the same questions.

    Its interval is a bootstrap interval, its p-value McNemar's.

    Raises:
        SlqError: as `mcnemar_test`.
    """
    p = mcnemar_test(first, second).p
    gains = compute_hits_per_question(first).hits - compute_hits_per_question(second).hits
    low, high = percentile_interval(bootstrap_percentages(gains, np.ones(len(gains)), seed))
    return Difference(100.0 * float(gains.mean()), float(low[0]), float(high[0]), p)


def mcnemar_test(first: Mapping[str, bool], second: Mapping[str, bool]) -> McNemarResult:
    """Test whether two methods are correct equally often, from the items that only one gets right (McNemar's test).

    The items must be independent: questions, or images that retrieve a caption. Captions of the same image are not; use
    `recall_differences` for them.

    Args:
        first: whether the first method's answer is a hit, by item id.
        second: the same of the second method.

    Raises:
        SlqError: there are no items, or the two methods' items differ.
    """
    if not first or first.keys() != second.keys():
        unpaired = sorted(first.keys() ^ second.keys())
        found = f"{len(unpaired)} are in one only (first: {unpaired[0]!r})" if unpaired else "there are none"
        raise SlqError(f"two methods are compared on the same items, but {found}; evaluate both on the same dataset")
    only_first = sum(first[name] and not second[name] for name in first)
    only_second = sum(second[name] and not first[name] for name in first)
    return McNemarResult(only_first, only_second, exact_binomial_p(only_first, only_second))


def exact_binomial_p(first: int, second: int) -> float:
    """Compute the two-sided exact binomial p-value of two counts: a split at least this uneven under even odds."""
    count = first + second
    coefficient = tail = 1  # exact integers: C(count, 0), C(count, 1), ... and their sum
    for number in range(min(first, second)):
        coefficient = coefficient * (count - number) // (number + 1)
        tail += coefficient
    return min(1.0, 2 * tail / 2**count)
