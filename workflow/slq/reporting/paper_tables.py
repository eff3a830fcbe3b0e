"""Tables 1 and 3 of the paper, filled from stored results, and the list of all tables."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from slq.common.errors import SlqError
from slq.methods.registry import BASE
from slq.reporting.costs import all_costs, gpu_hours_table, hours_cell, hours_header, hours_note
from slq.reporting.extended import PublishedSystems, extended_table
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
from slq.reporting.recalls import DATASET_LABELS, MARKS_NOTE, PaperTables, RecallColumns, missing_dataset_cell
from slq.reporting.retention import retention_table
from slq.reporting.table_model import Column, RowGroup, Table, TableRow, mark_columns
from slq.results.cells import (
    EMPTY_STATES,
    Formatter,
    TableCell,
    format_integer,
    format_one_decimal,
    format_parameter_count,
    mark_best,
)
from slq.results.layout import DatasetColumn, LayoutEntry, match_paper_columns
from slq.results.records import Results, common_number, joined_sources

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
    paper = PaperTables(reference_folder, results.root)
    main_tables = [
        table1(results, paper),
        table3(results, paper),
        gpu_hours_table(results, paper),
        retention_table(results),
    ]
    evidence_tables = [intervals_table(results), comparisons_table(results), recall_variants_table(results)]
    return [
        *main_tables,
        *evidence_tables,
        extended_table(results, paper, PublishedSystems.read(reference_folder, results.root)),
    ]


def table1(results: Results, paper: PaperTables) -> Table:
    """Build Table 1: retrieval of the paper's baselines (quoted) and of SLQ (ours)."""
    columns = RecallColumns(results, paper)
    paper_groups = {group: models for group, models in paper.recalls.models_by_group.items() if group != "Ours"}
    rows = [
        TableRow(model, model, columns.quoted_cells(paper.recalls, model))
        for models in paper_groups.values()
        for model in models
    ]
    for backbone in results.layout.backbones:
        cells = columns.result_cells(partial(_recall_cell, results, backbone.name))
        method = results.layout.proposed_method
        rows.append(TableRow(f"{backbone.name}/{method}", f"{results.layout.labels[method]} ({backbone.label})", cells))
    marked_rows = iter(mark_columns(rows, lambda _, cells: mark_best(cells)))
    groups = [RowGroup(label, label, tuple(islice(marked_rows, len(models)))) for label, models in paper_groups.items()]
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


def _recall_cell(results: Results, backbone: str, file_name: str, direction: str, metric: str) -> TableCell:
    return results.mean_cell(
        backbone, results.layout.proposed_method, file_name, ("metrics", direction, metric), format_one_decimal
    )


def table3(results: Results, paper: PaperTables) -> Table:
    """Build Table 3: cost, recall and retention scores of the tuning methods, within each backbone."""
    retrieval_columns = match_paper_columns(results.layout.retrieval_datasets, paper.table3_retrieval_datasets())
    retention_columns = match_paper_columns(results.layout.retention_datasets, paper.table3_retention_datasets())
    costs = all_costs(results)
    lm_head_note = (LM_HEAD_NOTE,) if results.layout.cost_baseline in results.layout.methods else ()
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
        columns=_table3_columns(hours_header(costs), retrieval_columns, retention_columns),
        groups=groups,
        notes=(
            MARKS_NOTE,
            RANKING_NOTE + BASE_NOTE * results.layout.table3_base,
            *trained_on_test_note(results),
            *lm_head_note,
            *one_run_note,
            *hours_note(costs),
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
    methods = results.layout.labels if results.layout.table3_base else results.layout.trained_methods
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
        _metric_cell(results, backbone, method, "retrieval", column, (direction, "R@5"), format_one_decimal)
        for column in retrieval_columns
        for direction in DIRECTION_ABBREVIATIONS
    ]
    # OCRBench counts hits of 1,000; the others are percent.
    formatters = [
        format_integer if column.dataset and column.dataset.is_scored_in_hits else format_one_decimal
        for column in retention_columns
    ]
    scores = [
        _metric_cell(results, backbone, method, "retention", column, ("score",), formatter)
        for column, formatter in zip(retention_columns, formatters, strict=True)
    ]
    cells = [
        _trained_parameters_cell(results, backbone, method),
        hours_cell(results, backbone, method),
        *recalls,
        *scores,
    ]
    if method == BASE:
        cells = [replace(cell, comparable=False) for cell in cells]
    return TableRow(f"{backbone.name}/{method}", results.layout.labels[method], tuple(cells))


def _metric_cell(
    results: Results,
    backbone: LayoutEntry,
    method: str,
    kind: str,
    column: DatasetColumn,
    keys: Sequence[str],
    formatter: Formatter,
) -> TableCell:
    """Build the cell of a method's metric on one dataset."""
    if column.dataset is None:
        return missing_dataset_cell(results, column)
    return results.mean_cell(backbone.name, method, f"{kind}/{column.dataset.name}.json", ("metrics", *keys), formatter)


def _trained_parameters_cell(results: Results, backbone: LayoutEntry, method: str) -> TableCell:
    """Build the cell with the number of parameters that a method trains, which must be the same for all seeds."""
    runs = results.run_records(backbone.name, method)
    trained = common_number(runs, "parameters", "trainable")
    if trained is None:
        return results.missing_cell(backbone.name, method, "run.json")
    if method != BASE:
        return TableCell.measured(trained, format_parameter_count, joined_sources(runs), n=len(runs))
    if trained != 0:
        raise SlqError(f"{runs[0].path}: key parameters.trainable is {trained:g}; expected 0, as base trains nothing")
    return TableCell.inherited(0, format_parameter_count, f"nothing is trained: {joined_sources(runs)}")


def _width_cell(results: Results, backbone: LayoutEntry) -> TableCell:
    """Build the cell for the paper's "Dim.", the hidden size, which must be the same for all runs of the backbone."""
    runs = [run for method in results.layout.labels for run in results.run_records(backbone.name, method)]
    width = common_number(runs, "hidden_size")
    if width is None:
        return TableCell.missing(f"no run of {backbone.name} exists")
    return TableCell.measured(width, format_integer, joined_sources(runs), comparable=False)
