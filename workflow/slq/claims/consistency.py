"""Checks of the paper's tables against each other, against published scores, and against their sample sizes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from slq.claims.shares import check_share, sampling_interval
from slq.datasets.id_lists import TEST_ID_LISTS, read_id_list
from slq.methods.registry import find_method, list_methods
from slq.results.cells import TableCell, mark_best
from slq.results.checks import CheckResult, Evidence, count_contradicted, count_tested, number_check
from slq.results.paper import COST_COLUMNS, Paper

MARK_STYLES = {"": "", "best": "bold", "second": "underline"}
STYLE_WORDS = {"": "unmarked", "bold": "bold", "underline": "underlined"}
DATASET = "coco"
HELD_OUT_LIST = "coco_val2017"  # train2017 consists of all images of the 2014 lists that are not in this list


def check_marks(cells: Sequence[Any], table: str) -> CheckResult:
    """Check that each cell has the mark that follows from the numbers of its column, within one backbone in Table 3.

    In cost columns, lower is better. A table that never underlines is expected to mark no second-best cells.
    """
    used_marks = {cell.mark for cell in cells}
    groups: dict[str, list[Any]] = {}
    for cell in cells:
        groups.setdefault(f"{cell.backbone}, {cell.column}" if cell.backbone else cell.column, []).append(cell)
    evidence, columns = [], set()
    for name, group in groups.items():
        expected_marks = _compute_marks(group)
        for cell, expected in zip(group, expected_marks, strict=True):
            is_right = cell.mark == (expected if expected in used_marks else "")
            fault = "" if is_right else _describe_wrong_mark(name, cell, expected, group, expected_marks)
            evidence.append(number_check(cell, fault))
            columns |= {name} if fault else set()
    statement = (
        f"{count_contradicted(evidence)} of {count_tested(evidence)} cells of {table}, in {len(columns)} columns, do "
        "not have the mark that follows from the numbers of their column. Equal numbers share a mark."
    )
    return CheckResult(statement, tuple(evidence))


def _compute_marks(cells: Sequence[Any]) -> list[str]:
    """Compute the marks that follow from the numbers of a column: `bold`, `underline` or empty."""
    numbers = [TableCell.quoted(cell.value, cell.printed, "", comparable=True) for cell in cells]
    return [MARK_STYLES[cell.mark] for cell in mark_best(numbers, higher_is_better=cells[0].column not in COST_COLUMNS)]


def _describe_wrong_mark(
    name: str, cell: Any, expected: str, cells: Sequence[Any], expected_marks: Sequence[str]
) -> str:
    """Describe the printed mark, the expected mark, and the cells that should have the two marks."""
    holders = {}
    for key, word in (("bold", "best"), ("underline", "second")):
        deserving = [one for one, mark in zip(cells, expected_marks, strict=True) if mark == key]
        holders[word] = ", ".join(f"{one.printed} of {one.row}" for one in deserving)
    order = "; ".join(f"{word}: {held}" for word, held in holders.items() if held)
    printed, computed = STYLE_WORDS[cell.mark], STYLE_WORDS[expected]
    return f"{name}: {cell.printed} of {cell.row} is {printed}; expected {computed} ({order})"


def check_base_scores(paper: Paper) -> CheckResult:
    """Check which scores of trained models equal the published scores of the untouched backbones."""
    cells = [cell for cell in paper.table("table3") if cell.base_printed]
    equal = [cell for cell in cells if cell.printed == cell.base_printed]
    evidence = []
    for cell in cells:
        line = f"{cell.row} {cell.column}: {cell.printed} = {cell.base_printed} ({cell.base_source})"
        evidence.append(number_check(cell, line if cell in equal else ""))
    num_equal, num_cells = (Counter(cell.method for cell in some) for some in (equal, cells))
    labels = {name: find_method(name).label for name in list_methods()}
    counted = ", ".join(f"{labels.get(one, one)} {num_equal[one]} of {count}" for one, count in num_cells.items())
    statement = (
        f"{count_contradicted(evidence)} of {count_tested(evidence)} scores of tuned models equal the published scores "
        f"of the untouched backbone ({counted}). A method that changes no weight has these scores by construction. The "
        "table does not state whether they were measured along with the other rows."
    )
    return CheckResult(statement, tuple(evidence))


def check_shares(paper: Paper) -> CheckResult:
    """Check which printed numbers are not a rounded share k / n of their number of queries or questions n."""
    checked = [(number, check_share(number)) for number in paper.shares]
    evidence = tuple(
        replace(line, value=f"{line.subject}: {line.value}" if line.verdict == "contradicted" else "")
        for _, line in checked
    )
    columns = {number.column for number, line in checked if line.verdict == "contradicted"}
    num_tested = count_tested(line for number, line in checked if number.column in columns)
    statement = (
        f"{count_contradicted(evidence)} of {num_tested} numbers in {', '.join(sorted(columns)) or 'no column'} are "
        "not a rounded share k / n of the n questions, whether halves are rounded up or to even. Means over runs, or "
        "another number of questions, could explain them."
    )
    return CheckResult(statement, evidence)


def check_sampling_noise(paper: Paper) -> CheckResult:
    """Check which numbers of other methods lie within the 95 % Wilson interval of the paper's own method.

    The interval treats the number as a share of n queries or questions.
    """
    evidence = []
    for cell in paper.table("table3", method=paper.settings["proposed_method"]):
        if not cell.sample_sizes:
            continue
        n = cell.sample_sizes[0]
        low, high = sampling_interval(cell.printed, n, cell.unit)
        for other in other_methods(paper, cell):
            line = f"{other.row} {cell.column}: {other.printed} in [{low:.1f}, {high:.1f}] of {cell.printed}, n = {n:,}"
            evidence.append(number_check(other, line if low <= float(other.printed) <= high else ""))
    statement = (
        f"{count_contradicted(evidence)} of {count_tested(evidence)} numbers of other methods lie within the 95 % "
        "Wilson interval of the proposed method's number, for the number of queries or questions of the test set. "
        "Another sample of this size could cause such a difference. The captions of an image are not independent, so "
        "the true interval for T2I is wider still. A paired test would be more sensitive, but it needs the answers and "
        "ranks, which are not published."
    )
    return CheckResult(statement, tuple(evidence))


def other_methods(paper: Paper, cell: Any) -> list[Any]:
    """Return the numbers of the other methods in Table 3 with the same backbone and column."""
    same_place = paper.table("table3", backbone=cell.backbone, column=cell.column)
    return [other for other in same_place if other.method != cell.method]


def check_test_overlap(paper: Paper) -> CheckResult:
    """Count the COCO test images that are in train2017, the training list that the released code names."""
    if DATASET not in {*paper.benchmarks["dataset"]} or not paper.table("table1"):
        return CheckResult("The paper does not evaluate on COCO.")
    tested, held_out = set(read_id_list(TEST_ID_LISTS[DATASET])), set(read_id_list(HELD_OUT_LIST))
    shared, outside = len(tested - held_out), len(tested & held_out)
    statement = (
        f"train2017 contains {shared:,} of the {len(tested):,} test images of COCO "
        f"({100 * shared / len(tested):.1f} %). The released code trains on a list of that name. It is not known "
        "whether test images were removed from that list."
    )
    line = (
        f"{outside:,} of the {len(tested):,} test images of Karpathy's split are among the {len(held_out):,} images of "
        f"val2017; train2017 consists of all other images: {len(tested):,} - {outside:,} = {shared:,}"
    )
    inside = Evidence("test images in train2017", line, "contradicted", count=shared)
    return CheckResult(statement, (inside, Evidence("test images outside it", "", "supported", count=outside)))
