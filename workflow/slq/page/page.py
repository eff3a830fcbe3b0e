"""The page `report.html`: the same bytes for the same files, complete in itself, without a script."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.files import read_json, write_text
from slq.page import answer, circumstances, parts
from slq.page.circumstances import DASH
from slq.reporting.cells import hours, integer, one_decimal, parameters, with_sign
from slq.reporting.layout import METHODS, parse_layout
from slq.reporting.links import linker
from slq.reporting.records import Results
from slq.reporting.tables import html_environment

SCHEMA = 1
FORMATS = {"hours": hours, "gpu_hours": hours, "parameters": parameters}
HITS = 100  # a score above it is no percentage


def write_page(
    layout: Mapping[str, Any],
    results: Path,
    audit: Path,
    figures: Sequence[Path],
    templates: Path,
    out: Path,
) -> None:
    """Write `report.html` into `out`, the folder of the preset's rendered tables.

    Args:
        layout: what `parse_layout` reads
        results: the folder of one folder per preset; of the preset's, `claims.json` and `compare/paper.json` are read
        audit: the audit of the paper's own tables
        figures: SVG files
        templates: the folder of the Jinja templates

    Raises:
        SlqError: a file is not there, or not of its form; nothing is written then.
    """
    shown = parse_layout(layout)
    ours, folder = Results(results, shown), results / shown.preset
    claims, compared = _read(folder / "claims.json", "claims"), _read(folder / "compare" / "paper.json", "cells")
    rows = answer.rows(claims)
    spent, ledger = circumstances.ledger(ours)
    environment = html_environment(templates)
    environment.filters |= {"links": linker(results, out), "number": number, "signed": signed, "method": method}
    text = environment.get_template("report.html.j2").render(
        layout=shown,
        headline=answer.headline(claims),
        claims=claims,
        claim_counts=answer.claim_counts(claims),
        rows=rows,
        backbones=answer.backbones(rows),
        signs=answer.SIGNS,
        compared=compared,
        cell_counts=answer.cell_counts(compared),
        cells=answer.by_backbone(compared),
        like=answer.LIKE,
        tables=parts.tables(out),
        hours=parts.table(out, parts.HOURS),
        figures=parts.figures(figures, out),
        spent=spent,
        ledger=ledger,
        audit=_read(audit, "findings"),
        runs=circumstances.runs(ours),
        made_rows=circumstances.rows(ours),
        versions=circumstances.versions(ours),
    )
    write_text(out / "report.html", text)


def _read(path: Path, key: str) -> dict[str, Any]:
    """A JSON file of a stage before."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or key not in content:
        raise SlqError(f"{path}: expected schema {SCHEMA} with the key {key}; make the file again")
    return content


def _form(metric: str, *values: float | None) -> Callable[[float], str]:
    """How numbers of a metric are printed: recalls and scores in percent, of OCRBench in hits."""
    if metric in FORMATS:
        return FORMATS[metric]
    return integer if any(value is not None and abs(value) > HITS for value in values) else one_decimal


def number(cell: Mapping[str, Any], key: str) -> str:
    """One of the two numbers of a compared cell, a dash for none."""
    value = cell[key]
    return DASH if value is None else _form(cell["metric"], cell["a"], cell["b"])(value)


def signed(cell: Mapping[str, Any]) -> str:
    """The difference of a compared cell, with its interval where there is one."""
    if cell["delta"] is None:
        return DASH
    form = with_sign(_form(cell["metric"], cell["a"], cell["b"]))
    text = form(cell["delta"])
    return text if cell["interval"] is None else f"{text} [{', '.join(map(form, cell['interval']))}]"


def method(name: str) -> str:
    """A method as tables print it."""
    return METHODS.get(name, name)
