"""A table as plain text, as the end of a call shows Table 3 on the terminal."""

from slq.reporting.table_model import Table
from slq.results.cells import TableCell

SIGNS = {"missing": "\u2013", "stale": "†"}  # of cells that show no number, as in HTML


def format_text_table(table: Table) -> str:
    """Format a table with two columns of labels: headers, a rule, and a line per row; a group's label stands once.

    Labels are aligned to the left, numbers to the right.
    """
    heads = [column.heads for column in table.columns]
    lines = [[""] * len(table.lead_heads) + list(line) for line in zip_heads(heads)]
    lines[-1][: len(table.lead_heads)] = table.lead_heads
    num_head_lines = len(lines)
    for group in table.groups:
        lead = [group.label, *map(_format_cell, group.shared)]
        for row in group.rows:
            lines.append([*lead, row.label, *map(_format_cell, row.cells)])
            lead = [""] * len(lead)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    label_columns = (0, len(table.lead_heads) - 1)
    aligned = [
        "  ".join(
            word.ljust(width) if number in label_columns else word.rjust(width)
            for number, (word, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, aligned))
    return "\n".join([*aligned[:num_head_lines], rule, *aligned[num_head_lines:]]) + "\n"


def zip_heads(heads: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the header lines from top to bottom; a shorter header stands in the lowest."""
    num_lines = max(map(len, heads))
    return list(zip(*(("",) * (num_lines - len(head)) + head for head in heads), strict=True))


def _format_cell(cell: TableCell) -> str:
    """Return a cell's number with its deviation, and an equals sign if it is inherited."""
    spread = f" ±{cell.spread}" if cell.spread else ""
    return SIGNS.get(cell.state, cell.text + spread + "=" * (cell.state == "inherited"))
