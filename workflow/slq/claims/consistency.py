"""The paper's tables asked of each other, of published scores and of the samples that their numbers are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from slq.claims.numbers import fraction, sampled
from slq.datasets.id_lists import TESTS, id_list
from slq.results.cells import Cell, printed_number, rank
from slq.results.checks import CheckResult, Evidence, about, asked, found
from slq.results.layout import METHODS
from slq.results.paper import Number, Paper
from slq.results.records import COSTS

PRINTED = {"": "", "best": "bold", "second": "underline"}
WORDS = {"": "unmarked", "bold": "bold", "underline": "underlined"}
SET = "coco"
HELD_OUT = "coco_val2017"  # train2017 is every image of 2014's lists that is not in it


def marks(cells: Sequence[Number], table: str) -> CheckResult:
    """Cells whose mark is not what the numbers of their column, in Table 3 of their backbone, give.

    Of costs less is better; a table that never underlines has no second best.
    """
    used = {cell.mark for cell in cells}
    groups: dict[str, list[Number]] = {}
    for cell in cells:
        groups.setdefault(f"{cell.backbone}, {cell.column}" if cell.backbone else cell.column, []).append(cell)
    evidence, columns = [], set()
    for name, group in groups.items():
        given = _given(group)
        for cell, mark in zip(group, given, strict=True):
            if cell.mark == (mark if mark in used else ""):
                evidence.append(about(cell, "", "supported"))
            else:
                evidence.append(about(cell, _wrong_mark(name, cell, mark, group, given), "contradicted"))
                columns.add(name)
    statement = (
        f"{found(evidence)} of {asked(evidence)} cells of {table}, in {len(columns)} columns, do not have the mark "
        "that their column's numbers give; equal numbers share one."
    )
    return CheckResult(statement, tuple(evidence))


def _given(cells: Sequence[Number]) -> list[str]:
    """The marks that the numbers of a column give, in the paper's words."""
    numbers = [Cell.quoted(printed_number(cell.value), cell.value, "", comparable=True) for cell in cells]
    return [PRINTED[cell.mark] for cell in rank(numbers, higher_is_better=cells[0].column not in COSTS)]


def _wrong_mark(name: str, cell: Number, mark: str, cells: Sequence[Number], given: Sequence[str]) -> str:
    """What is printed, what the numbers give, and whose the two marks are."""
    holders = {
        word: ", ".join(f"{one.value} of {one.row}" for one, its in zip(cells, given, strict=True) if its == key)
        for key, word in (("bold", "best"), ("underline", "second"))
    }
    order = "; ".join(f"{word}: {held}" for word, held in holders.items() if held)
    return f"{name}: {cell.value} of {cell.row} is {WORDS[cell.mark]}, by the numbers {WORDS[mark]} ({order})"


def base_scores(paper: Paper) -> CheckResult:
    """Scores of tuned models that are the published scores of the untouched ones."""
    methods: Counter[str] = Counter()
    same: Counter[str] = Counter()
    evidence = []
    for cell in paper.table3:
        if cell.base is None:
            continue
        methods[cell.method] += 1
        if cell.value == cell.base.value:
            same[cell.method] += 1
            line = f"{cell.row} {cell.column}: {cell.value} = {cell.base.value} ({cell.base.source})"
            evidence.append(about(cell, line, "contradicted"))
        else:
            evidence.append(about(cell, "", "supported"))
    counted = ", ".join(f"{METHODS.get(one, one)} {same[one]} of {count}" for one, count in methods.items())
    statement = (
        f"{found(evidence)} of {asked(evidence)} scores of tuned models are the published scores of the untouched "
        f"backbone ({counted}). A method that changes no weight has them by construction; whether they were measured "
        "beside the other rows the table does not say."
    )
    return CheckResult(statement, tuple(evidence))


def shares(paper: Paper) -> CheckResult:
    """Printed numbers that are no share of so many queries or questions."""
    answers = [(number, fraction(number)) for number in paper.shares]
    evidence = tuple(
        replace(line, value=f"{line.what}: {line.value}" if line.verdict == "contradicted" else "")
        for _, line in answers
    )
    columns = {number.column for number, line in answers if line.verdict == "contradicted"}
    there = asked(line for number, line in answers if number.column in columns)
    statement = (
        f"{found(evidence)} numbers of {', '.join(sorted(columns)) or 'no column'}, of {there} there, are no whole "
        "share of the questions, however halves are rounded. Means of runs, or another number of questions, would give "
        "such numbers."
    )
    return CheckResult(statement, evidence)


def noise(paper: Paper) -> CheckResult:
    """Other methods' numbers that lie within the 95 % interval of the paper's own method's, as one sample of n."""
    evidence = []
    for cell in paper.cells(paper.own):
        if not cell.counts:
            continue
        n = cell.counts[0]
        low, high = sampled(cell.value, n, cell.unit)
        for other in paper.others(cell):
            line = f"{other.row} {cell.column}: {other.value} in [{low:.1f}, {high:.1f}] of {cell.value}, n = {n:,}"
            inside = low <= float(other.value) <= high
            evidence.append(about(other, line, "contradicted") if inside else about(other, "", "supported"))
    statement = (
        f"{found(evidence)} of {asked(evidence)} numbers of other methods lie within Wilson's 95 % interval of the "
        "one that they are set against, on as many queries or questions: another sample may be as far. Captions of an "
        "image are not independent, so of T2I the interval is wider still. A paired test could tell more; it needs the "
        "answers and ranks, which are not published."
    )
    return CheckResult(statement, tuple(evidence))


def overlap(paper: Paper) -> CheckResult:
    """Count test images of COCO that train2017 holds, the training list that the released code names."""
    if not any(name == SET for name, _ in paper.counted) or not paper.table1:
        return CheckResult("The paper does not test on COCO.")
    tested, held_out = set(id_list(TESTS[SET])), set(id_list(HELD_OUT))
    shared, outside = len(tested - held_out), len(tested & held_out)
    statement = (
        f"train2017 holds {shared:,} of the {len(tested):,} test images of COCO ({100 * shared / len(tested):.1f} %). "
        "The released code trains on a list of that name; whether test images were taken out of it is not known."
    )
    line = (
        f"{len(tested):,} test images of Karpathy's split, {outside:,} of them among the {len(held_out):,} of val2017; "
        f"train2017 is the rest of the same images: {len(tested):,} less {outside:,} are {shared:,}"
    )
    inside = Evidence("test images in train2017", line, "contradicted", count=shared)
    return CheckResult(statement, (inside, Evidence("test images outside it", "", "supported", count=outside)))
