"""Answers of checks as files and on the terminal: JSON, a page in Markdown, CSV, aligned lines (docs/results.md)."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from slq.claims.check import VERDICTS, Answers, CheckResult, asked, found

SCHEMA = 1
TABLES = {"table1": "Table 1", "table3": "Table 3"}
COLUMNS = ("source", "row", "column", "value", "question", "verdict", "finding", "arithmetic")
# The verdicts on a single number, in the words of its question.
WORDS = {
    "k/n": {"supported": "possible", "contradicted": "no k/n", "not tested": "unknown"},
    "base": {"supported": "inside", "contradicted": "outside"},
    "chance": {"supported": "above", "contradicted": "not above"},
}


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with their columns under each other, two spaces apart; the last is not filled up."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return [
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]


# ---- sentences, by our results ---------------------------------------------------------------------------------------


def verdict_entry(result: CheckResult) -> dict[str, Any]:
    """A verdict, and all that it rests on, as `claims.json` has it."""
    evidence = [
        {"what": line.what, "value": line.value, "file": line.files, "verdict": line.verdict}
        for line in result.evidence
    ]
    return {"verdict": result.verdict, "reason": result.reason, "evidence": evidence}


def verdict_table(answers: Answers) -> str:
    """A line a sentence, aligned, and the number of each verdict."""
    lines = aligned([(result.verdict, check.name, result.reason) for check, result in answers])
    verdicts = [result.verdict for _, result in answers]
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS]
    return "\n".join([*lines, "", f"{len(verdicts)} claims: {', '.join(counts)}"])


# ---- the paper's tables, by each other -------------------------------------------------------------------------------


def audit_content(answers: Answers) -> dict[str, Any]:
    """As `audit.json` has them: what was found, and how often everything was asked."""
    return {
        "schema": SCHEMA,
        "findings": [
            {
                **{"id": check.name, "title": check.question, "statement": result.reason},
                "arithmetic": [line.value for line in result.evidence if line.value],
                "cells": [
                    {"table": TABLES[cell.table], "row": cell.row, "column": cell.column, "value": cell.value}
                    for line in result.evidence
                    if line.verdict == "contradicted" and (cell := line.number) is not None
                ],
            }
            for check, result in answers
            if result.verdict == "contradicted"
        ],
        "checks": [
            {
                **{"id": check.name, "title": check.question},
                **{"found": found(result.evidence), "asked": asked(result.evidence)},
            }
            for check, result in answers
        ],
    }


def audit_page(content: Mapping[str, Any]) -> str:
    """The findings as Markdown."""
    parts = [
        "# The paper's tables, asked of each other",
        "From `paper_tables/reference` and `config.yaml` alone: no run.",
    ]
    for finding in content["findings"]:
        lines = "\n".join(f"- {line}" for line in finding["arithmetic"])
        parts += [f"## {finding['title']}", finding["statement"], lines]
    counts = [f"| {check['title']} | {check['asked']:,} | {check['found']:,} |" for check in content["checks"]]
    parts += ["## What was asked", "\n".join(["| question | asked of | found |", "|---|---|---|", *counts])]
    return "\n\n".join(parts) + "\n"


# ---- single numbers, by arithmetic -----------------------------------------------------------------------------------


def number_rows(answers: Answers) -> list[dict[str, str]]:
    """A row of `plausibility.csv` for every question that was put to a number, number by number."""
    rows = {
        (number, check.name): {
            **{"source": number.source, "row": number.row, "column": number.column, "value": number.value},
            **{"question": check.name, "verdict": WORDS[check.name][line.verdict]},
            **{"finding": "yes" if line.verdict == "contradicted" else "", "arithmetic": line.value},
        }
        for check, result in answers
        for line in result.evidence
        if (number := line.number) is not None
    }
    order = {number: place for place, number in enumerate(dict.fromkeys(number for number, _ in rows))}
    return [rows[key] for key in sorted(rows, key=lambda key: order[key[0]])]


def number_csv(answers: Answers) -> str:
    """Every answer about single numbers."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(number_rows(answers))
    return text.getvalue()


def number_findings(answers: Answers) -> str:
    """The findings about single numbers, aligned: where one stands, the number, and the arithmetic."""
    shown = [
        [row[column] for column in ("source", "row", "column", "value", "verdict", "arithmetic")]
        for row in number_rows(answers)
        if row["finding"]
    ]
    return "".join(f"{line}\n" for line in aligned(shown))
