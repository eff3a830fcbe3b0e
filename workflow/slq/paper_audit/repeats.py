"""Numbers that stand twice: in two of the paper's tables, or in the reports of the models it starts from."""

from collections import Counter

from slq.paper_audit.paper import Asked, Paper
from slq.reporting.layout import METHODS


def of_table1(paper: Paper) -> Asked:
    """Recalls of Table 3 that Table 1 has as well."""
    first = {(cell.row, cell.column): cell.value for cell in paper.table1}
    pairs = []
    for cell in paper.table3:
        row = f"{METHODS.get(cell.method, cell.method)} ({paper.labels.get(cell.backbone, cell.backbone)})"
        if (row, cell.column) in first:
            pairs.append((cell, row, first[row, cell.column]))
    same = [cell for cell, _, value in pairs if cell.value == value]
    lines = [
        f"{cell.row} {cell.column}: {cell.value} {'=' if cell.value == value else '≠'} {value} of {row}"
        for cell, row, value in pairs
    ]
    statement = (
        f"{len(same)} of {len(pairs)} recalls that Tables 1 and 3 both print are equal: together they are one "
        "measurement, not two."
    )
    return Asked(len(pairs), len(same), statement, tuple(lines), tuple(same))


def of_base(paper: Paper) -> Asked:
    """Scores of tuned models that are the published scores of the untouched ones."""
    asked: Counter[str] = Counter()
    same, lines = [], []
    for cell in paper.table3:
        base = paper.benchmarks.bases.get((cell.backbone, cell.column))
        if base is None:
            continue
        asked[cell.method] += 1
        if cell.value == base.value:
            same.append(cell)
            lines.append(f"{cell.row} {cell.column}: {cell.value} = {base.value} ({base.source})")
    found = Counter(cell.method for cell in same)
    counted = ", ".join(f"{METHODS.get(one, one)} {found[one]} of {count}" for one, count in asked.items())
    statement = (
        f"{len(same)} of {asked.total()} scores of tuned models are the published scores of the untouched backbone "
        f"({counted}). A method that changes no weight has them by construction; whether they were measured beside the "
        "other rows the table does not say."
    )
    return Asked(asked.total(), len(same), statement, tuple(lines), tuple(same))
