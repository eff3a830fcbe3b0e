"""A comparison to read."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import wrap

from slq.reporting.comparison.compare import Compared, Comparison
from slq.reporting.comparison.numbers import Key, Number
from slq.results.cells import with_sign
from slq.results.layout import METHODS

WIDTH = 100
HEADS = ("A", "B", "A \u2212 B", "95 % interval", "± ok")
WIDTHS = (6, 6, 9, 17, 6)
LABEL = 23  # letters of a benchmark and its metric
NOTED = ("not comparable", "stale", "missing", "extra")  # verdicts whose reasons stand below the cells
CONFIG_WIDTH = 44  # of what differs, before its two values


def terminal(found: Comparison) -> str:
    """Both sides, a line for each cell, reasons, what else differs, and the counts; at most WIDTH wide."""
    notes = _notes(found.cells)
    head = "  ".join(text.rjust(width) for text, width in zip(HEADS, WIDTHS, strict=True))
    lines = [*(line for side in _sides(found) for line in _wrapped(side)), "", f"{'':{LABEL + 2}}  {head}  verdict"]
    for run, cells in _by_run(found.cells):
        lines.append(run)
        for cell in cells:
            values = "  ".join(text.rjust(width) for text, width in zip(_values(cell), WIDTHS, strict=True))
            note = f" [{notes[cell.judged.reason]}]" if cell.judged.reason in notes else ""
            lines.append(f"  {_short(cell.key):{LABEL}}  {values}  {cell.judged.verdict}{note}")
    lines += ["", *(line for reason, number in notes.items() for line in _wrapped(f"[{number}] {reason}"))]
    lines += ["", *_differences(found)] if found.differences else []
    counted = ", ".join(f"{count} {verdict}" for verdict, count in found.counts.items() if count)
    lines += ["", *_findings(found), f"{len(found.cells)} cells: {counted or 'nothing to compare'}"]
    return "\n".join(lines) + "\n"


def _short(key: Key) -> str:
    """Benchmark and metric as a terminal has room for it: a long name of a benchmark is cut."""
    room = LABEL - len(key.metric) - 1
    name = key.benchmark if len(key.benchmark) <= room else f"{key.benchmark[: room - 2]}.."
    return f"{name} {key.metric}"


def _sides(found: Comparison) -> list[str]:
    return [f"{name}: {side.name} ({side.what})" for name, side in (("A", found.a), ("B", found.b))]


def _by_run(cells: Sequence[Compared]) -> Iterator[tuple[str, Iterator[Compared]]]:
    for (backbone, method), members in groupby(cells, key=lambda cell: cell.key[:2]):
        yield f"{backbone}, {METHODS.get(method, method)}", members


def _values(cell: Compared) -> tuple[str, ...]:
    """Both numbers, difference, interval and tolerance, as printed; a dash where there is none."""
    form, judged = cell.number.form, cell.judged
    signed = with_sign(form)
    numbers = [_printed(number) for number in (cell.a, cell.b)]
    if cell.a is None or cell.b is None:
        return (*numbers, "-", "-", "-")
    between = f"[{signed(judged.interval[0])}, {signed(judged.interval[1])}]" if judged.interval else "-"
    compared = judged.verdict not in ("not comparable", "stale")
    return (*numbers, signed(judged.delta), between, form(judged.tolerance) if compared else "-")


def _printed(number: Number | None) -> str:
    return "-" if number is None else number.form(number.value)


def _notes(cells: Sequence[Compared]) -> dict[str, int]:
    """Reasons why cells could not be judged, numbered; those of tests belong to one cell each."""
    reasons = (cell.judged.reason for cell in cells if cell.judged.verdict in NOTED)
    return {reason: number for number, reason in enumerate(dict.fromkeys(reasons), start=1)}


def _findings(found: Comparison) -> list[str]:
    """Each cell that differs, with what says so."""
    lines = []
    for cell in found.cells:
        if cell.judged.verdict == "differs":
            place = "{}/{} {} {}".format(*cell.key)
            lines += _wrapped(f"Differs: {place}, {_values(cell)[2]} ({cell.judged.reason})")
    return lines


def _differences(found: Comparison) -> list[str]:
    lines = ["What else differs (A, B):"]
    for one in found.differences:
        lines += _wrapped(f"  {f'{one.what}: {one.key}':{CONFIG_WIDTH}}  {one.a}  {one.b}")
    return lines


def _wrapped(text: str) -> list[str]:
    return wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
