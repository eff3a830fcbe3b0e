"""Tables 1 and 3 of the paper, filled from stored results, and the list of all tables."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from slq.reporting.costs import gpu_hours_table, hours_cell, hours_header, hours_note, trained_hours
from slq.reporting.extended import extended_table, read_system_facts
from slq.reporting.interval_tables import intervals_table
from slq.reporting.method_comparison import comparisons_table
from slq.reporting.notes import (
    cells_by_row,
    describe_runs,
    disputed_notes,
    missing_seeds_note,
    origin_note,
    trained_on_test_note,
)
from slq.reporting.recall_variants import recall_variants_table
from slq.reporting.recalls import DATASET_LABELS, MARKS_NOTE, RecallColumns, missing_dataset_cell
from slq.reporting.retention import retention_table
from slq.reporting.table_model import Column, RowGroup, Table, TableRow, mark_columns
from slq.results.cells import (
    EMPTY_STATES,
    TableCell,
    common_cell,
    common_value,
    format_parameter_count,
    join_sources,
    mark_best,
    with_numbers,
)
from slq.results.layout import METHODS, DatasetColumn, LayoutEntry, match_paper_columns
from slq.results.load import Results
from slq.results.paper import OTHER_PAPERS, Paper

DIRECTION_ABBREVIATIONS = {"t2i": "IR", "i2t": "TR"}
TABLE3_SCORE_HEADERS = {"mmmu": "MMMU", "realworldqa": "RealWQA", "ocrbench": "OCRBench"}
RANKING_NOTE = "Marks are given within a backbone, among at least two tuned methods."
BASE_NOTE = " Base, the untouched one, has none."
LM_HEAD_NOTE = (
    "Full FT's Param. leave out an LM head that is no embedding: no vector depends on it. The paper's count it."
)
ONE_RUN_NOTE = "Costs are those of one run. Base has no seed: it is one run."


def build_tables(results: Results, reference_folder: Path) -> list[Table]:
    """Build Tables 1 and 3 of a layout, and the tables that extend them.

    Args:
        reference_folder: the folder of the paper's values

    Raises:
        SlqError: a file that exists is malformed, incomplete or belongs to another run.
    """
    tables = ["table1", "table3", *([OTHER_PAPERS] if (reference_folder / f"{OTHER_PAPERS}.csv").exists() else [])]
    paper = Paper(reference_folder, results.root, tables=tables)
    return [
        table1(results, paper),
        table3(results, paper),
        gpu_hours_table(results, paper),
        retention_table(results),
        intervals_table(results),
        comparisons_table(results),
        recall_variants_table(results),
        extended_table(results, paper, read_system_facts(reference_folder, results.root)),
    ]


def table1(results: Results, paper: Paper) -> Table:
    """Build Table 1: retrieval of the paper's baselines (quoted) and of SLQ (ours)."""
    columns = RecallColumns(results, paper)
    models_by_group = {group: models for group, models in paper.models_by_group("table1").items() if group != "Ours"}
    rows = [
        TableRow(model, model, columns.quoted_cells("table1", model))
        for models in models_by_group.values()
        for model in models
    ]
    for backbone in results.layout.backbones:
        cells = columns.result_cells(partial(results.cell, backbone.name, "slq", "retrieval"))
        rows.append(TableRow(f"{backbone.name}/slq", f"SLQ ({backbone.label})", cells))
    marked_rows = iter(mark_columns(rows, lambda _, cells: mark_best(cells)))
    groups = [
        RowGroup(label, label, tuple(islice(marked_rows, len(models)))) for label, models in models_by_group.items()
    ]
    groups.append(RowGroup("Ours", "Ours", tuple(marked_rows)))
    return Table(
        name="table1",
        number="1",
        caption=f"Retrieval on {columns.dataset_labels}: the share of queries, in percent, whose best positive ranks "
        f"within K (R@K). {describe_runs(results.layout)}",
        stubs=("Model",),
        columns=columns.table_columns(),
        groups=tuple(groups),
        notes=(
            *columns.notes(),
            *trained_on_test_note(results),
            *missing_seeds_note(results.layout, cells_by_row(groups)),
        ),
    )


def table3(results: Results, paper: Paper) -> Table:
    """Build Table 3: cost, recall and retention scores of the tuning methods, within each backbone."""
    retrieval_columns = match_paper_columns(results.layout.retrieval_datasets, paper.datasets("table3", "retrieval"))
    retention_columns = match_paper_columns(results.layout.retention_datasets, paper.datasets("table3", "retention"))
    hours = trained_hours(results)
    lm_head_note = (LM_HEAD_NOTE,) if "full_ft" in results.layout.methods else ()
    one_run_note = (ONE_RUN_NOTE,) if results.layout.has_several_seeds else ()
    groups = tuple(
        _backbone_group(results, backbone, retrieval_columns, retention_columns)
        for backbone in results.layout.backbones
    )
    return Table(
        name="table3",
        number="3",
        caption=f"Tuning strategies: parameters trained, training cost, recall at 5 in percent (IR: text to image, TR: "
        f"image to text), and the scores of the tuned backbone. {describe_runs(results.layout)}",
        stubs=("Backbone", "Method"),
        shared=(Column("dim", ("Dim.",)),),
        columns=_table3_columns(hours_header(hours), retrieval_columns, retention_columns),
        groups=groups,
        notes=(
            MARKS_NOTE,
            RANKING_NOTE + BASE_NOTE * results.layout.table3_base,
            *trained_on_test_note(results),
            *lm_head_note,
            *one_run_note,
            *hours_note(hours),
            *origin_note(results),
            *disputed_notes(results),
            *missing_seeds_note(results.layout, cells_by_row(groups)),
        ),
    )


def _table3_columns(
    hours_label: str, retrieval_columns: Sequence[DatasetColumn], retention_columns: Sequence[DatasetColumn]
) -> tuple[Column, ...]:
    recall_headers = [
        Column(f"{column.key} {direction} R@5", (column.header(DATASET_LABELS), name))
        for column in retrieval_columns
        for direction, name in DIRECTION_ABBREVIATIONS.items()
    ]
    score_headers = [Column(column.key, (column.header(TABLE3_SCORE_HEADERS),)) for column in retention_columns]
    return (Column("parameters", ("Param.",)), Column("hours", (hours_label,)), *recall_headers, *score_headers)


def _backbone_group(
    results: Results,
    backbone: LayoutEntry,
    retrieval_columns: Sequence[DatasetColumn],
    retention_columns: Sequence[DatasetColumn],
) -> RowGroup:
    """Build the rows of a backbone, with the best values marked."""
    methods = [method for method in METHODS if results.layout.table3_base or method != "base"]
    rows = [_method_row(results, backbone, method, retrieval_columns, retention_columns) for method in methods]
    return RowGroup(backbone.name, backbone.label, mark_columns(rows, _mark_column), (_width_cell(results, backbone),))


def _mark_column(column_index: int, cells: Sequence[TableCell]) -> Sequence[TableCell]:
    """Mark the best cells of a column of one backbone; in the first two columns, the costs, lower is better."""
    ranked_cells = [cell for cell in cells if cell.comparable and cell.state not in EMPTY_STATES]
    return mark_best(cells, higher_is_better=column_index > 1) if len(ranked_cells) > 1 else cells


def _method_row(
    results: Results,
    backbone: LayoutEntry,
    method: str,
    retrieval_columns: Sequence[DatasetColumn],
    retention_columns: Sequence[DatasetColumn],
) -> TableRow:
    """Build the row of a method: parameters, hours, recalls, scores."""
    recalls = [
        _metric_cell(results, backbone, method, "retrieval", column, "R@5", direction)
        for column in retrieval_columns
        for direction in DIRECTION_ABBREVIATIONS
    ]
    scores = [_metric_cell(results, backbone, method, "retention", column, "score") for column in retention_columns]
    cells = [_parameters_cell(results, backbone, method), hours_cell(results, backbone, method), *recalls, *scores]
    if method == "base":
        costs = [replace(cell, n=None) for cell in cells[:2]]  # nothing is trained, whatever ran
        cells = [replace(cell, comparable=False) for cell in (*costs, *cells[2:])]
    return TableRow(f"{backbone.name}/{method}", METHODS[method], tuple(cells))


def _metric_cell(
    results: Results, backbone: LayoutEntry, method: str, kind: str, column: DatasetColumn, *number: str
) -> TableCell:
    """Build the cell of a method's metric on one dataset."""
    if column.dataset is None:
        return missing_dataset_cell(results, column)
    return results.cell(backbone.name, method, kind, column.dataset.name, *number)


def _parameters_cell(results: Results, backbone: LayoutEntry, method: str) -> TableCell:
    """Build the cell with the number of parameters that a method trains, which must be the same for all seeds."""
    found = with_numbers(results.rows(backbone.name, method, "run", "", "parameters"))
    trained = common_value(found)
    if trained is None or method == "base":
        return results.cell(backbone.name, method, "run", "", "parameters")
    return TableCell.measured(trained, format_parameter_count, join_sources(found), n=len(found))


def _width_cell(results: Results, backbone: LayoutEntry) -> TableCell:
    """Build the cell for the paper's "Dim.", the hidden size, which must be the same for all runs of the backbone."""
    rows = [row for method in METHODS for row in results.rows(backbone.name, method, "run", "", "hidden_size")]
    return common_cell(rows, f"no run of {backbone.name} exists")
