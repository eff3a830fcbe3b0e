"""Confidence intervals of metrics, and paired tests of the difference between two methods.

- Recalls: percentile intervals of a cluster bootstrap (Field and Welsh 2007) over images, each with all its captions.
  The captions of an image are correlated, so resampling single captions would give intervals that are too narrow.
- Retention scores: Wilson's score interval (Wilson 1927), and McNemar's test (McNemar 1947) in its exact form on the
  questions that both methods answered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
IMAGES_PER_BATCH = 2**20  # number of images drawn per batch of resamples: 8 MB


@dataclass(frozen=True, eq=False)
class ClusteredHits:
    """Numbers of hits per image; images are the clusters, because the captions of an image are not independent.

    Attributes:
        cluster_ids: ids of the images (I,), sorted.
        hits: number of hits of each image's queries at each of RECALL_KS (I, K).
        num_queries: number of queries of each image (I,).
    """

    cluster_ids: np.ndarray
    hits: np.ndarray
    num_queries: np.ndarray

    def has_same_clusters(self, other: "ClusteredHits") -> bool:
        """Return whether two sets of hits have the same images with the same numbers of queries."""
        return np.array_equal(self.cluster_ids, other.cluster_ids) and np.array_equal(
            self.num_queries, other.num_queries
        )

    def recalls(self) -> dict[str, float]:
        """Compute R@1, R@5 and R@10 in percent: all hits divided by all queries."""
        share = 100.0 * self.hits.sum(0) / self.num_queries.sum()
        return {f"R@{k}": float(value) for k, value in zip(RECALL_KS, share, strict=True)}


def compute_hits_per_image(table: pd.DataFrame, direction: str, rank_column: str = "rank") -> ClusteredHits:
    """Compute the hits of each image in one direction of a rank table.

    In `t2i` and `i2t`, every query has the same weight. In `i2t_strict`, every image has the same weight, however many
    captions it has: the recall is the mean over images of the share of an image's captions that rank within K. This is
    the recall of trec_eval; with five captions per image it is at most 20 % at K = 1.

    Args:
        rank_column: `rank`, with ties in favour of the query, or `rank_pessimistic`.
    """
    for name in ("image", rank_column):
        if name not in table:
            raise SlqError(f"the rank table has no column '{name}', which every rank table needs; retrieve again")
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
    """Compute the hits of questions, sorted by id; each question is its own cluster."""
    names = sorted(hits)
    return ClusteredHits(np.array(names), np.array([[float(hits[name])] for name in names]), np.ones(len(names)))


def recalls_by_direction(table: pd.DataFrame, rank_column: str = "rank") -> dict[str, dict[str, float]]:
    """Compute the recalls of each direction in a rank table, in percent."""
    return {
        direction: compute_hits_per_image(table, direction, rank_column).recalls()
        for direction in table["direction"].unique()
    }


def count_ties(table: pd.DataFrame) -> dict[str, int]:
    """Count, for each direction, the ranks that depend on how ties are resolved."""
    differ = table["rank"] != table["rank_pessimistic"]
    return {direction: int(rows.sum()) for direction, rows in differ.groupby(table["direction"], sort=False)}


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval, in percent."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Difference between two methods in percentage points, with its 95 % confidence interval and two-sided p-value.

    The null hypothesis is that the methods do not differ.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemarResult:
    """Result of McNemar's exact test.

    Attributes:
        only_first: number of items that only the first method gets right.
        only_second: number of items that only the second method gets right.
        p: exact two-sided p-value, under the null hypothesis that both numbers have equal expectations.
    """

    only_first: int
    only_second: int
    p: float


def bootstrap_percentages(
    hits: np.ndarray, num_queries: np.ndarray, seed: int, resamples: int = RESAMPLES
) -> np.ndarray:
    """Compute the percentage of hits in each bootstrap resample of the images (Efron 1979).

    A resample consists of I images drawn with replacement, each with all its queries (cluster bootstrap). The draws
    depend only on I, the seed and `resamples`, so that two methods get the same resamples (paired bootstrap).

    Args:
        hits: number of hits of each image (I, K), or differences of such numbers between two methods.
        num_queries: number of queries of each image (I,).

    Returns:
        percentages (resamples, K).
    """
    count = len(num_queries)
    hits_and_queries = np.column_stack([hits, num_queries])
    if count == 1:  # scipy refuses to resample a single image
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
    """Compute the 2.5 % and 97.5 % quantiles (K,) of resampled percentages (resamples, K): a percentile interval."""
    low, high = np.quantile(percentages, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2], axis=0)
    return low, high


def recall_intervals(clustered_hits: ClusteredHits, seed: int, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Compute R@1, R@5 and R@10 with percentile intervals of the cluster bootstrap over images.

    A recall of 0 or 100 % has an interval of zero width.
    """
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
    """Compute the differences between two methods' recalls on the same dataset, with a bootstrap paired by image."""
    if not first.has_same_clusters(second):
        raise SlqError("the two methods have ranks of different images or captions; evaluate both on the same dataset")
    differences = paired_differences(first.hits - second.hits, first.num_queries, seed, resamples)
    return {f"R@{k}": difference for k, difference in zip(RECALL_KS, differences, strict=True)}


def paired_differences(
    gains: np.ndarray, num_queries: np.ndarray, seed: int, resamples: int = RESAMPLES
) -> list[Difference]:
    """Compute the difference of each column with a percentile interval and a p-value of the paired bootstrap.

    The two-sided p-value is 2 (b + 1) / (B + 1), at most 1. B is the number of resamples, and b is the number of
    resamples in which the difference is zero or has the less frequent sign. Adding 1 keeps p above zero (Davison and
    Hinkley 1997).

    Args:
        gains: hits of the first method minus hits of the second, of each image (I, K)
        num_queries: number of queries of each image (I,)
    """
    percentages = bootstrap_percentages(gains, num_queries, seed, resamples)
    low, high = percentile_interval(percentages)
    num_opposing = 1 + np.minimum((percentages <= 0).sum(0), (percentages >= 0).sum(0))
    p = np.minimum(1.0, 2 * num_opposing / (resamples + 1))
    value = 100.0 * gains.sum(0) / num_queries.sum()
    return [Difference(*map(float, column)) for column in zip(value, low, high, p, strict=True)]


def accuracy_interval(hits: int, count: int) -> Interval:
    """Compute the accuracy on `count` questions in percent, with Wilson's score interval (Wilson 1927)."""
    if not count:
        raise SlqError("no answers: an accuracy needs at least one question")
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    share = hits / count
    midpoint = (share + z * z / (2 * count)) / (1 + z * z / count)
    half_width = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # If all or no answers are correct, a bound is exactly 100 or 0, which rounding errors would miss.
    low = midpoint - half_width if hits else 0.0
    high = midpoint + half_width if hits < count else 1.0
    return Interval(100 * share, 100 * low, 100 * high)


def accuracy_difference(first: Mapping[str, bool], second: Mapping[str, bool], seed: int) -> Difference:
    """Compute the difference of two methods' accuracies on the same questions.

    The interval is a percentile interval of the paired bootstrap over questions; the p-value is that of McNemar's exact
    test.
    """
    p = mcnemar_test(first, second).p
    gains = compute_hits_per_question(first).hits - compute_hits_per_question(second).hits
    difference = paired_differences(gains, np.ones(len(gains)), seed)[0]
    return replace(difference, value=100.0 * float(gains.mean()), p=p)


def mcnemar_test(first: Mapping[str, bool], second: Mapping[str, bool]) -> McNemarResult:
    """Test whether two methods are correct equally often, with McNemar's test (McNemar 1947) in its exact form.

    The test uses only the items that exactly one method gets right. Items must be independent, such as questions, or
    images that retrieve captions. Captions of the same image are not independent; use `recall_differences` for them.

    Args:
        first: whether the first method's answer is a hit, by item id.
        second: whether the second method's answer is a hit, by item id; the ids must be the same.
    """
    if not first or first.keys() != second.keys():
        unpaired = sorted(first.keys() ^ second.keys())
        found = f"{len(unpaired)} are in one only (first: {unpaired[0]!r})" if unpaired else "there are none"
        raise SlqError(f"two methods must be compared on the same items, but {found}; evaluate both on one dataset")
    only_first = sum(first[name] and not second[name] for name in first)
    only_second = sum(second[name] and not first[name] for name in first)
    return McNemarResult(only_first, only_second, exact_binomial_p(only_first, only_second))


def exact_binomial_p(first: int, second: int) -> float:
    """Compute the two-sided exact binomial p-value of two counts: the probability of a split at least this uneven.

    Under the null hypothesis, each of the `first + second` events falls on either side with probability 1/2.
    """
    count = first + second
    coefficient = tail = 1  # exact integers: binomial coefficients C(count, 0), C(count, 1), … and their sum
    for number in range(min(first, second)):
        coefficient = coefficient * (count - number) // (number + 1)
        tail += coefficient
    return min(1.0, 2 * tail / 2**count)
