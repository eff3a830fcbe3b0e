"""Rendering of the tables as LaTeX, HTML and one CSV of all cells; the output is byte-for-byte reproducible."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment

from slq.common.files import write_text
from slq.common.printed import find_undrawn, name_character
from slq.reporting.html import html_environment, template_environment
from slq.reporting.paper_tables import build_tables
from slq.reporting.table_model import Table
from slq.reporting.text_table import format_text_table
from slq.results.cells import TableCell
from slq.results.layout import parse_layout
from slq.results.load import Results, print_warnings

CELL_FIELDS = ("value", "sd", "low", "high", "n", "state", "source", "reason")  # fields of a cell in cells.csv
TERMINAL_TABLE = "table3"  # also written as plain text, to be printed at the end of a call
NOTHING = "\0"  # placeholder for {}, which separates two characters in LaTeX without printing anything
LATEX_ESCAPES = str.maketrans(
    {
        NOTHING: "{}",
        "`": r"\`{}",
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"$<$",
        ">": r"$>$",
        "|": r"$|$",
        '"': r"''",
        "→": r"$\rightarrow$",
        "\u00d7": r"$\times$",
        "±": r"$\pm$",
        "†": r"\dag{}",
        "\u2212": r"$-$",
    }
)


def render(layout: Mapping[str, Any], results: Path, reference: Path, templates: Path, output: Path) -> None:
    """Write each table as .tex and .html, Table 3 as text, `tables.tex` with all tables, and `cells.csv`.

    Args:
        layout: the input of `parse_layout`
        results: the results folder, which has one folder per preset
        reference: the folder of the paper's values
        templates: the folder of the Jinja templates
        output: the folder for the files; nothing is written if there is an error
    """
    parsed_layout = parse_layout(layout)
    preset_results = Results(results, replace(parsed_layout, knowledge_datasets=()))  # no table shows these
    tables = [add_stale_note(table) for table in build_tables(preset_results, reference)]
    origin = f"from {results.name}/{parsed_layout.preset}; preset {parsed_layout.preset}, {parsed_layout.which_seeds}"
    latex, html = latex_environment(templates), html_environment(templates, results, output)
    files = {"tables.tex": latex.get_template("tables.tex.j2").render(tables=tables, origin=origin)}
    for table in tables:
        template = "long.tex.j2" if table.widths else "short.tex.j2"
        files[f"{table.name}.tex"] = latex.get_template(template).render(table=table, origin=origin)
        files[f"{table.name}.html"] = html.get_template("table.html.j2").render(table=table)
        if table.name == TERMINAL_TABLE:
            files[f"{table.name}.txt"] = format_text_table(table)
    files["cells.csv"] = cells_csv(tables)
    for name, text in files.items():
        write_text(output / name, text)
    print_warnings(preset_results.files)


def latex_environment(templates: Path) -> Environment:
    r"""Build a Jinja environment for LaTeX with a filter `tex` that escapes text.

    The delimiters \VAR{...}, \BLOCK{...} and \COMMENT{...} do not clash with LaTeX.
    """
    environment = template_environment(
        templates,
        variable_start_string=r"\VAR{",
        variable_end_string="}",
        block_start_string=r"\BLOCK{",
        block_end_string="}",
        comment_start_string=r"\COMMENT{",
        comment_end_string="}",
    )
    environment.filters["tex"] = escape_latex
    return environment


def escape_latex(text: str) -> str:
    """Escape a text for LaTeX, and put it on one line; replace a character that pdflatex cannot draw with its number.

    A leading `[` or `*` is protected, because at the beginning of a row LaTeX would read it as an argument of the row
    before. Two adjacent hyphens or quotes are kept from becoming a ligature.
    """
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    for character in find_undrawn(line):
        line = line.replace(character, f"[{name_character(character)}]")
    return re.sub(r"^(?=[\[*])|(?<=-)(?=-)|(?<=')(?=')", NOTHING, line).translate(LATEX_ESCAPES)


def cells_csv(tables: list[Table]) -> str:
    """Return a CSV of all cells with unrounded value, state, sources and reason (docs/tables.md).

    A field is empty if the cell has no value, standard deviation, interval or number of runs.
    """
    keyed_cells = [(table.name, *one) for table in tables for one in _keyed_cells(table)]
    rows = [(*place, *(getattr(cell, name) for name in CELL_FIELDS)) for *place, cell in keyed_cells]
    found = pd.DataFrame(rows, columns=["table", "row", "column", *CELL_FIELDS], dtype=object)
    return found.to_csv(index=False, lineterminator="\n")


def add_stale_note(table: Table) -> Table:
    """Return the table with a note about its stale cells, whose numbers are not shown; unchanged if it has none."""
    reasons = dict.fromkeys(cell.reason for _, _, cell in _keyed_cells(table) if cell.state == "stale")
    return replace(table, notes=(*table.notes, f"†: stale. {'; '.join(reasons)}.")) if reasons else table


def _keyed_cells(table: Table) -> list[tuple[str, str, TableCell]]:
    """List all cells as (row key, column key, cell), in printed order."""
    found = []
    for group in table.groups:
        found += [(group.key, column.key, cell) for column, cell in zip(table.shared, group.shared, strict=True)]
        for row in group.rows:
            found += [(row.key, column.key, cell) for column, cell in zip(table.columns, row.cells, strict=True)]
    return found
