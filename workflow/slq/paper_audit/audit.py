"""The questions to the paper's tables, and their answers as JSON and as a page to read."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slq.files import write_json, write_text
from slq.paper_audit import hours, marks, overlap, parameters, repeats, samples
from slq.paper_audit.paper import TABLES, Asked, Paper

SCHEMA = 1
# A question more is a line more.
QUESTIONS: dict[str, tuple[str, Callable[[Paper], Asked]]] = {
    "repeats": ("Recalls of Table 3 that are Table 1's", repeats.of_table1),
    "marks-table1": ("Best and second best in Table 1", marks.of_table1),
    "marks-table3": ("Best in Table 3", marks.of_table3),
    "parameters": ("Counts of trained parameters in Table 3", parameters.of_table3),
    "shares": ("Scores that are no whole share", samples.shares),
    "base": ("Scores that are the untouched backbone's", repeats.of_base),
    "noise": ("Gaps within one sample's noise", samples.noise),
    "hours": ("GPU hours against FLOPs", hours.of_table3),
    "overlap": ("Test images in the training list", overlap.of_train2017),
}


def audit_paper(settings: Mapping[str, Any], reference: Path, out: Path) -> None:
    """Ask everything of the paper's tables; write `audit.json` and `audit.md` into `out`, and print the counts.

    Args:
        settings: of `settings.paper_audit_settings`
        reference: the folder of the paper's values

    Raises:
        SlqError: a table cannot be read; nothing is written then.
    """
    content = findings(Paper(reference, settings))
    write_json(out / "audit.json", content)
    write_text(out / "audit.md", page(content))
    for check in content["checks"]:
        print(f"{check['found']:6,} of {check['asked']:5,}  {check['title']}")


def findings(paper: Paper) -> dict[str, Any]:
    """As `audit.json` has them: what was found, and how often everything was asked."""
    answers = {id_: (title, ask(paper)) for id_, (title, ask) in QUESTIONS.items()}
    return {
        "schema": SCHEMA,
        "findings": [_finding(id_, title, answer) for id_, (title, answer) in answers.items() if answer.found],
        "checks": [
            {"id": id_, "title": title, "found": answer.found, "asked": answer.asked}
            for id_, (title, answer) in answers.items()
        ],
    }


def _finding(id_: str, title: str, answer: Asked) -> dict[str, Any]:
    said = {"statement": answer.statement, "arithmetic": list(answer.arithmetic)}
    return {
        "id": id_,
        "title": title,
        **said,
        "cells": [cell.place | {"table": TABLES[cell.table]} for cell in answer.cells],
    }


def page(content: Mapping[str, Any]) -> str:
    """The findings as Markdown."""
    parts = [
        "# The paper's tables, asked of each other",
        "From `paper_tables/reference` and `config.yaml` alone: no run.",
    ]
    for finding in content["findings"]:
        parts += [
            f"## {finding['title']}",
            finding["statement"],
            "\n".join(f"- {line}" for line in finding["arithmetic"]),
        ]
    counts = [f"| {check['title']} | {check['asked']:,} | {check['found']:,} |" for check in content["checks"]]
    parts += ["## What was asked", "\n".join(["| question | asked of | found |", "|---|---|---|", *counts])]
    return "\n\n".join(parts) + "\n"
