"""Under which circumstances the results were made, and what they cost: from `run.json` and the ledger."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from slq.accounting.ledger import ROWS
from slq.reporting.cells import hours, quantity
from slq.reporting.computed import ledger_lines, ledger_source
from slq.reporting.layout import METHODS, Entry
from slq.reporting.records import Record, Results
from slq.reporting.row_results import RowResults

DASH = "\u2013"  # where there is no number


@dataclass(frozen=True)
class Run:
    """A run in a line; `source` is its `run.json`."""

    backbone: str
    method: str
    seed: int
    device: str
    commit: str
    source: str


@dataclass(frozen=True)
class Spent:
    """What all seeds of a method on a backbone spent, as printed: hours of devices, and PFLOP where they are known."""

    backbone: str
    method: str
    devices: str
    training: str
    lost: str
    total: str
    pflop: str


def records(ours: Results) -> list[tuple[Entry, str, Record]]:
    """Every run that exists, in the order of Table 3, with its backbone and method."""
    return [
        (backbone, method, record)
        for backbone in ours.layout.backbones
        for method in METHODS
        for record in ours.runs(backbone.name, method)
    ]


def runs(ours: Results) -> list[Run]:
    """A line a run.

    Raises:
        SlqError: a run lacks a circumstance; names file and key.
    """
    return [
        Run(
            backbone.label, METHODS[method], int(record.number("seed")), _device(record), _commit(record), record.source
        )
        for backbone, method, record in records(ours)
    ]


@dataclass(frozen=True)
class RowMade:
    """A row that is no run; `source` is its `row.json`."""

    label: str
    device: str
    commit: str
    source: str


def rows(ours: Results) -> list[RowMade]:
    """A line a row that exists; errors as in `runs`."""
    found = ((row.label, RowResults(ours, row.name).row()) for row in ours.layout.rows)
    return [RowMade(label, _device(one), _commit(one), one.source) for label, one in found if one is not None]


def versions(ours: Results) -> list[tuple[str, list[tuple[str, int]]]]:
    """Of Python and each library the versions that runs had, and how many runs had each."""
    found: dict[str, Counter[str]] = {}
    for _, _, record in records(ours):
        own = {"python": record.text("provenance", "python"), **record.at("provenance", "versions")}
        for name, version in own.items():
            found.setdefault(name, Counter())[version] += 1
    return [(name, sorted(counts.items())) for name, counts in sorted(found.items())]


def _device(record: Record) -> str:
    """Base trains on none."""
    if record.at("device") is None:
        return ""
    return f"{record.number('device', 'count'):.0f} x {record.text('device', 'name')}"


def _commit(record: Record) -> str:
    if record.at("provenance", "git") is None:
        return "not in git"
    changed = " with changes" if record.at("provenance", "git", "dirty") else ""
    return record.text("provenance", "git", "commit")[:10] + changed


def ledger(ours: Results) -> tuple[list[Spent], str]:
    """What the ledger counts, summed over stages and seeds, and its path as sources have it; nothing without one.

    Behind the runs, the rows of Table 1 that are none: of each backbone together, and of the others.
    """
    lines, found = ledger_lines(ours), []
    for backbone in ours.layout.backbones:
        for method, label in METHODS.items():
            own = [line for line in lines if (line["backbone"], line["method"]) == (backbone.name, method)]
            if own:
                found.append(_spent(backbone.label, label, own))
    for name, label in {**{one.name: one.label for one in ours.layout.backbones}, "": DASH}.items():
        own = [line for line in lines if (line["stage"], line["backbone"]) == (ROWS, name)]
        if own:
            found.append(_spent(label, f"{len(own)} rows of Table 1 that are no runs", own))
    return found, ledger_source(ours) if lines else ""


def _spent(backbone: str, method: str, lines: Sequence[dict[str, str]]) -> Spent:
    def summed(column: str) -> float:
        return sum(float(line[column] or 0) for line in lines)

    def added(column: str) -> str:
        return _hours(summed(column)) if all(line[column] for line in lines) else DASH

    return Spent(
        backbone,
        method,
        devices="; ".join(dict.fromkeys(line["device"] for line in lines)),
        training=added("train_hours"),
        lost=added("lost_hours"),
        total=added("total_hours"),
        pflop=quantity(summed("pflop")) if summed("pflop") else DASH,
    )


def _hours(value: float) -> str:
    return hours(value) if value else "0"
