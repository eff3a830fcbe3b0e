"""One number of a table: its value, how it is printed, what kind of number it is, and where it came from."""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

CellState = Literal["measured", "quoted", "inherited", "missing", "stale"]
EMPTY_STATES = ("missing", "stale")  # states of a cell that shows no number
RankMark = Literal["", "best", "second"]
Formatter = Callable[[float], str]

SUFFIX_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}


@dataclass(frozen=True)
class TableCell:
    """A cell of a table; make one with a constructor per state, mark several with `mark_best`.

    value: the full number, or a word (the name of a device); None if and only if the cell is missing or stale
    text: the value as printed
    source: paths of the files that hold the number, relative to the folder above the results, joined by `; `; the
        reference CSV and its line; an inheriting file; or, of a missing or stale cell, why there is none
    reason: of a missing cell which file is not there, or what else is lacking; of a stale one what does not follow from
        what; of an inherited one why, and whose number it is; of a mean over fewer seeds which are left out, and why
    comparable: may stand in one ranking with the comparable cells of its column
    sd: the sample standard deviation that belongs to a mean of two or more runs
    spread: the sd as printed, with as many decimals as `text`; empty without one
    n: how many runs of one method, which differ in their seed alone, a number is made of, or inherited by
    low, high: the ends of the number's 95 % interval; `interval`: both as printed, with as many decimals as `text`
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
        """The same number with its 95 % interval."""
        return replace(self, low=low, high=high, interval=f"{formatter(low)}, {formatter(high)}")

    @classmethod
    def measured(
        cls, value: float, formatter: Formatter, source: str, comparable: bool = True, n: int | None = None
    ) -> "TableCell":
        """A number that runs of ours produced."""
        return cls(value, formatter(value), "measured", source, comparable, n=n)

    @classmethod
    def mean(cls, values: Sequence[float], formatter: Formatter, source: str, comparable: bool = True) -> "TableCell":
        """The mean over runs that differ in their seed alone, and the sample sd (n - 1) if there are two or more."""
        cell = cls.measured(statistics.mean(values), formatter, source, comparable, n=len(values))
        if len(values) < 2:
            return cell
        sd = statistics.stdev(values)
        return replace(cell, sd=sd, spread=f"{sd:.{count_decimals(cell.text)}f}")

    @classmethod
    def measured_text(cls, value: str, source: str) -> "TableCell":
        """A measured circumstance that is no number, such as the name of a device."""
        return cls(value, value, "measured", source)

    @classmethod
    def quoted(cls, value: float, printed: str, source: str, comparable: bool = False) -> "TableCell":
        """A number of the paper, printed as the paper prints it."""
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
        """A number that no measurement is needed for; `source` says why, and of `n` runs that each has it."""
        return cls(value, formatter(value), "inherited", source, comparable, n=n, reason=reason or source)

    @classmethod
    def missing(cls, reason: str) -> "TableCell":
        """No number: never a zero, never a value of something else."""
        return cls(None, "", "missing", reason, reason=reason)

    @classmethod
    def stale(cls, reason: str) -> "TableCell":
        """No number either: that of the file does not follow from what it was made from."""
        return cls(None, "", "stale", reason, reason=reason)


def merge_missing_cells(records_or_cells: Iterable[object]) -> TableCell:
    """The cell that says of several files why those that gave a cell gave no number."""
    cells = [one for one in records_or_cells if isinstance(one, TableCell)]
    make = TableCell.stale if any(cell.state == "stale" for cell in cells) else TableCell.missing
    return make("; ".join(cell.reason for cell in cells))


def mark_best(cells: Sequence[TableCell], higher_is_better: bool = True) -> list[TableCell]:
    """The same cells with the best and the second-best marked.

    Compared are the values, of several runs the means, as printed, so that two cells that look equal share their mark;
    the second-best is the next distinct value. Missing and incomparable cells take no part and stay unmarked.
    """
    printed_values = [parse_printed_number(cell.text) if _is_ranked(cell) else None for cell in cells]
    distinct_values = sorted({value for value in printed_values if value is not None}, reverse=higher_is_better)
    marks: dict[float | None, RankMark] = dict(zip(distinct_values, ("best", "second"), strict=False))
    return [replace(cell, mark=marks.get(value, "")) for cell, value in zip(cells, printed_values, strict=True)]


def _is_ranked(cell: TableCell) -> bool:
    return cell.comparable and cell.state not in EMPTY_STATES


def parse_printed_number(text: str) -> float:
    """The number that a reader sees: `4.4M` is 4,400,000."""
    match = re.fullmatch(r"(-?[\d,]+(?:\.\d+)?)([kMB]?)", text)
    if match is None:
        raise ValueError(f"no printed number: {text!r}")
    return float(match[1].replace(",", "")) * SUFFIX_FACTORS[match[2]]


def count_decimals(text: str) -> int:
    """How many digits a printed number has after its point."""
    return len(text.partition(".")[2])


def format_one_decimal(value: float) -> str:
    """Recalls and accuracies in percent, as the paper prints them."""
    return f"{value:.1f}"


def format_integer(value: float) -> str:
    """Widths, hits of OCRBench, numbers of devices."""
    return f"{value:.0f}"


def with_sign(formatter: Formatter) -> Formatter:
    """The same format for differences: with a sign, but for what prints as zero."""

    def format_signed(value: float) -> str:
        text = formatter(abs(value))
        sign = "\u2212" if value < 0 else "+"
        return sign + text if parse_printed_number(text) else text

    return format_signed


def format_p_value(value: float) -> str:
    """A p-value: three decimals, and no zero."""
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def format_hours(value: float) -> str:
    """One decimal as in the paper; below 1 two significant digits, so that seconds do not print as 0.0."""
    exponent = int(f"{value:.1e}".split("e")[1])
    return f"{value:.{max(1 - exponent, 1)}f}"


def format_significant_digits(value: float) -> str:
    """Of any size: three significant digits, or all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def format_parameter_count(value: float) -> str:
    """Numbers of parameters in the paper's way: 0.6B, 4.4M, 36k; 1.0k below ten thousand, plain below a thousand."""
    # Each bound is where the unit below would round up into this one: 999,600 is 1.0M and not 1000k.
    for bound, unit, decimals in ((99.95e6, "B", 1), (999.5e3, "M", 1), (9.95e3, "k", 0), (999.5, "k", 1)):
        if value >= bound:
            return f"{value / SUFFIX_FACTORS[unit]:.{decimals}f}{unit}"
    return f"{value:.0f}"
