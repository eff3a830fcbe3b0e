"""Three questions to a claim: can it be k of n, is it within base's interval, is it above chance."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from slq.evaluation.intervals import accuracy_interval
from slq.plausibility.arithmetic import (
    OTHERS,
    ROUNDINGS,
    fitting,
    half_up,
    neighbours,
    percent,
    reachable,
)
from slq.plausibility.claims import Base, Claim
from slq.reporting.cells import decimals

EXACT = Fraction(1, 10**9)  # how far the float of a share, in percent, may be from the share


@dataclass(frozen=True)
class Check:
    """An answer about a claim: `finding` where a reader should look, `arithmetic` why."""

    claim: Claim
    question: str
    verdict: str
    finding: bool
    arithmetic: str


def checks(claim: Claim) -> Iterator[Check]:
    """The answers that can be given; of base itself none about base, and none about chance where it is unknown."""
    yield fraction(claim)
    if claim.base is not None and claim.counts:
        yield beside_base(claim, claim.base)
    if claim.chance is not None:
        yield above_chance(claim, claim.chance)


def fraction(claim: Claim) -> Check:
    """Whether some k of n prints as the value; a mean of several runs need not be one."""
    value = Fraction(claim.value)
    if claim.runs > 1:
        return Check(claim, "k/n", "mean", False, f"mean of {claim.runs} runs, which is no k of n")
    if not claim.counts:
        return Check(claim, "k/n", "unknown", False, "how many are counted is not known")
    if claim.unit == "hits":
        return _hits(claim, value, claim.counts[0])
    answers = [_printed(claim, value, n) if claim.printed else _exact(claim, value, n) for n in claim.counts]
    possible = any(answer for answer, _ in answers)
    text = "; ".join(text for _, text in answers)
    return Check(claim, "k/n", "possible" if possible else "no k/n", not possible, text)


def _hits(claim: Claim, value: Fraction, n: int) -> Check:
    whole = value.denominator == 1 and 0 <= value <= n
    text = f"{claim.value} hits of {n}" if whole else f"{claim.value} is no whole number from 0 to {n}"
    return Check(claim, "k/n", "possible" if whole else "no k/n", not whole, text)


def _exact(claim: Claim, value: Fraction, n: int) -> tuple[bool, str]:
    """Of a number with every digit."""
    k = round(value * n / 100)
    if 0 <= k <= n and abs(percent(k, n) - value) < EXACT:
        return True, f"{k}/{n}"
    return False, f"{claim.value} is no k of {n}; nearest {_shares(value, n, 2)}"


def _printed(claim: Claim, value: Fraction, n: int) -> tuple[bool, str]:
    """Of a rounded number; halves may have been rounded up or to even."""
    digits = decimals(claim.value)
    fits = {name: fitting(value, digits, n, rounding) for name, rounding in ROUNDINGS.items()}
    found = sorted(set().union(*fits.values()))
    if found:
        only = [name for name, ks in fits.items() if not ks]
        first, last = f"{found[0]}/{n}", f" to {found[-1]}/{n}" if len(found) > 1 else ""
        return True, f"{first}{last}" + "".join(f", not with {name}" for name in only)
    explained = [
        f"{ks[0]}/{n} {name} gives it" for name, other in OTHERS.items() if (ks := fitting(value, digits, n, other))
    ]
    share = f"{100 * reachable(digits, n):.1f} % of such numbers are shares of {n}"
    nearest = f"no k of {n} rounds to {claim.value}; nearest {_shares(value, n, digits)}"
    return False, "; ".join([nearest, *explained, share])


def _shares(value: Fraction, n: int, digits: int) -> str:
    """The shares around a number: `415/765 = 54.25 → 54.2, 416/765 = 54.38 → 54.4`."""
    return ", ".join(
        f"{k}/{n} = {_decimal(percent(k, n), digits + 1)} → {_decimal(percent(k, n), digits)}"
        for k in neighbours(value, n)
    )


def _decimal(value: Fraction, digits: int) -> str:
    return f"{float(half_up(value, digits)):.{digits}f}"


def beside_base(claim: Claim, base: Base) -> Check:
    """Whether another sample of as many questions might have given base the value (Wilson's 95 % interval)."""
    n = claim.counts[0]
    scale = Fraction(n, 100) if claim.unit == "hits" else Fraction(1)
    hits = round(Fraction(base.value) / scale * n / 100)
    found = accuracy_interval(hits, n)
    low, high = (float(bound * scale) for bound in (found.low, found.high))
    inside = low <= float(claim.value) <= high
    interval = f"{low:.1f} to {high:.1f}" if claim.unit == "percent" else f"{low:.0f} to {high:.0f}"
    text = f"base {hits}/{n}, 95 % interval {interval} ({base.source})"
    return Check(claim, "base", "inside" if inside else "outside", not inside, text)


def above_chance(claim: Claim, chance: float) -> Check:
    """Whether the value is more than an answer or an order that knows nothing gets on average."""
    above = float(claim.value) > chance
    return Check(claim, "chance", "above" if above else "not above", not above, f"chance {chance:.3g}")
