"""Tests of whether a printed number can be a share k / n, and the sampling interval of such a share."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from typing import Any

from slq.evaluation.statistics import accuracy_interval
from slq.results.cells import count_decimals
from slq.results.checks import Evidence, number_evidence

Rounding = Callable[[Fraction], int]  # rounds to whole units of the last digit
HALF = Fraction(1, 2)


def round_half_up(value: Fraction) -> int:
    """Round to a whole number, with halves rounded up."""
    return floor(value + HALF)


def round_twice(value: Fraction) -> int:
    """Round to one extra digit first, then to a whole number, with halves rounded up both times."""
    return round_half_up(Fraction(round_half_up(10 * value), 10))


ROUNDINGS: dict[str, Rounding] = {"halves up": round_half_up, "halves to even": round}
OTHER_ROUNDINGS: dict[str, Rounding] = {
    "cut off": floor,
    "rounded twice": round_twice,
}  # may explain a number that is not a correctly rounded share


def possible_counts(units: int, digits: int, n: int, rounding: Rounding) -> list[int]:
    """List every k for which k / n in percent prints as the given number.

    Args:
        units: the printed percentage in units of its last digit
        digits: the number of decimals of the printed percentage
        rounding: how the share is rounded to units
    """
    scale = 100 * 10**digits
    low, high = floor(Fraction((units - 1) * n, scale)), ceil(Fraction((units + 1) * n, scale))
    return [k for k in range(max(low, 0), min(high, n) + 1) if rounding(Fraction(scale * k, n)) == units]


def check_share(number: Any) -> Evidence:
    """Check whether some k / n prints as the number, for any of its known sample sizes n."""
    if not number.sample_sizes:
        return number_evidence(number, "the sample size is not known", "not tested")
    check = _check_hits if number.unit == "hits" else _check_percent
    answers = [check(number.printed, n) for n in number.sample_sizes]
    possible = any(answer for answer, _ in answers)
    return number_evidence(number, "; ".join(text for _, text in answers), "supported" if possible else "contradicted")


def _check_hits(printed: str, n: int) -> tuple[bool, str]:
    """Check whether printed hits are a whole number from 0 to n; return the answer and the arithmetic."""
    value = Fraction(printed)
    is_possible = value.denominator == 1 and 0 <= value <= n
    return is_possible, f"{printed} hits of {n}" if is_possible else f"{printed} is not a whole number from 0 to {n}"


def _check_percent(printed: str, n: int) -> tuple[bool, str]:
    """Check whether a printed percentage is a rounded share of n; return the answer and the arithmetic.

    Rounding halves up and rounding halves to even are both accepted.
    """
    digits = count_decimals(printed)
    scale = 10**digits
    units = int(Fraction(printed) * scale)
    counts_by_rounding = {name: possible_counts(units, digits, n, rounding) for name, rounding in ROUNDINGS.items()}
    if counts := sorted(set().union(*counts_by_rounding.values())):
        failing_roundings = [name for name, ks in counts_by_rounding.items() if not ks]
        first, last = f"{counts[0]}/{n}", f" to {counts[-1]}/{n}" if len(counts) > 1 else ""
        return True, f"{first}{last}" + "".join(f", not with {name}" for name in failing_roundings)
    explanations = [
        f"{ks[0]}/{n} {name} gives it"
        for name, other in OTHER_ROUNDINGS.items()
        if (ks := possible_counts(units, digits, n, other))
    ]
    exact_count = Fraction(printed) * n / 100
    nearest_counts = [k for k in (floor(exact_count), ceil(exact_count)) if 0 <= k <= n]
    shares = [f"{k}/{n} = {_format_share(k, n, digits + 1)} → {_format_share(k, n, digits)}" for k in nearest_counts]
    # The fraction of all numbers from 0 to 100 with this number of digits that are a share of n.
    reachable = (min(n, 100 * scale) + 1) / (100 * scale + 1)
    nearest = f"no k of {n} rounds to {printed}; nearest {', '.join(shares)}"
    return False, "; ".join([nearest, *explanations, f"{100 * reachable:.1f} % of such numbers are shares of {n}"])


def _format_share(k: int, n: int, digits: int) -> str:
    """Format k / n in percent with the given number of decimals."""
    return f"{round_half_up(Fraction(100 * k * 10**digits, n)) / 10**digits:.{digits}f}"


def sampling_interval(value: str, n: int, unit: str) -> tuple[float, float]:
    """Compute the 95 % Wilson score interval (Wilson 1927) of a score as hits out of n, in the unit of the score."""
    scale = Fraction(n, 100) if unit == "hits" else Fraction(1)
    interval = accuracy_interval(round(Fraction(value) / scale * n / 100), n)
    return float(interval.low * scale), float(interval.high * scale)
