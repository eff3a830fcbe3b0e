"""Cells of a table: a number, its printed form, how it was obtained, and the file that it comes from."""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from slq.common.errors import SlqError

CellState = Literal["measured", "quoted", "inherited", "missing", "stale"]
EMPTY_STATES = ("missing", "stale")  # states of a cell that shows no number
RankMark = Literal["", "best", "second"]
Formatter = Callable[[float], str]

MIXED_DEVICES = "not hours of one device: "  # prefix of the reason why hours are not added or divided
ABSENT = " does not exist"  # suffix of the reason for a missing number; the name of the file precedes it
SUFFIX_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}


@dataclass(frozen=True)
class TableCell:
    """A cell of a table, built by one classmethod per state; `mark_best` marks the best of several cells.

    Attributes:
        value: the unrounded number, or a word such as the name of a device; None if and only if the cell is missing or
            stale
        text: the value as printed
        state: how the number was obtained, or why there is none
        source: paths of the files that hold the number, relative to the parent of the results folder and joined by
            semicolons. A quoted number has the reference CSV and its line, an inherited number also the inheriting
            file. A missing or stale cell has its reason here.
        comparable: whether the cell may be ranked against the other comparable cells of its column
        mark: the rank that the table highlights
        sd: the sample standard deviation, if the value is a mean over two or more runs
        spread: the sd as printed, with as many decimals as `text`; empty if there is no sd
        n: the number of runs of one method, differing only in their seed, that the number averages or is inherited by
        low, high: the bounds of the 95 % confidence interval
        interval: both bounds as printed, with as many decimals as `text`
        reason: depends on the state. Missing: which file does not exist, or what else is lacking. Stale: which file no
            longer matches the file that it was computed from. Inherited: why, and from which run. Measured as a mean
            over fewer seeds than planned: which seeds are left out, and why.
    """

    value: float | str | None
    text: str
    state: CellState
    source: str
    comparable: bool = False
    mark: RankMark = ""
    sd: float | None = None
    spread: str = ""
    n: int | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    reason: str = ""

    def with_interval(self, low: float, high: float, formatter: Formatter) -> "TableCell":
        """Return a copy of the cell with its 95 % confidence interval."""
        return replace(self, low=low, high=high, interval=f"{formatter(low)}, {formatter(high)}")

    @classmethod
    def measured(
        cls, value: float, formatter: Formatter, source: str, comparable: bool = True, n: int | None = None
    ) -> "TableCell":
        """Build the cell of a number that our own runs produced."""
        return cls(value, formatter(value), "measured", source, comparable, n=n)

    @classmethod
    def mean(cls, values: Sequence[float], formatter: Formatter, source: str, comparable: bool = True) -> "TableCell":
        """Build the cell of a mean over runs that differ only in their seed.

        With two or more runs, its sd is the sample standard deviation (divisor n - 1).
        """
        cell = cls.measured(statistics.mean(values), formatter, source, comparable, n=len(values))
        if len(values) < 2:
            return cell
        sd = statistics.stdev(values)
        return replace(cell, sd=sd, spread=f"{sd:.{count_decimals(cell.text)}f}")

    @classmethod
    def measured_text(cls, value: str, source: str) -> "TableCell":
        """Build the cell of a measured property that is not a number, such as the name of a device."""
        return cls(value, value, "measured", source)

    @classmethod
    def quoted(cls, value: float, printed: str, source: str, comparable: bool = False) -> "TableCell":
        """Build the cell of a number of the paper, printed as the paper prints it."""
        return cls(value, printed, "quoted", source, comparable)

    @classmethod
    def inherited(
        cls,
        value: float,
        formatter: Formatter,
        source: str,
        comparable: bool = False,
        n: int | None = None,
        reason: str = "",
    ) -> "TableCell":
        """Build the cell of a number that follows from another run and needs no measurement.

        Args:
            source: the file that holds the number, and the file that inherits it
            n: the number of runs that inherit it
            reason: why it is inherited; defaults to `source`
        """
        return cls(value, formatter(value), "inherited", source, comparable, n=n, reason=reason or source)

    @classmethod
    def missing(cls, reason: str) -> "TableCell":
        """Build a cell without a number, for which neither zero nor another number is ever substituted."""
        return cls(None, "", "missing", reason, reason=reason)

    @classmethod
    def stale(cls, reason: str) -> "TableCell":
        """Build a cell without a number, because the number in the file no longer follows from the file's inputs."""
        return cls(None, "", "stale", reason, reason=reason)


def mean_cell(rows: Sequence[Any]) -> TableCell:
    """Build the cell of the mean over rows, one per seed; an empty cell if no row has a number.

    If every run inherits the same number, the cell is inherited. Hours on different devices are different units and
    are not averaged.

    Args:
        rows: rows of `slq.results.load.load`

    Raises:
        SlqError: the runs inherit different numbers
    """
    found = with_numbers(rows)
    if not found:
        return empty_cell(rows)
    formatter, source = FORMATTERS[found[0].unit], join_sources(found)
    if len({row.device for row in found}) > 1:
        return TableCell.missing(f"{MIXED_DEVICES}{source}")
    if all(row.state == "inherited" for row in found):
        number = common_value(found) or 0
        return TableCell.inherited(number, formatter, source, comparable=True, n=len(found), reason=found[0].reason)
    mean = TableCell.mean([row.value for row in found], formatter, source)
    return replace(mean, reason=empty_cell(rows).reason)


def empty_cell(rows: Iterable[Any]) -> TableCell:
    """Build the cell that states why rows have no number; rows that have one are skipped.

    The cell is stale if any row is stale, and missing otherwise.
    """
    empty = [row for row in rows if row.state in EMPTY_STATES]
    reasons = list(dict.fromkeys(row.reason for row in empty))
    absent = [reason.removesuffix(ABSENT) for reason in reasons if reason.endswith(ABSENT)]
    if len(absent) > 1 and len(absent) == len(reasons) == len(list(rows)):
        reasons = [f"{', '.join(absent)} do not exist"]
    make = TableCell.stale if any(row.state == "stale" for row in empty) else TableCell.missing
    return make("; ".join(reasons))


def with_numbers(rows: Iterable[Any]) -> list[Any]:
    """Return the rows that have a number, which are the measured and the inherited rows."""
    return [row for row in rows if row.state not in EMPTY_STATES]


def common_value(rows: Sequence[Any]) -> float | None:
    """Return the number that all rows share; None if there are no rows.

    Raises:
        SlqError: two files disagree, so their results do not belong in one table
    """
    for row in rows[1:]:
        if row.value != rows[0].value:
            paths = f"{rows[0].record.path} and {row.record.path}"
            raise SlqError(f"{row.key} differs between {paths}: one of them is stale")
    return rows[0].value if rows else None


def common_cell(rows: Iterable[Any], reason: str) -> TableCell:
    """Build the cell of a number that is the same for all runs; it is not ranked.

    Args:
        reason: the reason of the missing cell, if no row has a number
    """
    found = with_numbers(rows)
    value = common_value(found)
    if value is None:
        return TableCell.missing(reason)
    return TableCell.measured(value, FORMATTERS[found[0].unit], join_sources(found), comparable=False)


def join_sources(rows: Iterable[Any]) -> str:
    """Join the sources of several rows, each named once."""
    return "; ".join(dict.fromkeys(source for row in rows for source in row.source.split("; ")))


def mark_best(cells: Sequence[TableCell], higher_is_better: bool = True) -> list[TableCell]:
    """Return copies of the cells with the best and the second-best marked.

    Values, which are means if there are several runs, are compared as printed, so that cells that look equal share a
    mark. The second-best is the next distinct value. Empty and incomparable cells are not ranked and stay unmarked.
    """
    printed_values = [parse_printed_number(cell.text) if _is_ranked(cell) else None for cell in cells]
    distinct_values = sorted({value for value in printed_values if value is not None}, reverse=higher_is_better)
    marks: dict[float | None, RankMark] = dict(zip(distinct_values, ("best", "second"), strict=False))
    return [replace(cell, mark=marks.get(value, "")) for cell, value in zip(cells, printed_values, strict=True)]


def _is_ranked(cell: TableCell) -> bool:
    """Return whether a cell is comparable and has a number."""
    return cell.comparable and cell.state not in EMPTY_STATES


def parse_printed_number(text: str) -> float:
    """Parse a printed number: `4.4M` is 4,400,000.

    Raises:
        ValueError: the text is not a printed number
    """
    match = re.fullmatch(r"(-?[\d,]+(?:\.\d+)?)([kMB]?)", text)
    if match is None:
        raise ValueError(f"no printed number: {text!r}")
    return float(match[1].replace(",", "")) * SUFFIX_FACTORS[match[2]]


def count_decimals(text: str) -> int:
    """Count the digits after the decimal point of a printed number."""
    return len(text.partition(".")[2])


def format_one_decimal(value: float) -> str:
    """Format a recall or an accuracy in percent with one decimal, as the paper prints them."""
    return f"{value:.1f}"


def format_integer(value: float) -> str:
    """Format a whole number: a width, hits of OCRBench, a number of devices."""
    return f"{value:.0f}"


def with_sign(formatter: Formatter) -> Formatter:
    """Return a formatter for differences, which adds a sign to `formatter` unless the value prints as zero."""

    def format_signed(value: float) -> str:
        """Format a difference with its sign."""
        text = formatter(abs(value))
        sign = "\u2212" if value < 0 else "+"
        return sign + text if parse_printed_number(text) else text

    return format_signed


def format_p_value(value: float) -> str:
    """Format a p-value with three decimals, or as `<0.001`, never as zero."""
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def format_hours(value: float) -> str:
    """Format hours with one decimal as in the paper.

    Hours below 1 have two significant digits, so that seconds do not print as 0.0.
    """
    exponent = int(f"{value:.1e}".split("e")[1])
    return f"{value:.{max(1 - exponent, 1)}f}"


def format_significant_digits(value: float) -> str:
    """Format a number with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def format_parameter_count(value: float) -> str:
    """Format a number of parameters as the paper does: 0.6B, 4.4M, 36k.

    Numbers below ten thousand have one decimal (1.0k); numbers below a thousand are printed in full.
    """
    # A bound is the first number that the next smaller format would round up to this one: 999,600 is 1.0M, not 1000k.
    for bound, unit, decimals in ((99.95e6, "B", 1), (999.5e3, "M", 1), (9.95e3, "k", 0), (999.5, "k", 1)):
        if value >= bound:
            return f"{value / SUFFIX_FACTORS[unit]:.{decimals}f}{unit}"
    return f"{value:.0f}"


FORMATTERS: dict[str, Formatter] = {  # by the unit of a number
    "percent": format_one_decimal,
    "score": format_one_decimal,
    "hits": format_integer,
    "count": format_integer,
    "hours": format_hours,
    "parameters": format_parameter_count,
}
