"""Results of checks in one form, for the paper's sentences, its numbers and its tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "undecided", "not tested")


@dataclass(frozen=True)
class Evidence:
    """One line that a verdict rests on.

    Attributes:
        subject: the number or comparison that the line is about
        value: the number or the arithmetic as a reader sees it; where there is no number, why; empty where nothing
            needs to be shown
        verdict: of a printed number or table, `contradicted` where a reader should look at it
        files: the files that the value was computed from, joined by `; `
        number: the row of the paper's number (`slq.results.paper`), if the line is about one
        count: how many numbers the line covers
    """

    subject: str
    value: str
    verdict: Verdict
    files: str = ""
    number: Any = None
    count: int = 1


def number_evidence(number: Any, value: str, verdict: Verdict) -> Evidence:
    """Build the line about a number that the paper prints."""
    return Evidence(f"{number.row} {number.column}", value, verdict, number.source, number)


def number_check(number: Any, fault: str) -> Evidence:
    """Build the line about a checked number: contradicted by a fault, or supported and without a word."""
    return number_evidence(number, fault, "contradicted" if fault else "supported")


def combine_verdicts(verdicts: Iterable[Verdict]) -> Verdict:
    """Combine the verdicts on the parts of a claim.

    The result is `contradicted` if one part is; `not tested` if all parts are, or there is none; `supported` if all
    parts are; else `undecided`.
    """
    distinct = set(verdicts)
    if "contradicted" in distinct:
        return "contradicted"
    if distinct <= {"not tested"}:
        return "not tested"
    return "supported" if distinct == {"supported"} else "undecided"


@dataclass(frozen=True)
class CheckResult:
    """The result of a check: why its verdict is as it is, and all numbers that it rests on.

    Attributes:
        reason: a sentence for the reader
        evidence: one line for each number
    """

    reason: str
    evidence: tuple[Evidence, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The combined verdict of the evidence."""
        return combine_verdicts(line.verdict for line in self.evidence)


def count_tested(evidence: Iterable[Evidence]) -> int:
    """Count the numbers that could be tested."""
    return sum(line.count for line in evidence if line.verdict != "not tested")


def count_contradicted(evidence: Iterable[Evidence]) -> int:
    """Count the contradicted numbers, which a reader should look at."""
    return sum(line.count for line in evidence if line.verdict == "contradicted")
