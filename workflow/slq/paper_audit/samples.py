"""Printed shares as samples: whether one is of whole questions, and whether a gap is more than a sample's noise."""

from fractions import Fraction

from slq.evaluation.intervals import accuracy_interval
from slq.paper_audit.paper import Asked, Paper, Printed
from slq.plausibility.report import check_tables
from slq.plausibility.tables import QUOTED
from slq.reporting.records import COSTS


def shares(paper: Paper) -> Asked:
    """Which numbers of Tables 1 and 3 are no share of so many queries or questions (slq.plausibility)."""
    tables = [paper.reference / name for name in QUOTED if name.partition(".")[0] in ("table1", "table3")]
    found, _ = check_tables(tables, paper.reference.parents[1] / "results", paper.reference)
    asked = [check for check in found if check.question == "k/n" and check.claim.counts]
    none = [check for check in asked if check.finding]
    places = {(cell.row, cell.column): cell for cell in (*paper.table1, *paper.table3)}
    columns = sorted({check.claim.column for check in none})
    of_columns = sum(check.claim.column in columns for check in asked)
    statement = (
        f"{len(none)} numbers of {', '.join(columns) or 'no column'}, of {of_columns} there, are no whole share of the "
        "questions, however halves are rounded. Means of runs, or another number of questions, would give such numbers."
    )
    lines = tuple(f"{check.claim.row} {check.claim.column}: {check.arithmetic}" for check in none)
    cells = tuple(places[check.claim.row, check.claim.column] for check in none)
    return Asked(len(asked), len(none), statement, lines, cells)


def noise(paper: Paper) -> Asked:
    """Other methods' numbers that lie within the 95 % interval of the paper's own method's, as one sample of n."""
    asked, inside, lines = 0, [], []
    for cell in paper.cells(paper.own):
        counts = [] if cell.column in COSTS else paper.counts(cell.column)
        if not counts:
            continue
        low, high = _interval(paper, cell, counts[0])
        for other in paper.others(cell):
            asked += 1
            if low <= float(other.value) <= high:
                inside.append(other)
                bounds = f"[{low:.1f}, {high:.1f}] of {cell.value}, n = {counts[0]:,}"
                lines.append(f"{other.row} {cell.column}: {other.value} in {bounds}")
    statement = (
        f"{len(inside)} of {asked} numbers of other methods lie within Wilson's 95 % interval of the one that they are "
        "set against, on as many queries or questions: another sample may be as far. Captions of an image are not "
        "independent, so of T2I the interval is wider still. A paired test could tell more; it needs the answers and "
        "ranks, which are not published."
    )
    return Asked(asked, len(inside), statement, tuple(lines), tuple(inside))


def _interval(paper: Paper, cell: Printed, n: int) -> tuple[float, float]:
    """In the cell's own unit: percent, or hits of n."""
    unit = Fraction(n, 100) if paper.benchmarks.unit(cell.column) == "hits" else Fraction(1)
    found = accuracy_interval(round(Fraction(cell.value) / unit * n / 100), n)
    return float(found.low * unit), float(found.high * unit)
