"""What was asked of every number, as CSV; and the findings, as a table to read."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from slq.files import write_text
from slq.plausibility.checks import Check, checks
from slq.plausibility.tables import QUOTED, Tables

COLUMNS = ("source", "row", "column", "value", "question", "verdict", "finding", "arithmetic")
FINDINGS = {"k/n": "no k of n", "base": "outside base's interval", "chance": "not above chance"}


def check_tables(paths: Sequence[Path], results: Path, reference: Path) -> tuple[list[Check], str]:
    """All answers about the numbers of some tables, and one line that counts them.

    Args:
        results: the folder that holds one folder per preset
        reference: the folder of the paper's values

    Raises:
        SlqError: as `Tables.claims`.
    """
    claims, others = Tables(reference, results).claims(paths)
    found = [check for claim in claims for check in checks(claim)]
    asked = Counter(check.question for check in found)
    counts = Counter(check.question for check in found if check.finding)
    listed = ", ".join(f"{counts[question]} of {asked[question]} {text}" for question, text in FINDINGS.items())
    return found, f"{len(claims)} numbers: {listed}; {others} further cells are costs, widths, words or dashes"


def check_rendered(out: Path, results: Path, reference: Path) -> None:
    """Ask about every number of the tables in `out` and of the reference, and write the answers beside the tables."""
    found, summary = check_tables([out / "cells.csv", *(reference / name for name in QUOTED)], results, reference)
    write_checks(out / "plausibility.csv", found)
    print(summary)


def report(paths: Sequence[Path], results: Path, reference: Path, out: Path | None) -> None:
    """Print the findings of some tables, and write every answer to `out`, if given."""
    found, summary = check_tables(paths, results, reference)
    if out:
        write_checks(out, found)
    print(findings_text(found) + summary)


def findings_text(found: Sequence[Check]) -> str:
    """The findings, aligned: where the number stands, the number, and the arithmetic."""
    rows = [
        (check.claim.source.split("; ")[0], check.claim.row, check.claim.column, check.claim.value, check.verdict)
        for check in found
        if check.finding
    ]
    reasons = [check.arithmetic for check in found if check.finding]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=True)), reason]) + "\n"
        for row, reason in zip(rows, reasons, strict=True)
    )


def write_checks(path: Path, found: Sequence[Check]) -> None:
    """Every answer (docs/results.md)."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    for check in found:
        claim = check.claim
        place = (claim.source, claim.row, claim.column, claim.value)
        writer.writerow([*place, check.question, check.verdict, "yes" if check.finding else "", check.arithmetic])
    write_text(path, lines.getvalue())
