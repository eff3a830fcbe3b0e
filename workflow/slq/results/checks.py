"""What a check answers: the one form for sentences of the paper, its numbers and its tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from slq.results.paper import Number

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "undecided", "not tested")


@dataclass(frozen=True)
class Evidence:
    """One line that a verdict rests on.

    value: the number or the arithmetic as a reader sees it; of a number that is not there, why; "" if there is no need
    verdict: of a printed number or table, `contradicted` where a reader should look
    files: those that it was counted from, joined by `; `
    number: the paper's, if it is about one
    count: how many numbers the line stands for
    """

    what: str
    value: str
    verdict: Verdict
    files: str = ""
    number: Number | None = None
    count: int = 1


def about(number: Number, value: str, verdict: Verdict) -> Evidence:
    """The line about a printed number."""
    return Evidence(f"{number.row} {number.column}", value, verdict, number.source, number)


def decide(verdicts: Iterable[Verdict]) -> Verdict:
    """It holds where every part does, fails where one does, and is open where one is, or is not there."""
    found = set(verdicts)
    if "contradicted" in found:
        return "contradicted"
    if found <= {"not tested"}:
        return "not tested"
    return "supported" if found == {"supported"} else "undecided"


@dataclass(frozen=True)
class CheckResult:
    """What a check found: why its verdict is as it is, and all numbers that it rests on."""

    reason: str
    evidence: tuple[Evidence, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What the evidence comes to."""
        return decide(line.verdict for line in self.evidence)


def asked(evidence: Iterable[Evidence]) -> int:
    """Of how many numbers it could be asked."""
    return sum(line.count for line in evidence if line.verdict != "not tested")


def found(evidence: Iterable[Evidence]) -> int:
    """How many of them a reader should look at."""
    return sum(line.count for line in evidence if line.verdict == "contradicted")
