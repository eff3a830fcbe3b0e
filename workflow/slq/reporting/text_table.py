"""Plain-text format of a table, in which Table 3 is printed at the end of a call."""

from collections.abc import Sequence
from itertools import groupby, pairwise

from slq.reporting.table_model import Column, Table
from slq.results.cells import TableCell

SIGNS = {"missing": "\u2013", "stale": "†"}  # shown instead of a number, as in HTML
GAP = "  "  # between columns


def format_text_table(table: Table) -> str:
    """Format a table that has two label columns and headers of at most two lines; print a group's label only once.

    Labels are aligned to the left and numbers to the right. A header of several columns is centred over them.
    """
    heads = [("", head) for head in table.lead_heads] + [_split_head(column) for column in table.columns]
    lines = [[low for _, low in heads]]
    for group in table.groups:
        lead = [group.label, *map(_format_cell, group.shared)]
        for row in group.rows:
            lines.append([*lead, row.label, *map(_format_cell, row.cells)])
            lead = [""] * len(lead)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    top = []
    for text, columns in groupby(range(len(heads)), key=lambda number: heads[number][0]):
        numbers = list(columns)
        span = sum(widths[number] for number in numbers) + len(GAP) * (len(numbers) - 1)
        widths[numbers[-1]] += max(len(text) - span, 0)
        top.append(text.center(max(span, len(text))))
    label_columns = (0, len(table.lead_heads) - 1)
    aligned = [
        GAP.join(
            word.ljust(width) if number in label_columns else word.rjust(width)
            for number, (word, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, aligned))
    return "\n".join([GAP.join(top).rstrip(), aligned[0], rule, *aligned[1:]]) + "\n"


def fold_table(lines: Sequence[str], width: int | None, num_labels: int = 3) -> list[str]:
    """Split a text table that is wider than `width` into parts below each other, each with the label columns.

    Args:
        lines: the lines of a table of `format_text_table`
        width: the columns of the terminal; None to leave the table whole
        num_labels: the number of columns that each part repeats: in Table 3 backbone, dimension and method
    """
    total = max(map(len, lines))
    if width is None or total <= width:
        return list(lines)
    padded = [line.ljust(total) for line in lines if set(line) != {"-"}]
    is_empty = [all(line[at] == " " for line in padded) for at in range(total)]
    starts = [0, *(at for at in range(len(GAP), total) if all(is_empty[at - len(GAP) : at]) and not is_empty[at])]
    bounds = list(pairwise([*starts, total + len(GAP)]))
    labels, parts = bounds[num_labels - 1][1], [[bounds[num_labels]]]
    for start, end in bounds[num_labels + 1 :]:
        if labels + end - len(GAP) - parts[-1][0][0] > width:
            parts.append([])
        parts[-1].append((start, end))
    folded = []
    for part in parts:
        rows = [(line[:labels] + line[part[0][0] : part[-1][1]]).rstrip() for line in padded]
        folded += ["", *rows[:2], "-" * max(map(len, rows)), *rows[2:]]
    return folded[1:]


def _split_head(column: Column) -> tuple[str, str]:
    """Return the two lines of a column's header; break a single line at its last hyphen to make it narrower."""
    if len(column.heads) > 1:
        return column.heads[0], column.heads[1]
    before, hyphen, after = column.heads[0].rpartition("-")
    return before + hyphen, after


def _format_cell(cell: TableCell) -> str:
    """Return a cell's number with its standard deviation, and an equals sign if it is inherited."""
    spread = f" ±{cell.spread}" if cell.spread else ""
    return SIGNS.get(cell.state, cell.text + spread + "=" * (cell.state == "inherited"))
