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
from slq.evaluation.ranks import KS

SEED = 0  # of the draws; results say which
RESAMPLES = 10_000
LEVEL = 0.95
BLOCK = 2**20  # images drawn at once: 8 MB


@dataclass(frozen=True, eq=False)
class Clusters:
    """What each image contributes to a recall: the captions of an image are no independent evidence.

    images (I,): ids, sorted; queries (I,): how many it has; hits (I, K): how many of them rank within each of `KS`.
    """

    images: np.ndarray
    hits: np.ndarray
    queries: np.ndarray

    def like(self, other: "Clusters") -> bool:
        """Whether both are of the same images and queries."""
        return np.array_equal(self.images, other.images) and np.array_equal(self.queries, other.queries)

    def recalls(self) -> dict[str, float]:
        """R@1, R@5 and R@10 in percent: hits among queries."""
        share = 100.0 * self.hits.sum(0) / self.queries.sum()
        return {f"R@{k}": float(value) for k, value in zip(KS, share, strict=True)}


def clusters(table: pd.DataFrame, direction: str, column: str = "rank") -> Clusters:
    """Hits by image of one direction of a table of ranks.

    `t2i` and `i2t` count queries. `i2t_strict` is the mean over images of the share of their captions that rank within
    K (trec_eval's recall, at most 20 % at K = 1 with five captions): each image counts as one, however many captions.

    Args:
        column: `rank`, ties in the query's favour, or `rank_pessimistic`.

    Raises:
        SlqError: the table has no such column, or no rows of the direction.
    """
    for name in ("image", column):
        if name not in table:
            raise SlqError(f"the ranks have no column '{name}', expected of every table of ranks; retrieve again")
    rows = table[table["direction"] == direction]
    if not len(rows):
        raise SlqError(f"no ranks of {direction}: a recall needs at least one query")
    number, images = pd.factorize(rows["image"], sort=True)
    within = rows[column].to_numpy()[:, None] <= np.array(KS)
    queries = np.bincount(number).astype(float)
    hits = np.column_stack([np.bincount(number, hit) for hit in within.T])
    if direction == "i2t_strict":
        hits, queries = hits / queries[:, None], np.ones_like(queries)
    return Clusters(np.asarray(images), hits, queries)


def by_question(hits: Mapping[str, bool]) -> Clusters:
    """Whether each question is answered, in the order of their ids: an item of its own."""
    names = sorted(hits)
    return Clusters(np.array(names), np.array([[float(hits[name])] for name in names]), np.ones(len(names)))


def all_recalls(table: pd.DataFrame, column: str = "rank") -> dict[str, dict[str, float]]:
    """Recalls of each direction that a table of ranks holds."""
    return {direction: clusters(table, direction, column).recalls() for direction in table["direction"].unique()}


def ties(table: pd.DataFrame) -> dict[str, int]:
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
class McNemar:
    """Questions that only the one or only the other method answers, and the exact two-sided p-value of even odds."""

    only_one: int
    only_other: int
    p: float


def resample(hits: np.ndarray, queries: np.ndarray, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Hits among queries in percent, (resamples, K), each from as many images as there are, drawn with replacement.

    The draws depend on the number of images, the seed and `resamples` alone: two methods get the same images.

    Args:
        hits (I, K), queries (I,): of each image.
    """
    count = len(queries)
    both = np.column_stack([hits, queries])
    if count == 1:  # of which scipy draws none
        return np.repeat(100.0 * both[:, :-1] / both[:, -1:], resamples, axis=0)

    def shares(drawn: np.ndarray, axis: int) -> np.ndarray:
        places = drawn + count * np.arange(len(drawn))[:, None]
        weights = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape)
        sums = weights.astype(float) @ both
        return (100.0 * sums[:, :-1] / sums[:, -1:]).T

    drawn = bootstrap(
        (np.arange(count),),
        shares,
        n_resamples=resamples,
        batch=max(1, BLOCK // count),
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return np.asarray(drawn.bootstrap_distribution).T


def bounds(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower and upper end (K,) of the central 95 % of resamples (resamples, K)."""
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def recall_intervals(found: Clusters, seed: int, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """R@1, R@5 and R@10 with their intervals. A recall of 0 or 100 has an interval without width."""
    low, high = bounds(resample(found.hits, found.queries, seed, resamples))
    return {
        key: Interval(value, float(low[number]), float(high[number]))
        for number, (key, value) in enumerate(found.recalls().items())
    }


def recall_differences(one: Clusters, other: Clusters, seed: int, resamples: int = RESAMPLES) -> dict[str, Difference]:
    """Recalls of one method minus another's on the same set, paired by image.

    The p-value is twice the share of resamples in which the difference has the other sign or is none, at most 1.

    Raises:
        SlqError: the two are not of the same images and queries.
    """
    if not one.like(other):
        raise SlqError("the two methods' ranks are not of the same images and captions; retrieve both on the same set")
    gains = one.hits - other.hits
    shares = resample(gains, one.queries, seed, resamples)
    low, high = bounds(shares)
    against = 1 + np.minimum((shares <= 0).sum(0), (shares >= 0).sum(0))
    p = np.minimum(1.0, 2 * against / (resamples + 1))
    value = 100.0 * gains.sum(0) / one.queries.sum()
    return {
        f"R@{k}": Difference(*(float(column[number]) for column in (value, low, high, p)))
        for number, k in enumerate(KS)
    }


def accuracy_interval(hits: int, count: int) -> Interval:
    """Accuracy on `count` questions in percent, with Wilson's score interval.

    Raises:
        SlqError: there are no questions.
    """
    if not count:
        raise SlqError("no answers: an accuracy needs at least one question")
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    # All or none right: the bound is 100 or 0, but for rounding.
    low = middle - half if hits else 0.0
    high = middle + half if hits < count else 1.0
    return Interval(100 * share, 100 * low, 100 * high)


def accuracy_difference(one: Mapping[str, bool], other: Mapping[str, bool], seed: int) -> Difference:
    """Accuracy of one method minus another's on the same questions, with a bootstrap interval, and McNemar's p-value.

    Raises:
        SlqError: as `mcnemar`.
    """
    p = mcnemar(one, other).p
    gains = by_question(one).hits - by_question(other).hits
    low, high = bounds(resample(gains, np.ones(len(gains)), seed))
    return Difference(100.0 * float(gains.mean()), float(low[0]), float(high[0]), p)


def mcnemar(one: Mapping[str, bool], other: Mapping[str, bool]) -> McNemar:
    """Whether two methods answer equally often, from the questions that only one of them answers.

    For questions, or images that find a caption: items that are independent. Captions of the same image are not; use
    `recall_differences`.

    Args:
        one, other: whether the item of each id is a hit.

    Raises:
        SlqError: there are no items, or they are not the same.
    """
    if not one or one.keys() != other.keys():
        apart = sorted(one.keys() ^ other.keys())
        found = f"{len(apart)} are in one only (first: {apart[0]!r})" if apart else "there are none"
        raise SlqError(f"two methods are compared on the same items, but {found}; evaluate both on the same set")
    only_one = sum(one[name] and not other[name] for name in one)
    only_other = sum(other[name] and not one[name] for name in one)
    return McNemar(only_one, only_other, even_odds(only_one, only_other))


def even_odds(one: int, other: int) -> float:
    """Two-sided exact binomial p-value of so uneven a split, or a more uneven one, under even odds."""
    count = one + other
    ways = tail = 1  # in whole numbers: of choosing 0, 1, 2, ... of all, and their sum
    for number in range(min(one, other)):
        ways = ways * (count - number) // (number + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**count)
