"""Whether chance alone puts two numbers of one cell so far apart: by seeds, by items, or by their intervals.

The tests are exact, with tails that are fine enough for many cells: a bootstrap of 10,000 has no p-value below 0.0002,
which is not small among the 240 cells of the paper's tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import hypot, sqrt
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from scipy.stats import binom, norm, t

from slq.evaluation.statistics import SEED, Clusters, accuracy_interval, bounds, resample
from slq.reporting.comparison.numbers import Number, Sample

Key = TypeVar("Key")
Z = NormalDist().inv_cdf(0.975)  # half the width of a 95 % interval, in standard deviations; scipy's is one digit off
ROUND_OFF = 1e-9
PAIRED = "exact sign-flip test on the same items"
SPREAD = "Student's t over {a} and {b} seeds"
ITEMS = "the same items"
APART = "intervals of both numbers"
UNKNOWN = "one seed against another, and seed_sd of the preset does not say how far a seed moves {kind}s of the method"


@dataclass(frozen=True)
class Chance:
    """The 95 % interval of a difference, in the unit of print, the two-sided p-value of none, and by what test."""

    low: float
    high: float
    p: float
    test: str


@dataclass(frozen=True)
class Paired:
    """Hits of one run minus those of the other, by item and recall (I, K), and the 95 % interval of each recall's sum.

    low, high (K,): in points of percent.
    """

    gains: np.ndarray
    low: np.ndarray
    high: np.ndarray


def chance(a: Number, b: Number, seed_sd: float | None) -> Chance | None:
    """What chance may make of a difference; None if there is nothing to test, or chance has no part in it.

    Where a side has several seeds, the spread of runs that differ in their seed alone: it holds all that chance does on
    one test set. Of one run each, the items that either run alone finds. They do not say how far another seed moves a
    run as a whole, on all items alike: of runs of different seeds, and beside the paper's, `seed_sd` is added. Of
    numbers without such evidence, their intervals.

    Args:
        seed_sd: standard deviation between runs that differ in their seed alone, in points, of a number near 50 %; None
            if it is not known
    """
    same_source = a.origin and a.origin == b.origin
    sample = a.sample or b.sample
    if sample is None or a.stale or b.stale or (same_source and a.values != b.values):
        return None
    sd, freedom = pooled_sd([a.values, b.values])
    if freedom and a.sample and b.sample:
        return _over_seeds(a, b, sd, freedom)
    delta, items, moved = a.value - b.value, _same_items(a.evidence, b.evidence), 0.0
    below, above = _gaps(a, b, sample, items)
    if a.seeds != b.seeds:
        if not freedom and seed_sd is None:
            return Chance(delta - below, delta + above, 1.0, UNKNOWN.format(kind=a.kind))
        moved = (sd if freedom else _moved(a, b, seed_sd or 0.0)) * sqrt(1 / len(a.values) + 1 / len(b.values))
    if not moved and items:
        return Chance(delta - below, delta + above, sign_flips(items.gains[:, a.column]), PAIRED)
    below, above = (hypot(gap, Z * moved) for gap in (below, above))
    half = below if delta > 0 else above
    p = float(2 * norm.sf(Z * abs(delta) / half)) if half > ROUND_OFF else float(abs(delta) <= ROUND_OFF)
    by = (ITEMS if items else APART) + f", with {moved:.1f} of standard deviation from seeds" * (moved > 0)
    return Chance(delta - below, delta + above, p, by)


def _moved(a: Number, b: Number, seed_sd: float) -> float:
    """What a seed does to numbers of this size, in the unit of print: all of `seed_sd` at 50 %, nothing at 0 and 100.

    A seed makes a model a little better or worse on all items; of those that are far from decided it moves most.
    """
    share = (a.value + b.value) / (2 * a.unit)
    return a.unit * seed_sd * 2 * sqrt(max(share * (100 - share), 0.0)) / 100


def _over_seeds(a: Number, b: Number, sd: float, freedom: int) -> Chance:
    delta, error = a.value - b.value, sd * sqrt(1 / len(a.values) + 1 / len(b.values))
    half = t_critical(freedom) * error
    p = t_test_p(delta / error, freedom) if error > ROUND_OFF else float(abs(delta) <= ROUND_OFF)
    return Chance(delta - half, delta + half, p, SPREAD.format(a=len(a.values), b=len(b.values)))


def _gaps(a: Number, b: Number, sample: Sample, items: Paired | None) -> tuple[float, float]:
    """How far the 95 % interval of the difference that items give reaches below and above it.

    Source, of numbers that are not of the same items: Newcombe, Interval estimation for the difference between
    independent proportions, 1998, method 10.
    """
    if items:
        low, high = (a.unit * ends[a.column] for ends in (items.low, items.high))
        return a.value - b.value - low, high - (a.value - b.value)
    (a_low, a_high), (b_low, b_high) = _ends(a, sample, b), _ends(b, sample, a)
    return hypot(a.value - a_low, b_high - b.value), hypot(a_high - a.value, b.value - b_low)


@lru_cache(maxsize=4)
def _same_items(a: Clusters | None, b: Clusters | None) -> Paired | None:
    """Two runs on the same items; runs that hit the same ones need no draws."""
    if a is None or b is None or not a.like(b):
        return None
    gains = a.hits - b.hits
    none = np.zeros(gains.shape[1])
    return Paired(gains, *(bounds(resample(gains, a.queries, SEED)) if gains.any() else (none, none)))


def _ends(number: Number, sample: Sample, counted: Number) -> tuple[float, float]:
    """A number's interval; else Wilson's, on as many items as the sample of the `counted` one is worth."""
    if number.sample is not None:
        return number.sample.low, number.sample.high
    count, share = _worth(sample, counted), number.value / number.unit
    found = accuracy_interval(round(count * share / 100), count)
    below, above = number.unit * (found.value - found.low), number.unit * (found.high - found.value)
    return number.value - below, number.value + above


def _worth(sample: Sample, number: Number) -> int:
    """Independent items that would give an interval so wide: five captions of an image are worth one to five."""
    share = number.value / number.unit
    error = (sample.high - sample.low) / (2 * Z * number.unit)
    if error < ROUND_OFF:
        return sample.items
    return round(min(max(share * (100 - share) / error**2, sample.items), sample.queries))


def sign_flips(gains: np.ndarray) -> float:
    """Two-sided p-value of a sum so far from 0, if the sign of every item's gain is a coin's.

    That is so if two runs differ by chance alone: they are then exchangeable on every item. Of gains of one it is
    McNemar's exact test; an image with five captions counts as one item with a gain of -5 to 5.

    Args:
        gains (I,): hits of one run minus those of the other, whole numbers.
    """
    sizes, counts = np.unique(np.abs(gains).astype(int), return_counts=True)
    ways = np.ones(1)  # probability of each number of half-gains that fall to the first run
    for size, count in zip(sizes, counts, strict=True):
        if size:
            coins = np.zeros(size * count + 1)
            coins[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
            ways = np.convolve(ways, coins)
    apart = np.abs(2 * np.arange(len(ways)) - (len(ways) - 1))
    return min(1.0, float(ways[apart >= abs(int(gains.sum()))].sum()))


def t_test_p(value: float, freedom: int) -> float:
    """Two-sided p-value of Student's t."""
    return float(2 * t.sf(abs(value), freedom))


def t_critical(freedom: int, level: float = 0.05) -> float:
    """The t that chance exceeds in either direction with probability `level`."""
    return float(t.isf(level / 2, freedom))


def holm(ps: Mapping[Key, float]) -> dict[Key, float]:
    """p-values corrected for their number: of all that are below a level, one is so by chance with no more probability.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979. It holds however the cells depend on
    each other, as R@1, R@5 and R@10 of one run do.
    """
    corrected, highest = {}, 0.0
    for place, key in enumerate(sorted(ps, key=lambda key: ps[key])):
        highest = max(highest, min(1.0, (len(ps) - place) * ps[key]))
        corrected[key] = highest
    return corrected


def pooled_sd(samples: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation within samples of equal spread, and its degrees of freedom; one value has none."""
    squares, freedom = 0.0, 0
    for values in samples:
        mean = sum(values) / len(values)
        squares += sum((value - mean) ** 2 for value in values)
        freedom += len(values) - 1
    return (sqrt(squares / freedom) if freedom else 0.0), freedom
