"""The page `report.html`: the same bytes for the same files, complete in itself, without a script."""

import base64
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json, write_text
from slq.reporting.html import html_environment
from slq.reporting.page import environment, summary
from slq.reporting.page.environment import DASH
from slq.results.cells import hours, integer, one_decimal, parameters, with_sign
from slq.results.layout import METHODS, parse_layout
from slq.results.records import Results

SCHEMA = 1
FORMATS = {"hours": hours, "gpu_hours": hours, "parameters": parameters}
HITS = 100  # a score above it is no percentage
SECTION = re.compile(r'<section class="table">.*?</section>', re.DOTALL)
# In the order of the page: the two of the paper stand open, the others can be opened.
TABLES = {
    "table1": "Table 1: retrieval",
    "table3": "Table 3: tuning strategies",
    "retention": "Table B: answers by type of question",
    "intervals": "Table C: 95 % intervals",
    "comparisons": "Table D: SLQ against other tuning",
    "counts": "Table E: the same ranks, counted in other ways",
    "table1_extended": "Table 1 extended: every system, read-outs without training, and re-ranked lists",
}
OPEN = ("table1", "table3")
HOURS = "gpu_hours"
FIGURES = {
    "recall": "Recall of images by their captions against device hours of training",
    "retention": "Scores of the tuned backbones, less those of the untouched one",
    "scale": "Recall of queries that ask for knowledge, against the size of the backbone",
    "training": "Loss, and recalls on the val split, over training",
    "queries": "Six captions and the images that SLQ finds for each, the right one framed",
}


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
    spent, ledger = environment.ledger(ours)
    jinja = html_environment(templates, results, out)
    jinja.filters |= {"number": number, "signed": signed, "method": lambda name: METHODS.get(name, name)}
    text = jinja.get_template("report.html.j2").render(
        layout=shown,
        headline=summary.headline(claims),
        claims=claims,
        claim_counts=summary.claim_counts(claims),
        sentences=summary.sentences(claims),
        backbones=summary.backbones(claims),
        signs=summary.SIGNS,
        compared=compared,
        cell_counts=summary.cell_counts(compared),
        cells=summary.by_backbone(compared),
        like=summary.LIKE,
        kinds=summary.KINDS,
        tables=[{"title": title, "body": table(out, name), "open": name in OPEN} for name, title in TABLES.items()],
        hours=table(out, HOURS),
        figures=[_picture(path, out) for path in figures],
        spent=spent,
        ledger=ledger,
        audit=_read(audit, "findings"),
        runs=environment.runs(ours),
        made_rows=environment.rows(ours),
        versions=environment.versions(ours),
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


def table(folder: Path, name: str) -> str:
    """Take a rendered table without the page around it.

    Raises:
        SlqError: it cannot be read, or was rendered from another template.
    """
    path = folder / f"{name}.html"
    found = SECTION.search(_bytes(path).decode())
    if found is None:
        raise SlqError(f'{path}: has no <section class="table">; render the tables again')
    return found[0]


def _picture(path: Path, page: Path) -> dict[str, str]:
    """Title an SVG named as in `FIGURES`; `address` holds the picture itself, `link` leads to its file.

    Raises:
        SlqError: it cannot be read, or has no title here.
    """
    if path.suffix != ".svg" or path.stem not in FIGURES:
        raise SlqError(f"{path}: no figure of the page; expected the SVG of one of {', '.join(FIGURES)}")
    picture = base64.b64encode(_bytes(path)).decode()
    link = Path(os.path.relpath(path, page)).as_posix()
    return {"title": FIGURES[path.stem], "address": f"data:image/svg+xml;base64,{picture}", "link": link}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SlqError(f"{path}: cannot be read: {error.strerror}") from error
