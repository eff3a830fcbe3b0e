"""Everything that is asked of the paper alone: its numbers of arithmetic, its tables of each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.claims import consistency, costs
from slq.common.files import write_json
from slq.results.checks import CheckResult, asked, found
from slq.results.paper import Paper

SCHEMA = 1
TABLES = {"table1": "Table 1", "table3": "Table 3"}  # others by the names of their files


@dataclass(frozen=True)
class Check:
    """A question to the paper: its name in files, its title, and what answers it."""

    name: str
    question: str
    ask: Callable[[Paper], CheckResult]


# A question more is a line more; those to our results are claims.yaml's.
CHECKS = (
    Check("marks-table1", "Best and second best in Table 1", lambda paper: consistency.marks(paper.table1, "Table 1")),
    Check("marks-table3", "Best in Table 3", lambda paper: consistency.marks(paper.table3, "Table 3")),
    Check("parameters", "Counts of trained parameters in Table 3", costs.parameters),
    Check("shares", "Scores that are no whole share", consistency.shares),
    Check("base", "Scores that are the untouched backbone's", consistency.base_scores),
    Check("noise", "Gaps within one sample's noise", consistency.noise),
    Check("hours", "GPU hours against FLOPs", costs.hours),
    Check("overlap", "Test images in the training list", consistency.overlap),
)


def audit_paper(settings: Mapping[str, Any], reference: Path, out: Path) -> None:
    """Ask everything of the paper; write what was found, and how often all was asked, and print the counts.

    Args:
        settings: of `cost_settings.paper_audit_settings`
        reference: the folder of the paper's values
        out: `audit.json`

    Raises:
        SlqError: a table cannot be read; nothing is written then.
    """
    paper = Paper(reference, reference.parents[1] / "results", settings)
    answers = [(check, check.ask(paper)) for check in CHECKS]
    findings = [_finding(check, result) for check, result in answers if result.verdict == "contradicted"]
    checks = [
        {
            **{"id": check.name, "title": check.question},
            **{"found": found(result.evidence), "asked": asked(result.evidence)},
        }
        for check, result in answers
    ]
    write_json(out, {"schema": SCHEMA, "findings": findings, "checks": checks})
    for line in checks:
        print(f"{line['found']:6,} of {line['asked']:5,}  {line['title']}")


def _finding(check: Check, result: CheckResult) -> dict[str, Any]:
    """What a reader should look at, the arithmetic, and the cells that it is about."""
    cells = [line.number for line in result.evidence if line.verdict == "contradicted" and line.number is not None]
    return {
        **{"id": check.name, "title": check.question, "statement": result.reason},
        "arithmetic": [line.value for line in result.evidence if line.value],
        "cells": [
            {
                **{"table": TABLES.get(cell.table, f"{cell.table}.csv"), "row": cell.row, "column": cell.column},
                "value": cell.value,
            }
            for cell in cells
        ],
    }
