"""Data model of a table with grouped headers and grouped rows, from which LaTeX, HTML and CSV are rendered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice, zip_longest

from slq.results.cells import TableCell, mark_best


@dataclass(frozen=True)
class Column:
    """A column: its key in `cells.csv`, its headers, from top to bottom, and its own width in cm, or 0.

    A table of several pages has widths for all of its columns, or for none (`Table.widths`).
    """

    key: str
    heads: tuple[str, ...]
    width: float = 0.0


@dataclass(frozen=True)
class TableRow:
    """A row: its key in `cells.csv`, its printed label, one cell per column, and its footnote, if any."""

    key: str
    label: str
    cells: tuple[TableCell, ...]
    note: str = ""


@dataclass(frozen=True)
class RowGroup:
    """Rows under one label; `shared` has one cell per shared column, printed once for the whole group."""

    key: str
    label: str
    rows: tuple[TableRow, ...]
    shared: tuple[TableCell, ...] = ()


@dataclass(frozen=True)
class HeaderCell:
    """A printed header cell.

    Attributes:
        text: the printed text
        first: the first column that it spans, counted from 1
        columns: the number of columns that it spans
        lines: the number of header lines that it spans
    """

    text: str
    first: int
    columns: int
    lines: int

    @property
    def last(self) -> int:
        """The last column that the header spans."""
        return self.first + self.columns - 1


@dataclass(frozen=True)
class Table:
    """A filled table, independent of the output format; all texts are plain text.

    Attributes:
        number: the table's number in its heading, which precedes `caption`
        notes: sentences printed below the table
        stubs: headers of the label columns
        shared: columns whose cells are printed once per group
        widths: width in cm of the first column and of each other column, or 0 if these have widths of their own; only
            for a table of several pages
        stacked: whether intervals are printed on a separate line below their numbers
        several_seeds: what a cell shows of several seeds
    """

    name: str
    number: str
    caption: str
    stubs: tuple[str, ...]
    columns: tuple[Column, ...]
    groups: tuple[RowGroup, ...]
    notes: tuple[str, ...]
    shared: tuple[Column, ...] = ()
    widths: tuple[float, float] | None = None
    stacked: bool = False
    several_seeds: str = "mean ± standard deviation"

    @property
    def lead_heads(self) -> list[str]:
        """The headers before the data columns: the first stub, the shared columns, and the other stubs."""
        return [self.stubs[0], *(column.heads[0] for column in self.shared), *self.stubs[1:]]

    @property
    def footnotes(self) -> dict[str, str]:
        """The texts of the numbered footnotes below the table, by row key and in order."""
        return {row.key: row.note for group in self.groups for row in group.rows if row.note}

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each footnote, by row key."""
        return {key: number for number, key in enumerate(self.footnotes, start=1)}

    @property
    def head_lines(self) -> list[list[HeaderCell]]:
        """The header lines from top to bottom.

        Equal adjacent headers are merged. A header extends down over blank headers below it.
        """
        paths = list(zip(*zip_longest(*(column.heads for column in self.columns), fillvalue=""), strict=True))
        return [_header_line(paths, depth) for depth in range(len(paths[0]))]


def _header_line(header_paths: Sequence[tuple[str, ...]], depth: int) -> list[HeaderCell]:
    """Build the header line at `depth`, counted from the top.

    Adjacent columns share a header cell if their headers are equal from the top down to this line.
    """
    header_cells, first = [], 1
    for path, columns in groupby(header_paths, key=lambda path: path[: depth + 1]):
        members = list(columns)
        below = members[0][depth + 1 :]
        covered = len(members) == 1 and not any(below)
        header_cells.append(HeaderCell(path[-1], first, len(members), len(below) + 1 if covered else 1))
        first += len(members)
    return header_cells


def mark_columns(
    rows: Sequence[TableRow], marker: Callable[[int, Sequence[TableCell]], Sequence[TableCell]]
) -> tuple[TableRow, ...]:
    """Return copies of the rows with the cells of each column replaced by `marker(column index, cells)`."""
    columns = zip(*(row.cells for row in rows), strict=True)
    marked = zip(*(marker(index, cells) for index, cells in enumerate(columns)), strict=True)
    return tuple(replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True))


def mark_groups(groups: Sequence[RowGroup]) -> tuple[RowGroup, ...]:
    """Mark the best and second-best values of each column over all groups; drop groups without rows."""
    rows = iter(mark_columns([row for group in groups for row in group.rows], lambda _, cells: mark_best(cells)))
    return tuple(replace(group, rows=tuple(islice(rows, len(group.rows)))) for group in groups if group.rows)
