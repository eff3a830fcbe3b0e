"""Exact arithmetic of shares: which k of n a printed number can be, and what chance finds."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor, prod

Rounding = Callable[[Fraction, int], Fraction]


def half_up(value: Fraction, digits: int) -> Fraction:
    """Rounded to so many digits after the point, halves up."""
    return Fraction(floor(value * 10**digits + Fraction(1, 2)), 10**digits)


def half_even(value: Fraction, digits: int) -> Fraction:
    """Rounded to so many digits after the point, halves to the even digit, as Python and IEEE 754 do."""
    return Fraction(round(value * 10**digits), 10**digits)


def truncated(value: Fraction, digits: int) -> Fraction:
    """Cut off after so many digits."""
    return Fraction(floor(value * 10**digits), 10**digits)


def twice(value: Fraction, digits: int) -> Fraction:
    """Rounded to one digit more first, halves up both times."""
    return half_up(half_up(value, digits + 1), digits)


ROUNDINGS: dict[str, Rounding] = {"halves up": half_up, "halves to even": half_even}
OTHERS: dict[str, Rounding] = {"cut off": truncated, "rounded twice": twice}  # what may explain a number that is none


def percent(k: int, n: int) -> Fraction:
    """k of n in percent."""
    return Fraction(100 * k, n)


def fitting(printed: Fraction, digits: int, n: int, rounding: Rounding) -> list[int]:
    """Every k whose share of n, in percent, prints as this number."""
    unit = Fraction(1, 10**digits)
    low, high = floor((printed - unit) * n / 100), ceil((printed + unit) * n / 100)
    return [k for k in range(max(low, 0), min(high, n) + 1) if rounding(percent(k, n), digits) == printed]


def neighbours(printed: Fraction, n: int) -> list[int]:
    """The k whose shares lie on either side of a number, or one k where it is a share itself."""
    at = printed * n / 100
    return [k for k in sorted({floor(at), ceil(at)}) if 0 <= k <= n]


def reachable(digits: int, n: int) -> float:
    """The share of all numbers between 0 and 100 with so many digits that some k of n prints as."""
    steps = 100 * 10**digits
    return (min(n, steps) + 1) / (steps + 1)


def chance_of_recall(k: int, gallery: int, positives: float) -> float:
    """Percent of queries with a positive among the first K of a gallery in random order: hypergeometric.

    `positives` of the gallery are a query's own; a mean of them gives the chance of a query that has as many.
    """
    return 100.0 * (1.0 - prod(max(gallery - positives - i, 0.0) / (gallery - i) for i in range(min(k, gallery))))
