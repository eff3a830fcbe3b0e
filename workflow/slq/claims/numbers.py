"""Whether a printed number can be k of n, and the interval of what another sample of n would give."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

from slq.evaluation.statistics import accuracy_interval
from slq.results.cells import decimals
from slq.results.checks import Evidence, about
from slq.results.paper import Number

Rounding = Callable[[Fraction], int]  # to whole units of the last digit
HALF = Fraction(1, 2)


def half_up(value: Fraction) -> int:
    """Round, halves up."""
    return floor(value + HALF)


def twice(value: Fraction) -> int:
    """Round to one digit more first, halves up both times."""
    return half_up(Fraction(half_up(10 * value), 10))


ROUNDINGS: dict[str, Rounding] = {"halves up": half_up, "halves to even": round}
OTHERS: dict[str, Rounding] = {"cut off": floor, "rounded twice": twice}  # what may explain a number that is none


def fitting(units: int, digits: int, n: int, rounding: Rounding) -> list[int]:
    """Every k whose share of n, in percent with so many digits, prints as so many units of the last one."""
    scale = 100 * 10**digits
    low, high = floor(Fraction((units - 1) * n, scale)), ceil(Fraction((units + 1) * n, scale))
    return [k for k in range(max(low, 0), min(high, n) + 1) if rounding(Fraction(scale * k, n)) == units]


def fraction(number: Number) -> Evidence:
    """Whether some k of n prints as the number."""
    if not number.counts:
        return about(number, "how many are counted is not known", "not tested")
    judge = _hits if number.unit == "hits" else _percent
    answers = [judge(number.value, n) for n in number.counts]
    possible = any(answer for answer, _ in answers)
    return about(number, "; ".join(text for _, text in answers), "supported" if possible else "contradicted")


def _hits(printed: str, n: int) -> tuple[bool, str]:
    value = Fraction(printed)
    whole = value.denominator == 1 and 0 <= value <= n
    return whole, f"{printed} hits of {n}" if whole else f"{printed} is no whole number from 0 to {n}"


def _percent(printed: str, n: int) -> tuple[bool, str]:
    """Of a rounded number; halves may have been rounded up or to even."""
    digits = decimals(printed)
    scale = 10**digits
    units = int(Fraction(printed) * scale)
    fits = {name: fitting(units, digits, n, rounding) for name, rounding in ROUNDINGS.items()}
    if whole := sorted(set().union(*fits.values())):
        only = [name for name, ks in fits.items() if not ks]
        first, last = f"{whole[0]}/{n}", f" to {whole[-1]}/{n}" if len(whole) > 1 else ""
        return True, f"{first}{last}" + "".join(f", not with {name}" for name in only)
    explained = [
        f"{ks[0]}/{n} {name} gives it" for name, other in OTHERS.items() if (ks := fitting(units, digits, n, other))
    ]
    at = Fraction(printed) * n / 100
    near = [k for k in (floor(at), ceil(at)) if 0 <= k <= n]
    shares = [f"{k}/{n} = {_share(k, n, digits + 1)} → {_share(k, n, digits)}" for k in near]
    # Of all numbers between 0 and 100 with so many digits, those that some k of n prints as.
    reachable = (min(n, 100 * scale) + 1) / (100 * scale + 1)
    nearest = f"no k of {n} rounds to {printed}; nearest {', '.join(shares)}"
    return False, "; ".join([nearest, *explained, f"{100 * reachable:.1f} % of such numbers are shares of {n}"])


def _share(k: int, n: int, digits: int) -> str:
    """k of n in percent, as it prints."""
    return f"{half_up(Fraction(100 * k * 10**digits, n)) / 10**digits:.{digits}f}"


def sampled(value: str, n: int, unit: str) -> tuple[float, float]:
    """The ends of the 95 % interval (Wilson's) of the hits of n that a score stands for, in the score's own unit."""
    scale = Fraction(n, 100) if unit == "hits" else Fraction(1)
    interval = accuracy_interval(round(Fraction(value) / scale * n / 100), n)
    return float(interval.low * scale), float(interval.high * scale)
