"""Tables 1 and 3 of the paper, filled with stored results, and the list of all tables."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from slq.methods.registry import BASE
from slq.reporting.controls import controls_table
from slq.reporting.costs import (
    gpu_hours_table,
    hours_cell,
    hours_header,
    hours_note,
    parameters_cell,
    trained_hours,
)
from slq.reporting.extended import extended_table, read_system_facts
from slq.reporting.interval_tables import intervals_table
from slq.reporting.method_comparison import comparisons_table
from slq.reporting.notes import (
    cells_by_row,
    describe_runs,
    disputed_notes,
    missing_seeds_note,
    older_code_note,
    origin_note,
    trained_on_test_note,
)
from slq.reporting.rates import rates_table
from slq.reporting.recall_variants import recall_variants_table
from slq.reporting.recalls import DATASET_LABELS, MARKS_NOTE, RecallColumns, missing_dataset_cell
from slq.reporting.retention import retention_table
from slq.reporting.table_model import Column, RowGroup, Table, TableRow, mark_columns, mark_groups
from slq.results.base_check import compare_base_scores, relative_note
from slq.results.cells import (
    EMPTY_STATES,
    TableCell,
    common_cell,
    mark_best,
)
from slq.results.layout import DatasetColumn, LayoutEntry, ReportLayout, match_paper_columns
from slq.results.load import Results
from slq.results.paper import OTHER_PAPERS, OWN_GROUP, Paper

DIRECTION_ABBREVIATIONS = {"t2i": "IR", "i2t": "TR"}
TABLE3_SCORE_HEADERS = {"mmmu": "MMMU", "realworldqa": "RealWQA", "ocrbench": "OCRBench"}
RANKING_NOTE = "Marks compare the tuned methods of one backbone, if it has at least two."
BASE_NOTE = " Base, the untouched backbone, has no marks."
LM_HEAD_NOTE = (
    "Param. of {} excludes an LM head that is not tied to the embedding, because no retrieval vector depends on it; "
    "the paper's numbers include it."
)
ONE_SET_NOTE = (
    "Scores are those of the weights that also retrieve: one set of weights does both. If a tuned method's weights are "
    "detached for generation, the answers are those of base."
)
MakeCell = Callable[[str, str], TableCell]  # of a backbone and a method
ONE_RUN_NOTE = "Costs are per run. Base has no seed and only one run."


def build_tables(results: Results, reference_folder: Path) -> list[Table]:
    """Build Tables 1 and 3 for a layout, and the tables that extend them.

    Args:
        reference_folder: the folder of the paper's values
    """
    printed = [
        "table1",
        "table3",
        "base_scores",
        *([OTHER_PAPERS] if (reference_folder / f"{OTHER_PAPERS}.csv").exists() else []),
    ]
    paper = Paper(reference_folder, results.root, tables=printed)
    tables = [
        table1(results, paper),
        table3(results, paper),
        gpu_hours_table(results, paper),
        retention_table(results),
        intervals_table(results),
        comparisons_table(results),
        recall_variants_table(results),
        rates_table(results),
        *([controls_table(results)] if results.layout.controls else []),
        extended_table(results, paper, read_system_facts(reference_folder)),
    ]
    return [_with_seeds(table, results.layout) for table in tables]


def _with_seeds(table: Table, layout: ReportLayout) -> Table:
    """Add the preset and its seeds to a table's caption, and the note on the code of its numbers."""
    caption = f"{table.caption} {describe_runs(layout, table.several_seeds)}"
    return replace(table, caption=caption, notes=(*table.notes, *older_code_note(layout)))


def table1(results: Results, paper: Paper) -> Table:
    """Build Table 1: retrieval results of the paper's baselines (quoted) and of the proposed method (measured)."""
    columns = RecallColumns(results, paper)
    groups = []
    for label, models in paper.models_by_group("table1").items():
        rows = [TableRow(model, model, columns.quoted_cells("table1", model)) for model in models]
        groups.append(RowGroup(label, label, tuple(rows)))
    rows = []
    for backbone in results.layout.backbones:
        method = results.layout.proposed_method
        cells = columns.result_cells(partial(results.cell, backbone.name, method, "retrieval"))
        rows.append(TableRow(f"{backbone.name}/{method}", f"{results.layout.labels[method]} ({backbone.label})", cells))
    groups.append(RowGroup(OWN_GROUP, OWN_GROUP, tuple(rows)))
    return Table(
        name="table1",
        number="1",
        caption=f"Retrieval on {columns.dataset_labels}: the share of queries, in percent, whose best positive ranks "
        "within the top K (R@K).",
        stubs=("Model",),
        columns=columns.table_columns(),
        groups=mark_groups(groups),
        notes=(
            *columns.notes(),
            *trained_on_test_note(results),
            *missing_seeds_note(results.layout, cells_by_row(groups)),
        ),
    )


def table3(results: Results, paper: Paper) -> Table:
    """Build Table 3: costs, recalls and retention scores of the tuning methods, grouped by backbone."""
    hours, layout = trained_hours(results), results.layout
    numbers = _number_columns(results, paper)
    groups = tuple(_backbone_group(results, backbone, numbers.values()) for backbone in layout.backbones)
    return Table(
        name="table3",
        number="3",
        caption="Tuning strategies: trained parameters, training cost, recall at 5 in percent (IR: text to image, TR: "
        "image to text), and scores of the tuned backbone.",
        stubs=("Backbone", "Method"),
        shared=(Column("dim", ("Dim.",)),),
        columns=(Column("parameters", ("Param.",)), Column("hours", (hours_header(hours),)), *numbers),
        groups=groups,
        notes=(
            MARKS_NOTE,
            RANKING_NOTE + BASE_NOTE * layout.table3_base,
            *trained_on_test_note(results),
            *(LM_HEAD_NOTE.format(layout.labels[one]) for one in layout.methods if one == layout.cost_baseline),
            *((ONE_RUN_NOTE,) if layout.has_several_seeds else ()),
            *hours_note(hours),
            *((ONE_SET_NOTE,) if layout.retention_datasets else ()),
            *origin_note(results),
            *disputed_notes(results),
            *filter(None, [relative_note(compare_base_scores(results, paper))]),
            *missing_seeds_note(layout, cells_by_row(groups)),
        ),
    )


def _number_columns(results: Results, paper: Paper) -> dict[Column, MakeCell]:
    """Return the columns of recalls and scores, each with the function that makes its cells."""
    layout, columns = results.layout, dict[Column, MakeCell]()
    for column in match_paper_columns(layout.retrieval_datasets, paper.datasets("table3", "retrieval")):
        for direction, name in DIRECTION_ABBREVIATIONS.items():
            head = Column(f"{column.key} {direction} R@5", (column.header(DATASET_LABELS), name))
            columns[head] = partial(_number_cell, results, column, "retrieval", ("R@5", direction))
    for column in match_paper_columns(layout.retention_datasets, paper.datasets("table3", "retention")):
        head = Column(column.key, (column.header(TABLE3_SCORE_HEADERS),))
        columns[head] = partial(_number_cell, results, column, "retention", ("score",))
    return columns


def _number_cell(
    results: Results, column: DatasetColumn, kind: str, metric: tuple[str, ...], backbone: str, method: str
) -> TableCell:
    if column.dataset is None:
        return missing_dataset_cell(results, column)
    return results.cell(backbone, method, kind, column.dataset.name, *metric)


def _backbone_group(results: Results, backbone: LayoutEntry, numbers: Iterable[MakeCell]) -> RowGroup:
    """Build the rows of a backbone and mark the best values."""
    rows, layout = [], results.layout
    for method in layout.labels if layout.table3_base else layout.trained_methods:
        costs = [parameters_cell(results, backbone, method), hours_cell(results, backbone, method)]
        cells = [make_cell(backbone.name, method) for make_cell in numbers]
        if method == BASE:  # trains nothing, so its costs depend on no run and nothing is ranked
            costs = [replace(cell, n=None, comparable=False) for cell in costs]
            cells = [replace(cell, comparable=False) for cell in cells]
        rows.append(TableRow(f"{backbone.name}/{method}", layout.labels[method], (*costs, *cells)))
    widths = [row for method in layout.labels for row in results.rows(backbone.name, method, "run", "", "hidden_size")]
    width = common_cell(widths, f"no run of {backbone.name} exists")  # the paper's "Dim."
    return RowGroup(backbone.name, backbone.label, mark_columns(rows, _mark_column), (width,))


def _mark_column(column_index: int, cells: Sequence[TableCell]) -> Sequence[TableCell]:
    """Mark the best cells of a column within a backbone; in the first two columns, the costs, lower is better."""
    ranked_cells = [cell for cell in cells if cell.comparable and cell.state not in EMPTY_STATES]
    return mark_best(cells, higher_is_better=column_index > 1) if len(ranked_cells) > 1 else cells
