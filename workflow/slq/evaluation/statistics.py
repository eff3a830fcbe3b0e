"""How far a number may be from what another sample of images or questions would give, and whether two methods differ.

Recalls: bootstrap over images, each with all its captions; resampling captions instead gives intervals that are too
narrow. Retention: Wilson's interval, and McNemar's exact test on questions that two methods answer.
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

BOOTSTRAP_SEED = 0  # of the draws; results say which
RESAMPLES = 10_000
CONFIDENCE_LEVEL = 0.95
IMAGES_PER_BATCH = 2**20  # images drawn at once: 8 MB


@dataclass(frozen=True, eq=False)
class ClusteredHits:
    """What each image contributes to a recall: the captions of an image are no independent evidence.

    cluster_ids (I,): of the images, sorted; num_queries (I,): how many each has; hits (I, K): how many of them rank
    within each of RECALL_KS.
    """

    cluster_ids: np.ndarray
    hits: np.ndarray
    num_queries: np.ndarray

    def has_same_clusters(self, other: "ClusteredHits") -> bool:
        """Whether both are of the same images and queries."""
        return np.array_equal(self.cluster_ids, other.cluster_ids) and np.array_equal(
            self.num_queries, other.num_queries
        )

    def recalls(self) -> dict[str, float]:
        """R@1, R@5 and R@10 in percent: hits among queries."""
        share = 100.0 * self.hits.sum(0) / self.num_queries.sum()
        return {f"R@{k}": float(value) for k, value in zip(RECALL_KS, share, strict=True)}


def compute_hits_per_image(table: pd.DataFrame, direction: str, rank_column: str = "rank") -> ClusteredHits:
    """Hits by image of one direction of a table of ranks.

    `t2i` and `i2t` count queries. `i2t_strict` is the mean over images of the share of their captions that rank within
    K (trec_eval's recall, at most 20 % at K = 1 with five captions): each image counts as one, however many captions.

    Args:
        rank_column: `rank`, ties in the query's favour, or `rank_pessimistic`.

    Raises:
        SlqError: the table has no such column, or no rows of the direction.
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
    """Whether each question is answered, in the order of their ids: an item of its own."""
    names = sorted(hits)
    return ClusteredHits(np.array(names), np.array([[float(hits[name])] for name in names]), np.ones(len(names)))


def recalls_by_direction(table: pd.DataFrame, rank_column: str = "rank") -> dict[str, dict[str, float]]:
    """Recalls of each direction that a table of ranks holds."""
    return {
        direction: compute_hits_per_image(table, direction, rank_column).recalls()
        for direction in table["direction"].unique()
    }


def count_ties(table: pd.DataFrame) -> dict[str, int]:
    """Of each direction, how many ranks depend on how equal similarities are counted."""
    differ = table["rank"] != table["rank_pessimistic"]
    return {direction: int(rows.sum()) for direction, rows in differ.groupby(table["direction"], sort=False)}


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval, in percent."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One method minus another in points of percent, its 95 % interval, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemarResult:
    """Questions that only the one or only the other method answers, and the exact two-sided p-value of even odds."""

    only_first: int
    only_second: int
    p: float


def bootstrap_percentages(
    hits: np.ndarray, num_queries: np.ndarray, seed: int, resamples: int = RESAMPLES
) -> np.ndarray:
    """Hits among queries in percent, (resamples, K), each from as many images as there are, drawn with replacement.

    The draws depend on the number of images, the seed and `resamples` alone: two methods get the same images.

    Args:
        hits (I, K), num_queries (I,): of each image.
    """
    count = len(num_queries)
    hits_and_queries = np.column_stack([hits, num_queries])
    if count == 1:  # of which scipy draws none
        return np.repeat(100.0 * hits_and_queries[:, :-1] / hits_and_queries[:, -1:], resamples, axis=0)

    def compute_percentages(drawn: np.ndarray, axis: int) -> np.ndarray:
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
    """The lower and upper end (K,) of the central 95 % of resamples (resamples, K)."""
    low, high = np.quantile(percentages, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2], axis=0)
    return low, high


def recall_intervals(clustered_hits: ClusteredHits, seed: int, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """R@1, R@5 and R@10 with their intervals. A recall of 0 or 100 has an interval without width."""
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
    """Recalls of one method minus another's on the same dataset, paired by image.

    The p-value is twice the share of resamples in which the difference has the other sign or is none, at most 1.

    Raises:
        SlqError: the two are not of the same images and queries.
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
    """Accuracy on `count` questions in percent, with Wilson's score interval.

    Raises:
        SlqError: there are no questions.
    """
    if not count:
        raise SlqError("no answers: an accuracy needs at least one question")
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    share = hits / count
    midpoint = (share + z * z / (2 * count)) / (1 + z * z / count)
    half_width = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # All or none right: the bound is 100 or 0, but for rounding.
    low = midpoint - half_width if hits else 0.0
    high = midpoint + half_width if hits < count else 1.0
    return Interval(100 * share, 100 * low, 100 * high)


def accuracy_difference(first: Mapping[str, bool], second: Mapping[str, bool], seed: int) -> Difference:
    """Accuracy of one method minus another's on the same questions, with a bootstrap interval, and McNemar's p-value.

    Raises:
        SlqError: as `mcnemar_test`.
    """
    p = mcnemar_test(first, second).p
    gains = compute_hits_per_question(first).hits - compute_hits_per_question(second).hits
    low, high = percentile_interval(bootstrap_percentages(gains, np.ones(len(gains)), seed))
    return Difference(100.0 * float(gains.mean()), float(low[0]), float(high[0]), p)


def mcnemar_test(first: Mapping[str, bool], second: Mapping[str, bool]) -> McNemarResult:
    """Whether two methods answer equally often, from the questions that only one of them answers.

    For questions, or images that find a caption: items that are independent. Captions of the same image are not; use
    `recall_differences`.

    Args:
        first, second: whether the item of each id is a hit.

    Raises:
        SlqError: there are no items, or they are not the same.
    """
    if not first or first.keys() != second.keys():
        unpaired = sorted(first.keys() ^ second.keys())
        found = f"{len(unpaired)} are in one only (first: {unpaired[0]!r})" if unpaired else "there are none"
        raise SlqError(f"two methods are compared on the same items, but {found}; evaluate both on the same dataset")
    only_first = sum(first[name] and not second[name] for name in first)
    only_second = sum(second[name] and not first[name] for name in first)
    return McNemarResult(only_first, only_second, exact_binomial_p(only_first, only_second))


def exact_binomial_p(first: int, second: int) -> float:
    """Two-sided exact binomial p-value of so uneven a split, or a more uneven one, under even odds."""
    count = first + second
    coefficient = tail = 1  # in whole numbers: of choosing 0, 1, 2, ... of all, and their sum
    for number in range(min(first, second)):
        coefficient = coefficient * (count - number) // (number + 1)
        tail += coefficient
    return min(1.0, 2 * tail / 2**count)
