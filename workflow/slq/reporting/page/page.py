"""The page `report.html`, self-contained and without scripts; its bytes are reproducible from the same files."""

import base64
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import wrap_read_errors, write_text
from slq.reporting.html import html_environment
from slq.reporting.page import environment, summary
from slq.reporting.page.environment import DASH
from slq.reporting.page.plans import read_result_plans
from slq.results.cells import FORMATTERS, format_integer, format_one_decimal, with_sign
from slq.results.layout import ReportLayout, parse_layout
from slq.results.load import Results
from slq.results.paper import COST_COLUMNS
from slq.results.record import read_record

SCHEMA = 2
MAX_PERCENT = 100  # a larger score is a number of hits
TABLE_SECTION = re.compile(r'<section class="table">.*?</section>', re.DOTALL)
CONTROLS_TABLE = "controls"
# In the order of the page. OPEN_TABLES are expanded; all other tables are collapsed.
TABLE_TITLES = {
    "table1": "Table 1: retrieval",
    "table3": "Table 3: tuning strategies",
    "retention": "Table B: answers by question type",
    "intervals": "Table C: 95 % confidence intervals",
    "comparisons": "Table D: {proposed} against the other tuning methods",
    "counts": "Table E: the same ranks under other counting rules",
    "rates": "Table F: learning rates and their search",
    CONTROLS_TABLE: "Table G: controls, methods that differ in one factor",
    "table1_extended": "Table 1 extended: all systems, untrained read-outs, and re-ranked lists",
}
OPEN_TABLES = ("table1", "table3")
HOURS_TABLE = "gpu_hours"
LEAD_FIGURE = "margins"  # is right below the answer
FIGURE_TITLES = {
    "margins": "Recall at 5 minus that of each other method: the paper's margins, and ours with 95 % intervals",
    "recall": "Text-to-image recall against training costs in device hours",
    "retention": "Scores of the tuned backbones minus those of the untouched backbone",
    "scale": "Recall for queries that need knowledge, against the size of the backbone",
    "training": "Loss and recall on the val split during training",
    "queries": "Six captions and the images retrieved for each, with the correct image framed",
}


def write_page(
    layout: Mapping[str, Any],
    plan: str,
    results: Path,
    audit: Path,
    figures: Sequence[Path],
    templates: Path,
    out: Path,
) -> None:
    """Write `report.html` into `out`, the folder of the preset's rendered tables.

    Args:
        layout: the input of `parse_layout`
        plan: hash of the present plan
        results: the results folder, which has one folder per preset with `claims.json` and `compare/paper.json`
        audit: the JSON file with the audit of the paper's tables
        figures: SVG files
        templates: the folder of the Jinja templates
        out: the folder with the rendered tables, and for the page; nothing is written if there is an error
    """
    parsed_layout = parse_layout(layout)
    runs_alone = replace(parsed_layout, retrieval_datasets=(), knowledge_datasets=(), retention_datasets=())
    preset_results, folder = Results(results, runs_alone), results / parsed_layout.preset
    claims = _read_stage_output(folder / "claims.json", "claims")
    base_check = _read_stage_output(folder / "base_check.json", "checks")
    comparison = _read_stage_output(folder / "compare" / "paper.json", "cells")
    ledger_totals, ledger_file = environment.sum_ledger(preset_results)
    jinja = html_environment(templates, results, out)
    jinja.filters |= {
        "number": format_cell_value,
        "signed": format_cell_difference,
        "method": lambda name: parsed_layout.labels.get(name, name),
    }
    text = jinja.get_template("report.html.j2").render(
        layout=parsed_layout,
        plans=read_result_plans(results, parsed_layout, plan),
        answer=summary.answer(claims, comparison),
        claims=claims,
        base_scores=base_check["checks"],
        claim_counts=summary.count_claims(claims),
        sentences=summary.claims_by_sentence(claims),
        backbones=summary.claim_backbones(claims),
        signs=summary.VERDICT_SIGNS,
        compared=comparison,
        cell_counts=summary.count_cells(comparison),
        cells=summary.cells_by_backbone(comparison),
        like=summary.CLAIM_VERDICT_BY_CELL_VERDICT,
        kinds=summary.CSS_CLASSES,
        tables=[
            {"title": title, "body": read_table_section(out, name), "open": name in OPEN_TABLES}
            for name, title in list_table_titles(parsed_layout).items()
        ],
        hours=read_table_section(out, HOURS_TABLE),
        lead_figures=[_embed_figure(path, out) for path in figures if path.stem == LEAD_FIGURE],
        figures=[_embed_figure(path, out) for path in figures if path.stem != LEAD_FIGURE],
        spent=ledger_totals,
        ledger=ledger_file,
        audit=_read_stage_output(audit, "findings"),
        **environment.build_provenance(preset_results),
    )
    write_text(out / "report.html", text)


def list_table_titles(layout: ReportLayout) -> dict[str, str]:
    """Return the titles of the page's tables, by name and in order."""
    proposed = layout.labels[layout.proposed_method]
    names = [name for name in TABLE_TITLES if name != CONTROLS_TABLE or layout.controls]
    return {name: TABLE_TITLES[name].format(proposed=proposed) for name in names}


def _read_stage_output(path: Path, key: str) -> dict[str, Any]:
    """Read the JSON file of an earlier stage, which must have `key` and the current schema version."""
    record = read_record(path, path.parent, SCHEMA)
    record.value(key)
    return record.content


def _number_format(metric: str, *values: float | None) -> Callable[[float], str]:
    """Return the formatter for a metric's numbers.

    Recalls and scores in percent have one decimal. Values above 100 are hits of OCRBench and have no decimals.
    """
    if metric in COST_COLUMNS.values():
        return FORMATTERS[metric]
    in_hits = any(value is not None and abs(value) > MAX_PERCENT for value in values)
    return format_integer if in_hits else format_one_decimal


def format_cell_value(cell: Mapping[str, Any], key: str) -> str:
    """Format one of the two numbers of a compared cell; return a dash if it is missing."""
    value = cell[key]
    return DASH if value is None else _number_format(cell["metric"], cell["a"], cell["b"])(value)


def format_cell_difference(cell: Mapping[str, Any]) -> str:
    """Format the difference of a compared cell, with its interval if there is one."""
    if cell["delta"] is None:
        return DASH
    format_signed = with_sign(_number_format(cell["metric"], cell["a"], cell["b"]))
    text = format_signed(cell["delta"])
    return text if cell["interval"] is None else f"{text} [{', '.join(map(format_signed, cell['interval']))}]"


def read_table_section(folder: Path, name: str) -> str:
    """Read the section with the table from a rendered HTML table, without the rest of the page."""
    path = folder / f"{name}.html"
    with wrap_read_errors(path):
        found = TABLE_SECTION.search(path.read_text(encoding="utf-8"))
    if found is None:
        raise SlqError(f'{path}: has no <section class="table">; render the tables again')
    return found[0]


def _embed_figure(path: Path, page: Path) -> dict[str, str]:
    """Embed an SVG figure whose name is in `FIGURE_TITLES`.

    The result has its `title`, its content as a data URL (`address`), and a `link` to its file.
    """
    if path.suffix != ".svg" or path.stem not in FIGURE_TITLES:
        raise SlqError(f"{path}: not a figure of the page; expected the SVG of one of {', '.join(FIGURE_TITLES)}")
    with wrap_read_errors(path):
        encoded = base64.b64encode(path.read_bytes()).decode()
    link = Path(os.path.relpath(path, page)).as_posix()
    return {"title": FIGURE_TITLES[path.stem], "address": f"data:image/svg+xml;base64,{encoded}", "link": link}
