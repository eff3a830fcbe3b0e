"""What may be said of two numbers of one cell: how far apart they are, and whether chance alone puts them so."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import hypot, sqrt
from typing import Literal

import numpy as np

from slq.comparison.catalogue import Catalogue
from slq.comparison.chance import Z, holm, normal, pooled_sd, sign_flips, student, student_bound
from slq.comparison.numbers import Evidence, Key, Number, Sample, unlike
from slq.evaluation.intervals import SEED, accuracy_interval, bounds, resample
from slq.reporting.cells import probability

Verdict = Literal["agrees", "differs", "inside noise", "not comparable", "missing", "extra"]
ROUND_OFF = 1e-9
PAIRED = "exact sign-flip test on the same items"
SEEDS = "Student's t over {a} and {b} seeds"
APART = "intervals of both numbers, taken as of independent samples"


@dataclass(frozen=True)
class Chance:
    """The 95 % interval of a difference, in the unit of print, the two-sided p-value of none, and by what test."""

    low: float
    high: float
    p: float
    test: str


@dataclass(frozen=True)
class Judged:
    """Two numbers beside each other: `delta` is a minus b."""

    delta: float
    tolerance: float
    verdict: Verdict
    reason: str
    interval: tuple[float, float] | None = None


def judge(pairs: Mapping[Key, tuple[Number, Number]], catalogue: Catalogue) -> dict[Key, Judged]:
    """Every cell that both sides have.

    A difference within the tolerance is none. Beyond it, a cell differs if its p-value, corrected for the number of all
    that are tested (Holm), is below the level: so chance alone makes any cell of a comparison differ with at most that
    probability. Where there is nothing to test, the tolerance decides.
    """
    apart = {key: reason for key, (a, b) in pairs.items() if (reason := unlike(a, b))}
    chances = {key: found for key, pair in pairs.items() if key not in apart and (found := chance(*pair))}
    corrected = holm({key: found.p for key, found in chances.items()})
    judged = {}
    for key, (a, b) in pairs.items():
        delta, tolerance = a.value - b.value, _tolerance(a, b, catalogue)
        found = chances.get(key)
        interval = (found.low, found.high) if found else None
        if key in apart:
            judged[key] = Judged(delta, tolerance, "not comparable", apart[key])
        elif abs(delta) <= tolerance + ROUND_OFF:
            judged[key] = Judged(delta, tolerance, "agrees", _proved(a, b), interval)
        elif found is None:
            judged[key] = Judged(delta, tolerance, "differs", _untested(a, b))
        else:
            verdict: Verdict = "differs" if corrected[key] < catalogue.level else "inside noise"
            p = f"p {probability(found.p)}, corrected {probability(corrected[key])}: {found.test}"
            judged[key] = Judged(delta, tolerance, verdict, "; ".join(filter(None, [p, _proved(a, b)])), interval)
    return judged


def _tolerance(a: Number, b: Number, catalogue: Catalogue) -> float:
    """In the unit of print: of hours a share of the larger, of parameters only what printing rounds off."""
    if a.kind == "hours":
        return catalogue.tolerance["hours"] * max(abs(a.value), abs(b.value))
    points = 0.0 if a.kind == "parameters" else catalogue.tolerance[a.kind] * a.unit
    return max(points, a.rounding, b.rounding)


def _proved(a: Number, b: Number) -> str:
    sides = " and ".join(side for side, number in (("A", a), ("B", b)) if number.proved)
    return f"base's by proof in {sides}" if sides else ""


def _untested(a: Number, b: Number) -> str:
    """Why a difference beyond the tolerance is no matter of chance."""
    for number in (a, b):
        if number.stale:
            return f"{number.files[0]} is not what its ranks or answers give ({number.stale}); `slq score` shows both"
    if a.origin and a.origin == b.origin:
        return "the same adapter, backbone and set give another number"
    return "beyond its tolerance, and nothing to test it by"


def chance(a: Number, b: Number) -> Chance | None:
    """What chance may make of a difference; None if there is nothing to test, or chance has no part in it.

    Of several seeds, the spread of runs that differ in their seed alone: it holds all that chance does on one test
    set. Of one run each, the items that either run alone finds; how far a seed moves a run as a whole is not in them,
    and the tolerance is there for it. Of numbers without such evidence, their intervals.
    """
    same_source = a.origin and a.origin == b.origin
    if a.kind not in ("recall", "score") or a.stale or b.stale or (same_source and a.value != b.value):
        return None
    sd, freedom = pooled_sd([a.values, b.values])
    if freedom and a.sample and b.sample:
        return _over_seeds(a, b, sd, freedom)
    if a.evidence and b.evidence and _same_items(a.evidence, b.evidence):
        low, high = _bootstrap(a.evidence, b.evidence)
        gains = a.evidence.hits.hits[:, a.column] - b.evidence.hits.hits[:, b.column]
        return Chance(a.unit * low[a.column], a.unit * high[a.column], sign_flips(gains), PAIRED)
    return _independent(a, b, sd)


def _same_items(a: Evidence, b: Evidence) -> bool:
    one, other = a.hits, b.hits
    return np.array_equal(one.images, other.images) and np.array_equal(one.queries, other.queries)


@lru_cache(maxsize=4)
def _bootstrap(a: Evidence, b: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval of each recall's difference, in points; runs that hit the same items need no draws."""
    gains = a.hits.hits - b.hits.hits
    if not gains.any():
        return np.zeros(gains.shape[1]), np.zeros(gains.shape[1])
    return bounds(resample(gains, a.hits.queries, SEED))


def _over_seeds(a: Number, b: Number, sd: float, freedom: int) -> Chance:
    delta, error = a.value - b.value, sd * sqrt(1 / len(a.values) + 1 / len(b.values))
    half = student_bound(freedom) * error
    p = student(delta / error, freedom) if error > ROUND_OFF else float(abs(delta) <= ROUND_OFF)
    return Chance(delta - half, delta + half, p, SEEDS.format(a=len(a.values), b=len(b.values)))


def _independent(a: Number, b: Number, sd: float) -> Chance | None:
    """From the interval of each number; of one known as a number alone, what it would be on as many items.

    Source: Newcombe, Interval estimation for the difference between independent proportions, 1998, method 10.
    """
    sample = a.sample or b.sample
    if sample is None:
        return None
    (a_low, a_high), (b_low, b_high) = _ends(a, sample, b), _ends(b, sample, a)
    seeds = Z * sd * sqrt(1 + 1 / max(len(a.values), len(b.values)))
    below = hypot(a.value - a_low, b_high - b.value, seeds)
    above = hypot(a_high - a.value, b.value - b_low, seeds)
    delta = a.value - b.value
    half = below if delta > 0 else above
    p = normal(Z * delta / half) if half > ROUND_OFF else float(abs(delta) <= ROUND_OFF)
    return Chance(delta - below, delta + above, p, APART)


def _ends(number: Number, sample: Sample, counted: Number) -> tuple[float, float]:
    """A number's interval; else Wilson's, on as many items as the sample of the `counted` one is worth."""
    if number.sample is not None:
        return number.sample.low, number.sample.high
    count, share = _worth(sample, counted), number.value / number.unit
    found = accuracy_interval(round(count * share / 100), count)
    return number.value - number.unit * (found.value - found.low), number.value + number.unit * (
        found.high - found.value
    )


def _worth(sample: Sample, number: Number) -> int:
    """Independent items that would give an interval so wide: five captions of an image are worth one to five."""
    share = number.value / number.unit
    error = (sample.high - sample.low) / (2 * Z * number.unit)
    if error < ROUND_OFF:
        return sample.items
    return round(min(max(share * (100 - share) / error**2, sample.items), sample.queries))
