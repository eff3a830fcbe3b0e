"""Printed numbers as claims about a benchmark: what is counted, out of how many, beside which base and chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slq.errors import SlqError
from slq.plausibility.arithmetic import chance_of_recall
from slq.reporting.records import sourced_rows

BENCHMARKS = ["benchmark", "direction", "n", "gallery", "positives", "unit", "note", "source"]
BASE_SCORES = ["backbone", "benchmark", "value", "evidence", "source"]
Unit = Literal["percent", "hits"]


@dataclass(frozen=True)
class Base:
    """The score of the untouched backbone, and where it stands."""

    value: str
    source: str


@dataclass(frozen=True)
class Claim:
    """A number as it was read.

    value: as printed; of ours, where `printed` is false, every digit that was computed
    counts: n, how many queries or questions it is a share of; several where protocols differ, none if unknown
    runs: how many runs it is the mean of
    base: of a retention score that is not base's own, if known
    chance: in the unit of the value, if known
    """

    source: str
    row: str
    column: str
    value: str
    unit: Unit
    counts: tuple[int, ...]
    printed: bool = True
    runs: int = 1
    base: Base | None = None
    chance: float | None = None


class Benchmarks:
    """What the paper's columns count (`benchmarks.csv`) and the published scores of base (`base_scores.csv`)."""

    def __init__(self, reference: Path, results: Path) -> None:
        self.rows: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row, source in sourced_rows(reference / "benchmarks.csv", BENCHMARKS, results):
            if not row["n"].isdecimal() or row["unit"] not in ("percent", "hits"):
                raise SlqError(f"{source}: n is {row['n']!r}, unit {row['unit']!r}; expected a count, percent or hits")
            self.rows.setdefault((row["benchmark"], row["direction"]), []).append(row)
        self.bases = {
            (row["backbone"], row["benchmark"]): Base(row["value"], f"{source}, evidence: {row['evidence']}")
            for row, source in sourced_rows(reference / "base_scores.csv", BASE_SCORES, results)
        }

    def unit(self, benchmark: str) -> Unit:
        """What a score of a retention benchmark counts; percent where nothing else is said."""
        return "hits" if any(row["unit"] == "hits" for row in self.rows.get((benchmark, ""), [])) else "percent"

    def retrieval(self, source: str, row: str, name: str, direction: str, metric: str, value: str) -> Claim:
        """A quoted recall."""
        known = self.rows.get((name, direction), [])
        chance = None
        if known:
            gallery, positives = (int(known[0][key]) for key in ("gallery", "positives"))
            chance = chance_of_recall(k_of(metric, source), gallery, positives)
        column = f"{name} {direction} {metric}"
        return Claim(source, row, column, value, "percent", _counts(known), chance=chance)

    def retention(self, source: str, row: str, name: str, value: str, base: Base | None) -> Claim:
        """A quoted score; of nobody's answers is chance known."""
        return Claim(source, row, name, value, self.unit(name), _counts(self.rows.get((name, ""), [])), base=base)


def _counts(rows: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(int(row["n"]) for row in rows))


def k_of(metric: str, source: str) -> int:
    """5 of `R@5`."""
    if not metric.removeprefix("R@").isdecimal():
        raise SlqError(f"{source}: metric is {metric!r}; expected R@ and a number")
    return int(metric.removeprefix("R@"))
