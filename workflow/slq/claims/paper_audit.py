"""Audit of the paper without our results: its numbers by arithmetic, its tables against each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.claims import consistency, costs
from slq.common.files import write_json
from slq.results.checks import CheckResult, count_contradicted, count_tested
from slq.results.paper import Paper

SCHEMA = 2
TABLE_LABELS = {"table1": "Table 1", "table3": "Table 3"}  # other tables are named by their files


@dataclass(frozen=True)
class PaperCheck:
    """A check of the paper.

    Attributes:
        name: the id in files
        title: the printed title
        run: the function that performs the check
    """

    name: str
    title: str
    run: Callable[[Paper], CheckResult]


# To add a check, add an entry. Checks against our results belong in claims.yaml.
CHECKS = (
    PaperCheck(
        "marks-table1",
        "Marks for best and second best in Table 1",
        lambda paper: consistency.check_marks(paper.table("table1"), "Table 1"),
    ),
    PaperCheck(
        "marks-table3",
        "Marks for best in Table 3",
        lambda paper: consistency.check_marks(paper.table("table3"), "Table 3"),
    ),
    PaperCheck("parameters", "Counts of trained parameters in Table 3", costs.check_parameter_counts),
    PaperCheck("shares", "Scores that are not a rounded share of the questions", consistency.check_shares),
    PaperCheck("base", "Scores equal to those of the untouched backbone", consistency.check_base_scores),
    PaperCheck("noise", "Differences within sampling noise", consistency.check_sampling_noise),
    PaperCheck("hours", "GPU hours against FLOPs", costs.check_training_hours),
    PaperCheck("overlap", "Test images in the training list", consistency.check_test_overlap),
)


def audit_paper(settings: Mapping[str, Any], reference: Path, out: Path) -> None:
    """Run every check of the paper; write the findings and the counts, and print the counts.

    Args:
        settings: from `cost_settings.paper_audit_settings`
        reference: the folder of the paper's values
        out: `audit.json`; not written if there is an error
    """
    paper = Paper(reference, reference.parents[1] / "results", settings)
    results = [(check, check.run(paper)) for check in CHECKS]
    findings = [_finding_record(check, result) for check, result in results if result.verdict == "contradicted"]
    checks = []
    for check, result in results:
        counts = {"num_contradicted": count_contradicted(result.evidence), "num_tested": count_tested(result.evidence)}
        checks.append({"id": check.name, "title": check.title, **counts})
    write_json(out, {"schema": SCHEMA, "findings": findings, "checks": checks})
    for line in checks:
        print(f"{line['num_contradicted']:6,} of {line['num_tested']:5,}  {line['title']}")


def _finding_record(check: PaperCheck, result: CheckResult) -> dict[str, Any]:
    """Build the JSON record of a contradicted check: its statement, the arithmetic, and the affected cells."""
    cells = []
    for cell in (line.number for line in result.evidence if line.verdict == "contradicted" and line.number is not None):
        place = {"table": TABLE_LABELS.get(cell.table, f"{cell.table}.csv"), "row": cell.row, "column": cell.column}
        cells.append({**place, "value": cell.printed})
    arithmetic = [line.value for line in result.evidence if line.value]
    finding = {"id": check.name, "title": check.title, "statement": result.reason}
    return {**finding, "arithmetic": arithmetic, "cells": cells}
