"""Under which circumstances the results were made, and what they cost: from `run.json` and the ledger."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from slq.config.runs import BASE_SEED
from slq.reporting.ledger_columns import ledger_source, read_ledger_rows
from slq.results.cells import format_hours, format_significant_digits
from slq.results.layout import METHODS, LayoutEntry
from slq.results.records import BASELINES, Record, Results

DASH = "\u2013"  # where there is no number


def build_run_rows(results: Results) -> list[dict[str, Any]]:
    """Describe each run on a line: backbone, method, seed, and how it was made.

    Raises:
        SlqError: a run lacks a circumstance; names file and key.
    """
    return [
        {
            "backbone": backbone.label,
            "method": METHODS[method],
            "seed": int(record.number("seed")),
            **_provenance(record),
        }
        for backbone, method, record in _run_records(results)
    ]


def build_baseline_rows(results: Results) -> list[dict[str, Any]]:
    """Describe each baseline that exists; errors as in `build_run_rows`."""
    baselines = results.layout.baselines
    found = ((one.label, results.run_record(BASELINES, one.name, BASE_SEED)) for one in baselines)
    return [{"label": label, **_provenance(record)} for label, record in found if record is not None]


def count_versions(results: Results) -> list[tuple[str, list[tuple[str, int]]]]:
    """Count the runs that had each version of Python and of each library."""
    runs_by_version: dict[str, Counter[str]] = defaultdict(Counter)
    for _, _, record in _run_records(results):
        run_versions = {"python": record.text("provenance", "python"), **record.value("provenance", "versions")}
        for name, version in run_versions.items():
            runs_by_version[name][version] += 1
    return [(name, sorted(counts.items())) for name, counts in sorted(runs_by_version.items())]


def _run_records(results: Results) -> list[tuple[LayoutEntry, str, Record]]:
    """Every run that exists, in the order of Table 3, with its backbone and method."""
    return [
        (backbone, method, record)
        for backbone in results.layout.backbones
        for method in METHODS
        for record in results.run_records(backbone.name, method)
    ]


def _provenance(record: Record) -> dict[str, str]:
    """On which device, of which base has none, and from which commit; `source` is the file that says so."""
    device = record.value("device") and f"{record.number('device', 'count'):.0f} x {record.text('device', 'name')}"
    commit = "not in git"
    if record.value("provenance", "git") is not None:
        dirty_suffix = " with changes" if record.value("provenance", "git", "dirty") else ""
        commit = record.text("provenance", "git", "commit")[:10] + dirty_suffix
    return {"device": device or "", "commit": commit, "source": record.source}


def sum_ledger(results: Results) -> tuple[list[dict[str, str]], str]:
    """Add up what the ledger counts over stages and seeds, and give its path as sources have it; nothing without one.

    Behind the runs, the baselines: of each backbone together, and of the others.
    """
    lines, totals = read_ledger_rows(results), []
    labels = {one.name: one.label for one in results.layout.backbones}
    for backbone, label in labels.items():
        for method, name in METHODS.items():
            matching_lines = [line for line in lines if (line["backbone"], line["method"]) == (backbone, method)]
            totals += [_ledger_total(label, name, matching_lines)] if matching_lines else []
    for backbone, label in {**labels, "": DASH}.items():
        matching_lines = [line for line in lines if (line["stage"], line["backbone"]) == (BASELINES, backbone)]
        totals += [_ledger_total(label, f"{len(matching_lines)} baselines", matching_lines)] if matching_lines else []
    return totals, ledger_source(results) if lines else ""


def _ledger_total(backbone: str, method: str, lines: Sequence[dict[str, str]]) -> dict[str, str]:
    """Hours of devices and PFLOP, as printed; a dash for what is not known of every line."""

    def column_sum(column: str) -> float:
        return sum(float(line[column] or 0) for line in lines)

    def format_column(column: str) -> str:
        total = column_sum(column)
        return DASH if not all(line[column] for line in lines) else format_hours(total) if total else "0"

    return {
        "backbone": backbone,
        "method": method,
        "devices": "; ".join(dict.fromkeys(line["device"] for line in lines)),
        "training": format_column("train_hours"),
        "repeated": format_column("repeated_hours"),
        "total": format_column("total_hours"),
        "pflop": format_significant_digits(column_sum("pflop")) if column_sum("pflop") else DASH,
    }
