"""Text format of a comparison for the terminal."""

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

from slq.common.files import write_json, write_text
from slq.reporting.comparison.compare import ComparedCell, Comparison, as_json, compare_results
from slq.reporting.comparison.metric_values import CellKey, parse_comparison_settings
from slq.results.cells import with_sign

LINE_WIDTH = 100
COLUMN_HEADERS = ("A", "B", "A \u2212 B", "95 % interval", "± ok")
COLUMN_WIDTHS = (6, 6, 9, 17, 6)
LABEL_WIDTH = 23  # characters for a benchmark and its metric
FOOTNOTED_VERDICTS = ("not comparable", "stale", "missing", "extra")  # verdicts whose reasons are printed as footnotes
DIFFERENCE_WIDTH = 44  # characters for the name of a provenance difference, before its two values


def write_comparison(
    a: str,
    b: str,
    settings: Mapping[str, Any],
    reference: Path,
    json_file: Path | None = None,
    text_file: Path | None = None,
    older_code: Sequence[str] = (),
    seeds: Sequence[int] = (),
    preset: str = "",
) -> Comparison:
    """Compare two sources, write the comparison to the given files, and print the warnings of both sides.

    The other arguments are those of `compare_results`.

    Args:
        json_file, text_file: files for the comparison; None to write no such file.
        older_code: jobs whose results in A were made by an older version of the code; listed in the comparison.
    """
    comparison = compare_results(a, b, parse_comparison_settings(settings), reference, preset, seeds)
    for notice in (*comparison.a.notices, *comparison.b.notices):
        print(f"slq: warning: {notice}", file=sys.stderr)
    if json_file is not None:
        write_json(json_file, as_json(comparison) | ({"older_code": list(older_code)} if older_code else {}))
    if text_file is not None:
        lines = (
            line
            for job in older_code
            for line in _wrap_line(f"A: made by another version of the code than the present one: {job}")
        )
        write_text(text_file, format_comparison(comparison) + "".join(f"{line}\n" for line in lines))
    return comparison


def format_comparison(comparison: Comparison) -> str:
    """Format both sides, one line per cell, reasons, provenance differences and counts, at most LINE_WIDTH wide."""
    footnotes = _number_footnotes(comparison.cells)
    header = "  ".join(text.rjust(width) for text, width in zip(COLUMN_HEADERS, COLUMN_WIDTHS, strict=True))
    lines = [
        *_wrap_line(f"A: {comparison.a.name} ({comparison.a.description})"),
        *_wrap_line(f"B: {comparison.b.name} ({comparison.b.description})"),
        "",
        f"{'':{LABEL_WIDTH + 2}}  {header}  verdict",
    ]
    for (backbone, method), cells in groupby(comparison.cells, key=lambda cell: cell.key[:2]):
        lines.append(f"{backbone}, {comparison.labels.get(method, method)}")
        for cell in cells:
            values = "  ".join(text.rjust(width) for text, width in zip(_format_cell(cell), COLUMN_WIDTHS, strict=True))
            note = f" [{footnotes[cell.judgement.reason]}]" if cell.judgement.reason in footnotes else ""
            lines.append(f"  {_cell_label(cell.key):{LABEL_WIDTH}}  {values}  {cell.judgement.verdict}{note}")
    lines += ["", *(line for reason, number in footnotes.items() for line in _wrap_line(f"[{number}] {reason}"))]
    lines += ["", *_provenance_lines(comparison)] if comparison.provenance_differences else []
    counted = ", ".join(f"{count} {verdict}" for verdict, count in comparison.verdict_counts.items() if count)
    lines += [
        "",
        *_differing_cell_lines(comparison),
        f"{len(comparison.cells)} cells: {counted or 'nothing to compare'}",
    ]
    return "\n".join(lines) + "\n"


def _cell_label(key: CellKey) -> str:
    """Return benchmark and metric, with a long benchmark name cut to fit the column."""
    max_length = LABEL_WIDTH - len(key.metric) - 1
    name = key.benchmark if len(key.benchmark) <= max_length else f"{key.benchmark[: max_length - 2]}.."
    return f"{name} {key.metric}"


def _format_cell(cell: ComparedCell) -> tuple[str, ...]:
    """Format both numbers, their difference, its interval, and the tolerance; a missing value is a dash."""
    form, judgement = cell.a_or_b.formatter, cell.judgement
    format_signed = with_sign(form)
    numbers = [form(number.value) if number else "-" for number in (cell.a, cell.b)]
    if cell.a is None or cell.b is None:
        return (*numbers, "-", "-", "-")
    interval = f"[{', '.join(map(format_signed, judgement.interval))}]" if judgement.interval else "-"
    has_tolerance = judgement.verdict not in ("not comparable", "stale")
    return (*numbers, format_signed(judgement.delta), interval, form(judgement.tolerance) if has_tolerance else "-")


def _number_footnotes(cells: Sequence[ComparedCell]) -> dict[str, int]:
    """Return the number of each footnote by its text, which is the reason why cells could not be judged.

    The reason of a test is not a footnote, because it belongs to a single cell.
    """
    reasons = (cell.judgement.reason for cell in cells if cell.judgement.verdict in FOOTNOTED_VERDICTS)
    return {reason: number for number, reason in enumerate(dict.fromkeys(reasons), start=1)}


def _differing_cell_lines(comparison: Comparison) -> list[str]:
    """List each cell that differs, with the reason."""
    lines = []
    for cell in comparison.cells:
        if cell.judgement.verdict == "differs":
            place = "{}/{} {} {}".format(*cell.key)
            lines += _wrap_line(f"Differs: {place}, {_format_cell(cell)[2]} ({cell.judgement.reason})")
    return lines


def _provenance_lines(comparison: Comparison) -> list[str]:
    lines = ["Other differences (A, B):"]
    for difference in comparison.provenance_differences:
        lines += _wrap_line(
            f"  {f'{difference.what}: {difference.key}':{DIFFERENCE_WIDTH}}  {difference.a}  {difference.b}"
        )
    return lines


def _wrap_line(text: str) -> list[str]:
    return wrap(text, LINE_WIDTH, subsequent_indent="    ", break_on_hyphens=False)
