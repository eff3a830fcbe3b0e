"""The shape of a table that LaTeX, HTML and CSV share: columns under grouped headers, rows in groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest

from slq.results.cells import TableCell


@dataclass(frozen=True)
class Column:
    """A column: its key in `cells.csv`, and its headers from top to bottom."""

    key: str
    heads: tuple[str, ...]


@dataclass(frozen=True)
class TableRow:
    """A row: its key in `cells.csv`, its printed label, one cell per column, and what a footnote says of it."""

    key: str
    label: str
    cells: tuple[TableCell, ...]
    note: str = ""


@dataclass(frozen=True)
class RowGroup:
    """Rows under one label. `shared` holds one cell per shared column, printed once for the whole group."""

    key: str
    label: str
    rows: tuple[TableRow, ...]
    shared: tuple[TableCell, ...] = ()


@dataclass(frozen=True)
class HeaderCell:
    """A printed header: the text, its first column counted from 1, how many columns and header lines it covers."""

    text: str
    first: int
    columns: int
    lines: int

    @property
    def last(self) -> int:
        """The last column that the header covers."""
        return self.first + self.columns - 1


@dataclass(frozen=True)
class Table:
    """A table of the paper, filled. `number` and `caption` head it, `notes` stand below it, all plain text.

    widths: of a table of several pages, its first column's width in cm and that of each other
    stacked: intervals stand below their numbers, on a line of their own
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

    @property
    def lead_heads(self) -> list[str]:
        """Headers of the columns before the numbered ones: those of the stubs, behind the first the shared ones."""
        return [self.stubs[0], *(column.heads[0] for column in self.shared), *self.stubs[1:]]

    @property
    def footnotes(self) -> dict[str, str]:
        """What stands in numbered notes below the table, by the key of its row, in order."""
        return {row.key: row.note for group in self.groups for row in group.rows if row.note}

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each footnote, by the key of its row."""
        return {key: number for number, key in enumerate(self.footnotes, start=1)}

    @property
    def head_lines(self) -> list[list[HeaderCell]]:
        """Header lines from top to bottom, neighbours under equal headers as one; a blank one is covered from above."""
        paths = list(zip(*zip_longest(*(column.heads for column in self.columns), fillvalue=""), strict=True))
        return [_header_line(paths, depth) for depth in range(len(paths[0]))]


def _header_line(header_paths: Sequence[tuple[str, ...]], depth: int) -> list[HeaderCell]:
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
    """The rows with every column's cells replaced by `marker(column index, cells)`."""
    columns = zip(*(row.cells for row in rows), strict=True)
    marked = zip(*(marker(index, cells) for index, cells in enumerate(columns)), strict=True)
    return tuple(replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True))
