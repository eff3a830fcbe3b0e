"""Common form of the results of all checks, on the paper's claims, numbers and tables."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "undecided", "not tested")
THIS_RUN_ONLY: Final = "this run only"  # precedes the verdict of too few seeds to decide


@dataclass(frozen=True)
class Evidence:
    """One line of evidence for a verdict.

    Attributes:
        subject: the number or comparison that the line is about
        value: the printed number or arithmetic; if there is no number, the reason; empty if nothing needs to be shown
        verdict: for a number that the paper prints, `contradicted` marks it for the reader's attention
        files: the files that the value was computed from, joined by `; `
        number: the row of the paper's number (`slq.results.paper`), if the line is about such a number
        count: the number of numbers that the line covers
        this_run: the verdict of the runs alone, if there are too few seeds to decide; None otherwise
    """

    subject: str
    value: str
    verdict: Verdict
    files: str = ""
    number: Any = None
    count: int = 1
    this_run: Verdict | None = None


def number_evidence(number: Any, value: str, verdict: Verdict) -> Evidence:
    """Build the line about a number that the paper prints."""
    return Evidence(f"{number.row} {number.column}", value, verdict, number.source, number)


def number_check(number: Any, fault: str) -> Evidence:
    """Build the line about a checked number: contradicted with the text of a fault, or supported without a text."""
    return number_evidence(number, fault, "contradicted" if fault else "supported")


def combine_verdicts(verdicts: Iterable[Verdict]) -> Verdict:
    """Combine the verdicts on the parts of a claim.

    The result is `contradicted` if any part is, `not tested` if all parts are or there are no parts, `supported` if all
    parts are, and `undecided` otherwise.
    """
    distinct = set(verdicts)
    if "contradicted" in distinct:
        return "contradicted"
    if distinct <= {"not tested"}:
        return "not tested"
    return "supported" if distinct == {"supported"} else "undecided"


@dataclass(frozen=True)
class CheckResult:
    """The result of a check: the reason for its verdict, and the evidence for it.

    Attributes:
        reason: a sentence for the reader
        evidence: one line per number
    """

    reason: str
    evidence: tuple[Evidence, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The combined verdict of the evidence."""
        return combine_verdicts(line.verdict for line in self.evidence)

    @property
    def this_run(self) -> Verdict | None:
        """The combined verdict of the runs alone; None if no line has one."""
        if all(line.this_run is None for line in self.evidence):
            return None
        return combine_verdicts(line.this_run or line.verdict for line in self.evidence)


def describe_this_run(claims: Iterable[tuple[str, str | None]]) -> str:
    """Describe in parentheses what undecided claims would be by their runs alone; empty if seeds leave none undecided.

    Args:
        claims: the verdict and `this_run` of each claim
    """
    alone = Counter(this_run for verdict, this_run in claims if verdict == "undecided" and this_run)
    if not alone:
        return ""
    supported, contradicted = (alone[verdict] for verdict in VERDICTS[:2])
    return f" ({THIS_RUN_ONLY}: {supported} would be supported, {contradicted} contradicted)"


def count_tested(evidence: Iterable[Evidence]) -> int:
    """Count the numbers that could be tested."""
    return sum(line.count for line in evidence if line.verdict != "not tested")


def count_contradicted(evidence: Iterable[Evidence]) -> int:
    """Count the contradicted numbers, which deserve the reader's attention."""
    return sum(line.count for line in evidence if line.verdict == "contradicted")
