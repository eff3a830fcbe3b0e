"""A table as text: aligned, no wider than a terminal, each state of a cell visible."""

from dataclasses import replace

from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.reporting.text_table import fold_table, format_text_table
from slq.results.cells import TableCell


def number(value, **changes):
    return replace(TableCell.measured(value, "{:.1f}".format, "run.json"), **changes)


def test_labels_stand_left_numbers_right_and_a_header_over_its_columns():
    inherited = TableCell.inherited(50.0, "{:.1f}".format, "equivalence.json")
    rows = (
        TableRow("b/base", "Base", (number(7.5), number(100.0), TableCell.missing("no run"))),
        TableRow("b/slq", "SLQ, ours", (number(64.5, spread="0.5"), TableCell.stale("edited"), inherited)),
    )
    table = Table(
        name="table3",
        number="3",
        caption="",
        stubs=("Backbone", "Method"),
        shared=(Column("dim", ("Dim.",)),),
        columns=(
            Column("a", ("a long dataset", "IR")),
            Column("b", ("a long dataset", "TR")),
            Column("c", ("mini-MMMU",)),
        ),
        groups=(RowGroup("b", "Mini", rows, (number(128.0),)),),
        notes=(),
    )
    assert format_text_table(table).splitlines() == [
        "                             a long dataset   mini-",
        "Backbone   Dim.  Method            IR     TR   MMMU",
        "---------------------------------------------------",
        "Mini      128.0  Base             7.5  100.0      \u2013",
        "                 SLQ, ours  64.5 ±0.5      †  50.0=",
    ]


TABLE = """
                             a long dataset   mini-
Backbone   Dim.  Method            IR     TR   MMMU
---------------------------------------------------
Mini      128.0  Base             7.5  100.0      \u2013
                 SLQ, ours  64.5 ±0.5      †  50.0=
""".strip("\n").splitlines()


def test_a_table_wider_than_the_terminal_is_split_between_headers_and_each_part_has_the_labels():
    assert fold_table(TABLE, 51, num_labels=3) == TABLE
    assert fold_table(TABLE, 50, num_labels=3) == [
        "                             a long dataset",
        "Backbone   Dim.  Method            IR     TR",
        "--------------------------------------------",
        "Mini      128.0  Base             7.5  100.0",
        "                 SLQ, ours  64.5 ±0.5      †",
        "",
        "                            mini-",
        "Backbone   Dim.  Method      MMMU",
        "---------------------------------",
        "Mini      128.0  Base           \u2013",
        "                 SLQ, ours  50.0=",
    ]
