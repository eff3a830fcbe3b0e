"""Two sources beside each other: every cell of either with a verdict, and what may explain the differences."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.reporting.comparison.numbers import METRICS, Catalogue, Key, Number, Numbers
from slq.reporting.comparison.provenance import Apart, Facts, differences, facts
from slq.reporting.comparison.quoted import paper_numbers
from slq.reporting.comparison.sources import PAPER, opened
from slq.reporting.comparison.stored import Stored
from slq.reporting.comparison.verdicts import Judged, Verdict, judge
from slq.results.records import ROWS

SCHEMA = 1
VERDICTS: tuple[Verdict, ...] = ("agrees", "inside noise", "differs", "not comparable", "stale", "missing", "extra")


@dataclass(frozen=True)
class Side:
    """One side, read: `preset` is "" of the paper, which has no runs and hence no facts of them.

    notices: files whose numbers do not follow from their ranks or answers, or of which that is not known
    """

    name: str
    kind: str
    what: str
    preset: str = ""
    numbers: Numbers = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """A cell: the numbers of both sides, one of which may be absent, and what is said of them."""

    key: Key
    a: Number | None
    b: Number | None
    judged: Judged

    @property
    def number(self) -> Number:
        """The number of either side, which says how both are printed."""
        number = self.a or self.b
        if number is None:
            raise ValueError(f"{self.key}: a cell has at least one number")
        return number


@dataclass(frozen=True)
class Comparison:
    """A against B: the cells in the order of the configuration."""

    a: Side
    b: Side
    cells: tuple[Compared, ...]
    differences: tuple[Apart, ...]

    @property
    def counts(self) -> dict[Verdict, int]:
        """Cells by verdict."""
        found = Counter(cell.judged.verdict for cell in self.cells)
        return {verdict: found[verdict] for verdict in VERDICTS}


def compare(one: str, other: str, catalogue: Catalogue, reference: Path) -> Comparison:
    """A against B, each as `slq.reporting.comparison.sources.opened` takes it.

    Args:
        reference: the folder of the paper's values

    Raises:
        SlqError: a source is not there, holds nothing, or a file of it cannot be used.
    """
    sides = {name: _side(name, catalogue) for name in dict.fromkeys((one, other)) if name != PAPER}
    if PAPER in (one, other):
        others: Numbers = next((side.numbers for side in sides.values()), {})
        numbers = paper_numbers(reference, catalogue, others)
        sides[PAPER] = Side(PAPER, "paper", "the paper's Tables 1 and 3", numbers=numbers)
    a, b = sides[one], sides[other]
    cells = _cells(a, b, catalogue)
    return Comparison(a, b, cells, tuple(differences(a.facts, b.facts)) if a.facts and b.facts else ())


def _side(name: str, catalogue: Catalogue) -> Side:
    """A side that has runs."""
    with opened(name) as (kind, folder, place):
        stored = Stored(folder, place, catalogue)
        preset, what = _described(name, stored)
        return Side(name, kind, what, preset, stored.numbers(), facts(stored), tuple(stored.notices()))


def _described(name: str, stored: Stored) -> tuple[str, str]:
    """Of which preset its runs are, and how many of what there is."""
    layout = stored.results.layout
    runs = [run for backbone, method in stored.methods for run in stored.runs(backbone.name, method)]
    presets = {run.text("preset"): run for run in runs}
    if len(presets) > 1:
        raise SlqError(f"{name}: holds runs of several presets: {', '.join(sorted(presets))}; keep them apart")
    (preset,) = presets
    seeds = f", {layout.which_seeds}" if layout.seeds else ""
    rows = f", {len(stored.rows)} row{'s' * (len(stored.rows) > 1)}" if stored.rows else ""
    return preset, f"preset {preset}, {len(runs)} run{'s' * (len(runs) > 1)}{seeds}{rows}"


def _cells(a: Side, b: Side, catalogue: Catalogue) -> tuple[Compared, ...]:
    both = {key: (a.numbers[key], b.numbers[key]) for key in a.numbers if key in b.numbers}
    judged = judge(both, catalogue, a.preset or b.preset)
    one_sided: tuple[tuple[Side, Side, Verdict, str], ...] = ((b, a, "missing", "A"), (a, b, "extra", "B"))
    for mine, others, verdict, side in one_sided:
        for key in mine.numbers.keys() - others.numbers.keys():
            stale = mine.numbers[key].stale
            why: tuple[Verdict, str] = ("stale", stale) if stale else (verdict, _absent(key, side, others))
            judged[key] = Judged(0.0, 0.0, *why)
    keys = sorted(judged, key=lambda key: (*catalogue.place(*key[:3]), METRICS.index(key.metric)))
    return tuple(Compared(key, a.numbers.get(key), b.numbers.get(key), judged[key]) for key in keys)


def _absent(key: Key, side: str, others: Side) -> str:
    """Why a cell has one number."""
    if others.kind == "paper":
        return "the paper has no such number"
    runs = {(other.backbone, other.method) for other in others.numbers}
    if (key.backbone, key.method) in runs:
        return f"not in {side}"
    return f"{side} has no such {'row' if key.backbone == ROWS else 'run'}"


def as_json(found: Comparison) -> dict[str, Any]:
    """The form of `results/<preset>/compare/paper.json` (docs/results.md)."""
    return {
        "schema": SCHEMA,
        "preset": found.a.preset or found.b.preset,
        "a": {"name": found.a.name, "kind": found.a.kind, "what": found.a.what},
        "b": {"name": found.b.name, "kind": found.b.kind, "what": found.b.what},
        "cells": [_cell(cell) for cell in found.cells],
        "differences": [vars(apart) for apart in found.differences],
        "counts": found.counts,
    }


def _cell(cell: Compared) -> dict[str, Any]:
    both, judged = cell.a is not None and cell.b is not None, cell.judged
    return {
        **cell.key._asdict(),
        "a": cell.a.value if cell.a else None,
        "b": cell.b.value if cell.b else None,
        "delta": judged.delta if both else None,
        "tolerance": judged.tolerance if both else None,
        "interval": list(judged.interval) if judged.interval else None,
        "verdict": judged.verdict,
        "reason": judged.reason,
        "files": [file for number in (cell.a, cell.b) if number for file in number.files],
    }
