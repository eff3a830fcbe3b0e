"""Provenance and cost of the results on the page: devices, commits and versions, and hours from the ledger."""

from collections import Counter, defaultdict
from itertools import product
from math import isnan
from typing import Any

import pandas as pd

from slq.reporting.ledger_columns import ledger_source
from slq.results.cells import format_hours, format_significant_digits
from slq.results.layout import BASELINES
from slq.results.ledger import BASELINE_STAGE
from slq.results.load import Results
from slq.results.record import Record

DASH = "\u2013"  # shown instead of a missing number


def build_provenance(results: Results) -> dict[str, Any]:
    """Build the rows of `runs` and `baselines`, and count the `versions`."""
    rows = {"runs": build_run_rows(results), "baselines": build_baseline_rows(results)}
    return rows | {"versions": count_versions(results)}


def build_run_rows(results: Results) -> list[dict[str, Any]]:
    """Build one row per run: backbone, method, seed, device, commit and source file."""
    labels = {one.name: one.label for one in results.layout.backbones}
    rows = []
    for file in results.records("run", "", *labels):
        run = {"backbone": labels[file.backbone], "method": results.layout.labels[file.method], "seed": file.seed}
        rows.append(run | _provenance(file.record))
    return rows


def build_baseline_rows(results: Results) -> list[dict[str, Any]]:
    """Build one row per existing baseline: label, device, commit and source file."""
    labels = {one.name: one.label for one in results.layout.baselines}
    found = results.records("run", "", BASELINES)
    return [{"label": labels[file.method], **_provenance(file.record)} for file in found]


def count_versions(results: Results) -> list[tuple[str, list[tuple[str, int]]]]:
    """Count the runs with each version of Python and of each library."""
    runs_by_version: dict[str, Counter[str]] = defaultdict(Counter)
    for record in (file.record for file in results.records("run") if file.backbone != BASELINES):
        run_versions = {"python": record.text("provenance", "python"), **record.value("provenance", "versions")}
        for name, version in run_versions.items():
            runs_by_version[name][version] += 1
    return [(name, sorted(counts.items())) for name, counts in sorted(runs_by_version.items())]


def _provenance(record: Record) -> dict[str, str]:
    """Return a record's device (empty for base, which has none), commit and source file."""
    device = record.value("device") and f"{record.number('device', 'count'):.0f} x {record.text('device', 'name')}"
    commit = "not in git"
    if record.value("provenance", "git") is not None:
        dirty_suffix = " with uncommitted changes" if record.value("provenance", "git", "dirty") else ""
        commit = record.text("provenance", "git", "commit")[:10] + dirty_suffix
    return {"device": device or "", "commit": commit, "source": record.source}


def sum_ledger(results: Results) -> tuple[list[dict[str, str]], str]:
    """Sum the ledger over stages and seeds; return the rows, and the ledger's path as printed in sources.

    Both are empty without a ledger. The rows of the runs come first, then those of the baselines of each backbone, then
    the row of the baselines without a backbone.
    """
    ledger, totals = results.ledger, []
    labels = {one.name: one.label for one in results.layout.backbones}
    for (backbone, label), (method, name) in product(labels.items(), results.layout.labels.items()):
        found = ledger[(ledger["backbone"] == backbone) & (ledger["method"] == method)]
        totals += [_ledger_total(label, name, found)] if len(found) else []
    for backbone, label in {**labels, "": DASH}.items():
        found = ledger[(ledger["stage"] == BASELINE_STAGE) & (ledger["backbone"] == backbone)]
        totals += [_ledger_total(label, f"{len(found)} baselines", found)] if len(found) else []
    return totals, ledger_source(results) if len(ledger) else ""


def _ledger_total(backbone: str, method: str, lines: pd.DataFrame) -> dict[str, str]:
    """Sum and format device hours and PFLOP; show a dash if any line lacks its hours, or if all lines lack PFLOP."""

    def format_hours_of(column: str) -> str:
        total = sum(lines[column].tolist())
        return DASH if isnan(total) else format_hours(total) if total else "0"

    pflop = sum(lines["pflop"].fillna(0).tolist())
    return {
        "backbone": backbone,
        "method": method,
        "devices": "; ".join(lines["device"].unique()),
        "training": format_hours_of("train_hours"),
        "repeated": format_hours_of("repeated_hours"),
        "total": format_hours_of("total_hours"),
        "pflop": format_significant_digits(pflop) if pflop else DASH,
    }
