"""Cells: how numbers print, and which of them are marked best and second-best."""

import itertools
import random

import pytest

from slq.results.cells import (
    TableCell,
    format_hours,
    format_integer,
    format_one_decimal,
    format_parameter_count,
    mark_best,
    parse_printed_number,
)


def measured(*values: float) -> list[TableCell]:
    return [TableCell.measured(value, format_one_decimal, "file") for value in values]


def marks(cells: list[TableCell], higher_is_better: bool = True) -> list[str]:
    return [cell.mark for cell in mark_best(cells, higher_is_better)]


def naive_marks(cells: list[TableCell], higher_is_better: bool) -> list[str]:
    """Oracle: a comparable cell is best if none beats it, and second if only best ones do."""
    part = [cell for cell in cells if cell.comparable and cell.state != "missing"]
    sign = 1 if higher_is_better else -1

    def beaten_by(cell: TableCell, others: list[TableCell]) -> list[TableCell]:
        return [other for other in others if sign * float(other.text) > sign * float(cell.text)]

    best = [cell for cell in part if not beaten_by(cell, part)]
    rest = [cell for cell in part if beaten_by(cell, part)]
    second = [cell for cell in rest if not beaten_by(cell, rest)]

    def mark(cell: TableCell) -> str:
        return "best" if any(cell is one for one in best) else "second" if any(cell is one for one in second) else ""

    return [mark(cell) for cell in cells]


def test_rank_agrees_with_the_naive_definition() -> None:
    draw = random.Random(0)
    for _ in range(500):
        cells = measured(*(draw.choice([1.0, 1.04, 1.06, 2.0, 3.0]) for _ in range(draw.randint(1, 6))))
        cells += [TableCell.missing("none"), TableCell.quoted(9.0, "9.0", "paper", comparable=draw.random() < 0.5)]
        draw.shuffle(cells)
        for higher in (True, False):
            assert marks(cells, higher) == naive_marks(cells, higher)


def test_values_that_print_alike_share_a_mark() -> None:
    assert marks(measured(95.04, 95.01, 94.9)) == ["best", "best", "second"]


def test_second_best_is_the_next_distinct_value() -> None:
    assert marks(measured(3, 3, 2, 2, 1)) == ["best", "best", "second", "second", ""]


def test_less_can_be_better() -> None:
    assert marks(measured(3, 1, 2), higher_is_better=False) == ["", "best", "second"]


@pytest.mark.parametrize("values", [(5.0,), (5.0, 5.0, 5.0)])
def test_a_lone_cell_and_equal_cells_are_best(values: tuple[float, ...]) -> None:
    assert set(marks(measured(*values))) == {"best"}


def test_missing_and_incomparable_cells_take_no_part() -> None:
    cells = [TableCell.missing("none"), TableCell.quoted(99.0, "99.0", "paper"), *measured(1, 2)]
    assert marks(cells) == ["", "", "second", "best"]


def test_rank_of_nothing_marks_nothing() -> None:
    assert mark_best([]) == []
    assert marks([TableCell.missing("none")]) == [""]


def test_rank_compares_across_units() -> None:
    cells = [TableCell.measured(value, format_parameter_count, "file") for value in (950_123, 1_025, 4_400_000, 12)]
    assert marks(cells, higher_is_better=False) == ["", "second", "", "best"]


def test_the_states_are_what_they_say() -> None:
    cells = [
        TableCell.measured(1, format_integer, "a"),
        TableCell.measured_text("H200", "a"),
        TableCell.quoted(1, "1", "b"),
    ]
    cells += [TableCell.inherited(0, format_integer, "c"), TableCell.missing("d")]
    assert [cell.state for cell in cells] == ["measured", "measured", "quoted", "inherited", "missing"]
    assert [cell.value is None for cell in cells] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12, "12"),
        (999, "999"),
        (1_025, "1.0k"),
        (9_949, "9.9k"),
        (9_950, "10k"),
        (35_841, "36k"),
        (999_499, "999k"),
        (999_600, "1.0M"),
        (4_399_104, "4.4M"),
        (16_515_072, "16.5M"),
        (99_960_000, "0.1B"),
        (630_000_000, "0.6B"),
        (7_613_000_000, "7.6B"),
    ],
)
def test_parameters_print_like_the_papers(value: float, text: str) -> None:
    assert format_parameter_count(value) == text
    assert parse_printed_number(text) == pytest.approx(value, rel=0.1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0"),
        (0.000034, "0.000034"),
        (0.0344, "0.034"),
        (0.5, "0.50"),
        (0.994, "0.99"),
        (0.996, "1.0"),
        (3.9, "3.9"),
        (403.84, "403.8"),
    ],
)
def test_hours_keep_two_digits_when_small(value: float, text: str) -> None:
    assert format_hours(value) == text


def test_parameters_and_hours_never_shrink_in_print() -> None:
    for form, top in ((format_parameter_count, 10), (format_hours, 4)):
        values = [10 ** (power / 50) for power in range(-150, top * 50)]
        shown = [parse_printed_number(form(value)) for value in values]
        assert all(left <= right for left, right in itertools.pairwise(shown))


def test_a_word_is_no_printed_number() -> None:
    with pytest.raises(ValueError, match="H200"):
        parse_printed_number("H200")
