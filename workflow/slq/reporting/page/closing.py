"""Closing lines of a call of Snakemake: Table 3, the verdicts, the paths of tables and page, and further commands."""

import shutil
from collections.abc import Collection
from pathlib import Path

from slq.common.files import read_json
from slq.reporting.page.summary import headline
from slq.reporting.text_table import fold_table

TABLE_FORMATS = {"compile_pdf": "tables.pdf", "render_tables": "*.tex, *.html"}  # output files by rule
NEXT_CALLS = (
    'make trace CELL="…"              trace a number of Table 3 back to its evidence',
    "slq compare results/A results/B  compare two sets of results cell by cell",
    "README.md                        run the paper's experiments, or add your own method or backbone",
)


def closing_lines(tables: Path, claims: Path, finished_rules: Collection[str], width: int | None = None) -> list[str]:
    """Return the closing lines about the tables and the page that a call has made; an empty list if it made none.

    Args:
        tables: the folder of the preset's rendered tables
        claims: the JSON file with the verdicts
        finished_rules: the rules of the jobs that have run
        width: the number of columns of the terminal; None if the output is not a terminal
    """
    lines = []
    if "render_tables" in finished_rules:
        lines += ["", *fold_table((tables / "table3.txt").read_text(encoding="utf-8").splitlines(), width), ""]
    if "judge_claims" in finished_rules:
        lines += [headline(read_json(claims))]
    made = [files for rule, files in TABLE_FORMATS.items() if rule in finished_rules]
    if made:
        no_pdf = "" if shutil.which("pdflatex") else "; no tables.pdf was made, because pdflatex is not on PATH"
        lines += [f"Tables: {tables} ({', '.join(made)}){no_pdf}"]
    if "write_page" in finished_rules:
        lines += [f"Page:   {tables / 'report.html'}", "Next:", *(f"  {call}" for call in NEXT_CALLS)]
    return lines
