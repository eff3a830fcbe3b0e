"""Best and second best, as printed and as the numbers have it."""

from collections.abc import Callable, Sequence

from slq.paper_audit.paper import Asked, Paper, Printed
from slq.reporting.cells import Cell, printed_number, rank
from slq.reporting.records import COSTS

PRINTED = {"": "", "best": "bold", "second": "underline"}
WORDS = {"": "unmarked", "bold": "bold", "underline": "underlined"}


def of_table1(paper: Paper) -> Asked:
    """Within a column."""
    return _wrong("Table 1", _grouped(paper.table1, lambda cell: cell.column))


def of_table3(paper: Paper) -> Asked:
    """Within a backbone and a column; of costs less is better."""
    return _wrong("Table 3", _grouped(paper.table3, lambda cell: f"{cell.backbone}, {cell.column}"))


def _grouped(cells: Sequence[Printed], key: Callable[[Printed], str]) -> list[tuple[str, list[Printed]]]:
    groups: dict[str, list[Printed]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return list(groups.items())


def _wrong(table: str, groups: Sequence[tuple[str, list[Printed]]]) -> Asked:
    """Cells whose mark is not what their column's numbers give; a table that never underlines has no second best."""
    used = {cell.mark for _, cells in groups for cell in cells}
    wrong, lines, columns = [], [], []
    for name, cells in groups:
        for cell, mark in zip(cells, _marks(cells), strict=True):
            if cell.mark != (mark if mark in used else ""):
                wrong.append(cell)
                columns.append(name)
                lines.append(_line(name, cell, mark, cells))
    asked = sum(len(cells) for _, cells in groups)
    statement = (
        f"{len(wrong)} of {asked} cells of {table}, in {len(set(columns))} columns, do not have the mark that their "
        "column's numbers give; equal numbers share one."
    )
    return Asked(asked, len(wrong), statement, tuple(lines), tuple(wrong))


def _line(name: str, cell: Printed, mark: str, cells: Sequence[Printed]) -> str:
    """What is printed, what the numbers give, and whose the two marks are."""
    holders = {
        word: ", ".join(
            f"{one.value} of {one.row}" for one, its in zip(cells, _marks(cells), strict=True) if its == key
        )
        for key, word in (("bold", "best"), ("underline", "second"))
    }
    order = "; ".join(f"{word}: {held}" for word, held in holders.items() if held)
    return f"{name}: {cell.value} of {cell.row} is {WORDS[cell.mark]}, by the numbers {WORDS[mark]} ({order})"


def _marks(cells: Sequence[Printed]) -> list[str]:
    """The marks that the numbers give, in the paper's words."""
    numbers = [Cell.quoted(printed_number(cell.value), cell.value, "", comparable=True) for cell in cells]
    return [PRINTED[cell.mark] for cell in rank(numbers, higher_is_better=cells[0].column not in COSTS)]
