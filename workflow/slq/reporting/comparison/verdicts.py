"""What is said of two numbers of one cell: that they agree, differ, or cannot be told apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from slq.reporting.comparison.numbers import Catalogue, Key, Number, unlike
from slq.reporting.comparison.significance import ROUND_OFF, Chance, chance, holm
from slq.results.cells import probability

Verdict = Literal["agrees", "differs", "inside noise", "not comparable", "stale", "missing", "extra"]

SAME_INPUTS = (
    "the same adapter, backbone and set give another number: other code or another device, or a file was edited"
)


@dataclass(frozen=True)
class Judged:
    """Two numbers beside each other: `delta` is a minus b."""

    delta: float
    tolerance: float
    verdict: Verdict
    reason: str
    interval: tuple[float, float] | None = None


def judge(pairs: Mapping[Key, tuple[Number, Number]], catalogue: Catalogue, preset: str) -> dict[Key, Judged]:
    """Every cell that both sides have.

    A number that does not follow from its ranks or answers is not judged. Two numbers of one origin are the same or
    differ. Otherwise a difference within the tolerance is none. Beyond it, a cell differs if its p-value, corrected for
    the number of all that are tested (Holm), is below the level: so chance alone makes any cell of a comparison differ
    with at most that probability. Where there is nothing to test, the tolerance decides.
    """
    apart = {key: reason for key, (a, b) in pairs.items() if (reason := unlike(a, b))}
    chances = {
        key: found
        for key, (a, b) in pairs.items()
        if key not in apart and (found := chance(a, b, catalogue.seed_sd(preset, key.method, a.kind)))
    }
    corrected = holm({key: found.p for key, found in chances.items()})
    judged = {}
    for key, (a, b) in pairs.items():
        delta, tolerance = a.value - b.value, _tolerance(a, b, catalogue)
        found = chances.get(key)
        interval = (found.low, found.high) if found else None
        if a.stale or b.stale:
            judged[key] = Judged(delta, tolerance, "stale", "; ".join(filter(None, (a.stale, b.stale))))
        elif key in apart:
            judged[key] = Judged(delta, tolerance, "not comparable", apart[key])
        elif a.origin and a.origin == b.origin and a.values != b.values:
            judged[key] = Judged(delta, tolerance, "differs", SAME_INPUTS)
        elif abs(delta) <= tolerance + ROUND_OFF:
            judged[key] = Judged(delta, tolerance, "agrees", _proved(a, b), interval)
        elif found is None:
            judged[key] = Judged(delta, tolerance, "differs", _untested(a, b))
        else:
            verdict: Verdict = "differs" if corrected[key] < catalogue.level else "inside noise"
            judged[key] = Judged(delta, tolerance, verdict, _tested(a, b, found, corrected[key]), interval)
    return judged


def _tolerance(a: Number, b: Number, catalogue: Catalogue) -> float:
    """In the unit of print: of hours a share of the larger, of parameters only what printing rounds off."""
    if a.kind == "hours":
        return catalogue.tolerance["hours"] * max(abs(a.value), abs(b.value))
    points = 0.0 if a.kind == "parameters" else catalogue.tolerance[a.kind] * a.unit
    return max(points, a.rounding, b.rounding)


def _tested(a: Number, b: Number, found: Chance, corrected: float) -> str:
    values = f"p {probability(found.p)}, corrected {probability(corrected)}: {found.test}"
    return "; ".join(filter(None, [values, _proved(a, b)]))


def _proved(a: Number, b: Number) -> str:
    sides = " and ".join(side for side, number in (("A", a), ("B", b)) if number.proved)
    return f"base's by proof in {sides}" if sides else ""


def _untested(a: Number, b: Number) -> str:
    """Why a difference beyond the tolerance is no matter of chance."""
    untested = "beyond its tolerance, and nothing to test it by"
    return "; ".join(dict.fromkeys(filter(None, (untested, a.note, b.note))))
