"""What a check answers: the one form for sentences of the paper, its numbers and its tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from slq.results.paper import PaperNumber

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

    subject: str
    value: str
    verdict: Verdict
    files: str = ""
    number: PaperNumber | None = None
    count: int = 1


def number_evidence(number: PaperNumber, value: str, verdict: Verdict) -> Evidence:
    """The line about a printed number."""
    return Evidence(f"{number.row} {number.column}", value, verdict, number.source, number)


def combine_verdicts(verdicts: Iterable[Verdict]) -> Verdict:
    """It holds where every part does, fails where one does, and is open where one is, or is not there."""
    distinct = set(verdicts)
    if "contradicted" in distinct:
        return "contradicted"
    if distinct <= {"not tested"}:
        return "not tested"
    return "supported" if distinct == {"supported"} else "undecided"


@dataclass(frozen=True)
class CheckResult:
    """What a check found: why its verdict is as it is, and all numbers that it rests on."""

    reason: str
    evidence: tuple[Evidence, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What the evidence comes to."""
        return combine_verdicts(line.verdict for line in self.evidence)


def count_tested(evidence: Iterable[Evidence]) -> int:
    """Of how many numbers it could be asked."""
    return sum(line.count for line in evidence if line.verdict != "not tested")


def count_contradicted(evidence: Iterable[Evidence]) -> int:
    """How many of them a reader should look at."""
    return sum(line.count for line in evidence if line.verdict == "contradicted")
