"""Under which circumstances the results were made, and what they cost: from `run.json` and the ledger."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from slq.config.runs import BASE_SEED
from slq.reporting.ledger_columns import ledger_lines, ledger_source
from slq.results.cells import hours, quantity
from slq.results.layout import METHODS, Entry
from slq.results.records import ROWS, Record, Results

DASH = "\u2013"  # where there is no number


def runs(ours: Results) -> list[dict[str, Any]]:
    """Describe each run on a line: backbone, method, seed, and how it was made.

    Raises:
        SlqError: a run lacks a circumstance; names file and key.
    """
    return [
        {"backbone": backbone.label, "method": METHODS[method], "seed": int(record.number("seed")), **_made(record)}
        for backbone, method, record in _records(ours)
    ]


def rows(ours: Results) -> list[dict[str, Any]]:
    """Describe each row that exists and is no run; errors as in `runs`."""
    found = ((row.label, ours.run(ROWS, row.name, BASE_SEED)) for row in ours.layout.rows)
    return [{"label": label, **_made(record)} for label, record in found if record is not None]


def versions(ours: Results) -> list[tuple[str, list[tuple[str, int]]]]:
    """Count the runs that had each version of Python and of each library."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for _, _, record in _records(ours):
        own = {"python": record.text("provenance", "python"), **record.at("provenance", "versions")}
        for name, version in own.items():
            found[name][version] += 1
    return [(name, sorted(counts.items())) for name, counts in sorted(found.items())]


def _records(ours: Results) -> list[tuple[Entry, str, Record]]:
    """Every run that exists, in the order of Table 3, with its backbone and method."""
    return [
        (backbone, method, record)
        for backbone in ours.layout.backbones
        for method in METHODS
        for record in ours.runs(backbone.name, method)
    ]


def _made(record: Record) -> dict[str, str]:
    """On which device, of which base has none, and from which commit; `source` is the file that says so."""
    device = record.at("device") and f"{record.number('device', 'count'):.0f} x {record.text('device', 'name')}"
    commit = "not in git"
    if record.at("provenance", "git") is not None:
        changed = " with changes" if record.at("provenance", "git", "dirty") else ""
        commit = record.text("provenance", "git", "commit")[:10] + changed
    return {"device": device or "", "commit": commit, "source": record.source}


def ledger(ours: Results) -> tuple[list[dict[str, str]], str]:
    """Add up what the ledger counts over stages and seeds, and give its path as sources have it; nothing without one.

    Behind the runs, the rows of Table 1 that are none: of each backbone together, and of the others.
    """
    lines, found = ledger_lines(ours), []
    labels = {one.name: one.label for one in ours.layout.backbones}
    for backbone, label in labels.items():
        for method, name in METHODS.items():
            own = [line for line in lines if (line["backbone"], line["method"]) == (backbone, method)]
            found += [_spent(label, name, own)] if own else []
    for backbone, label in {**labels, "": DASH}.items():
        own = [line for line in lines if (line["stage"], line["backbone"]) == (ROWS, backbone)]
        found += [_spent(label, f"{len(own)} rows of Table 1 that are no runs", own)] if own else []
    return found, ledger_source(ours) if lines else ""


def _spent(backbone: str, method: str, lines: Sequence[dict[str, str]]) -> dict[str, str]:
    """Hours of devices and PFLOP, as printed; a dash for what is not known of every line."""

    def summed(column: str) -> float:
        return sum(float(line[column] or 0) for line in lines)

    def added(column: str) -> str:
        total = summed(column)
        return DASH if not all(line[column] for line in lines) else hours(total) if total else "0"

    return {
        "backbone": backbone,
        "method": method,
        "devices": "; ".join(dict.fromkeys(line["device"] for line in lines)),
        "training": added("train_hours"),
        "lost": added("lost_hours"),
        "total": added("total_hours"),
        "pflop": quantity(summed("pflop")) if summed("pflop") else DASH,
    }
