"""What one number says of a claim, and what all of them together do."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slq.evaluation.intervals import Difference
from slq.reporting.comparisons import LEVEL

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "undecided", "not tested")


@dataclass(frozen=True)
class Part:
    """One number that a claim rests on.

    value: as a reader sees it; of a number that is not there, why
    files: those that it was counted from, joined by `; `
    """

    what: str
    value: str
    verdict: Verdict
    files: str = ""


def decide(parts: Sequence[Part]) -> Verdict:
    """A claim holds where every part does, fails where one does, and is open where one is, or is not there."""
    found = {part.verdict for part in parts}
    if "contradicted" in found:
        return "contradicted"
    if found == {"not tested"} or not parts:
        return "not tested"
    return "supported" if found == {"supported"} else "undecided"


def summary(parts: Sequence[Part]) -> str:
    """How many numbers decide it as they do, and the first of them; where none is there, why the first is not."""
    verdict = decide(parts)
    if verdict == "not tested":
        return f"Not run: {parts[0].value}."
    counts = Counter(part.verdict for part in parts)
    shown = verdict if counts[verdict] else next(one for one in VERDICTS if counts[one])
    first = next(part for part in parts if part.verdict == shown)
    said = ", ".join(f"{counts[one]} {one}" for one in VERDICTS if counts[one])
    number = f"{first.what}: {first.value}."
    return number if len(parts) == 1 else f"Numbers: {said}. {number}"


def higher(difference: Difference, parts: int) -> Verdict:
    """Whether one is above the other. One of several parts may fail a claim by chance: they share the level."""
    if difference.value > 0 and difference.p < LEVEL:
        return "supported"
    return "contradicted" if difference.value < 0 and difference.p < LEVEL / parts else "undecided"


def same(difference: Difference, within: float, parts: int) -> Verdict:
    """Whether two are within so many points of percent of each other, wherever in its interval the difference is."""
    if -within <= difference.low and difference.high <= within:
        return "supported"
    return "contradicted" if difference.p < LEVEL / parts else "undecided"


def above(low: float, high: float, number: float) -> Verdict:
    """Whether an interval lies above a published number."""
    if low > number:
        return "supported"
    return "contradicted" if high < number else "undecided"
