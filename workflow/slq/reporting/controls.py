"""Table G: methods that differ in one factor, either the read-out or what is tuned, and their differences."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from slq.reporting.costs import parameters_cell
from slq.reporting.interval_tables import DIRECTION_LABELS, SCORE
from slq.reporting.method_comparison import (
    SIGNIFICANCE_LEVEL,
    PairedDifference,
    compare_methods,
    describe_difference,
)
from slq.reporting.notes import cells_by_row, missing_seeds_note
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import TableCell
from slq.results.layout import LayoutEntry, MethodRow
from slq.results.load import Results

METRIC = "R@5"
TABLE_NOTE = (
    "A method has two factors: its read-out, and what is tuned in the language model. Only methods that share one "
    "factor are compared, so that a difference is due to the other. Differences have 95 % confidence intervals, as in "
    f"Table D. Bold: told apart from zero over at least three seeds, with p below {SIGNIFICANCE_LEVEL}, which is not "
    "corrected for the number of cells."
)
Numbers = Sequence[tuple[LayoutEntry, str, str]]  # dataset, direction and metric of each column


def controls_table(results: Results) -> Table:
    """Build Table G: the layout's controls, and the differences between those that share a factor."""
    layout = results.layout
    recalls = [(dataset, direction, METRIC) for dataset in layout.retrieval_datasets for direction in DIRECTION_LABELS]
    numbers = [*recalls, *((dataset, *SCORE) for dataset in layout.retention_datasets)]
    columns = [
        Column(f"{dataset.name} {direction} {metric}", (dataset.label, f"{DIRECTION_LABELS[direction]} {metric}"))
        for dataset, direction, metric in recalls
    ]
    columns += [Column(dataset.name, (dataset.label,)) for dataset in layout.retention_datasets]
    groups = []
    for one in layout.backbones:
        methods = tuple(_method_row(results, one, method, numbers) for method in layout.controls)
        pairs = pairs_in_one_factor(layout.controls)
        differences = tuple(_difference_row(results, one, *pair, numbers) for pair in pairs)
        groups.append(RowGroup(one.name, one.label, methods))
        groups.append(RowGroup(f"{one.name}/differences", f"{one.label}, differences", differences))
    return Table(
        name="controls",
        number="G",
        caption=f"Controls: {METRIC} in percent and scores of methods that differ in one factor.",
        stubs=("Read-out, tuned",),
        columns=(Column("parameters", ("Param.",)), *columns),
        groups=tuple(groups),
        notes=(TABLE_NOTE, *missing_seeds_note(layout, cells_by_row(groups))),
        widths=(6.2, 2.3),
        stacked=True,
    )


def pairs_in_one_factor(methods: Sequence[MethodRow]) -> list[tuple[MethodRow, MethodRow]]:
    """List the pairs of methods that differ in exactly one factor, each with the later method first."""
    pairs = combinations(methods, 2)
    return [
        (late, early)
        for early, late in pairs
        if (early.read_out == late.read_out) != (early.adaptation == late.adaptation)
    ]


def _method_row(results: Results, backbone: LayoutEntry, method: MethodRow, numbers: Numbers) -> TableRow:
    """Build the row of a method: its trained parameters, recalls and scores."""
    cells = [parameters_cell(results, backbone, method.name)]
    for dataset, direction, metric in numbers:
        kind = "retrieval" if direction else "retention"
        cells.append(results.cell(backbone.name, method.name, kind, dataset.name, metric, direction))
    label = f"{method.read_out}, {method.adaptation} ({method.label})"
    return TableRow(f"{backbone.name}/{method.name}", label, tuple(cells))


def _difference_row(
    results: Results, backbone: LayoutEntry, late: MethodRow, early: MethodRow, numbers: Numbers
) -> TableRow:
    """Build the row of two methods that share a factor: the later minus the earlier one."""
    datasets = dict.fromkeys(dataset for dataset, _, _ in numbers)
    found = {dataset: compare_methods(results, backbone, late.name, early.name, dataset) for dataset in datasets}
    cells = [TableCell.missing("the rows above have the numbers of parameters")]
    for dataset, *place in numbers:
        pairs = found[dataset]
        cells.append(pairs if isinstance(pairs, TableCell) else _difference_cell(pairs[place[0], place[1]]))
    other, shared = (late.adaptation, early.adaptation), late.read_out
    if late.adaptation == early.adaptation:
        other, shared = (late.read_out, early.read_out), late.adaptation
    label = f"{other[0]} \N{MINUS SIGN} {other[1]} | {shared}"
    return TableRow(f"{backbone.name}/{late.name} minus {early.name}", label, tuple(cells))


def _difference_cell(pair: PairedDifference) -> TableCell:
    """Build the cell of a difference with its interval, in bold if it is told apart from zero."""
    difference, source, scale, formatter = pair
    cell = TableCell.measured(scale * difference.value, formatter, source, comparable=False)
    is_significant = describe_difference(difference, "") in (" higher", " lower")
    cell = cell.with_interval(scale * difference.low, scale * difference.high, formatter)
    return replace(cell, mark="best") if is_significant else cell
