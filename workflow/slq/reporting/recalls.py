"""Columns of Table 1: recalls by dataset and direction."""

from collections.abc import Callable, Iterable
from itertools import product

from slq.evaluation.reference_recalls import RECALL_METRICS
from slq.reporting.table_model import Column
from slq.results.cells import TableCell, common_value, with_numbers
from slq.results.layout import DatasetColumn, match_paper_columns
from slq.results.load import Results, as_rows
from slq.results.paper import Paper

DIRECTION_HEADERS = {"i2t": "Image → Text", "t2i": "Text → Image"}
DATASET_HEADERS = {"flickr30k": "Flickr30K (1K test set)", "coco": "COCO (5K test set)"}
DATASET_LABELS = {"flickr30k": "Flickr30K", "coco": "COCO"}
MARKS_NOTE = "Bold: best; underlined: second-best; values that are equal as printed share a mark."


class RecallColumns:
    """Recall columns of Table 1: the paper's retrieval datasets in the paper's order, then our additional datasets.

    A stand-in dataset of ours takes the place of the paper's dataset.
    """

    def __init__(self, results: Results, paper: Paper) -> None:
        """Match our retrieval datasets with the columns of the paper's Table 1."""
        self.results, self.paper = results, paper
        self.paper_datasets = paper.datasets("table1", "retrieval")
        self.dataset_columns = match_paper_columns(results.layout.retrieval_datasets, self.paper_datasets)
        self.column_keys = [*product(self.dataset_columns, DIRECTION_HEADERS, RECALL_METRICS)]
        self.dataset_labels = join_dataset_labels(self.dataset_columns)

    def table_columns(self, *baselines: str) -> tuple[Column, ...]:
        """Build the columns, headed by the datasets and, if results record it, their number of images.

        Args:
            baselines: further systems whose files are searched for the number of images

        Raises:
            SlqError: two files of a dataset disagree on its number of images.
        """
        backbones = [one.name for one in self.results.layout.backbones]
        numbers = self.results.numbers
        counts = numbers[(numbers["metric"] == "images") & numbers["backbone"].isin([*backbones, *baselines])]
        rows = with_numbers(as_rows(counts))
        headers = {}
        for column in self.dataset_columns:
            images = common_value([row for row in rows if row.dataset == column.key])
            headers[column.key] = _header_with_image_count(column, images)
        return tuple(
            Column(f"{column.key} {direction} {recall}", (headers[column.key], DIRECTION_HEADERS[direction], recall))
            for column, direction, recall in self.column_keys
        )

    def result_cells(self, cell_of: Callable[[str, str, str], TableCell]) -> tuple[TableCell, ...]:
        """Build the cells of one of our rows; a column without a dataset gets a missing cell.

        Args:
            cell_of: makes a cell, given the name of a dataset, a recall and a direction
        """
        return tuple(
            cell_of(column.dataset.name, recall, direction)
            if column.dataset
            else missing_dataset_cell(self.results, column)
            for column, direction, recall in self.column_keys
        )

    def quoted_cells(self, table: str, model: str) -> tuple[TableCell, ...]:
        """Build the cells of a published row; cells are ranked against ours only if both use the same dataset."""
        missing = TableCell.missing(f"no number of {model} is published for this column")
        cells = []
        for column, direction, recall in self.column_keys:
            same_dataset = column.dataset is not None and column.dataset.is_from_paper
            place = (table, model, f"{column.paper_column} {direction} {recall}")
            cells.append(self.paper.cell(*place, comparable=same_dataset) or missing)
        return tuple(cells)

    def notes(self) -> tuple[str, ...]:
        """Write the notes that explain the marks, and name the quoted numbers that are not ranked."""
        others = [one for one in self.dataset_columns if one.dataset and not one.dataset.is_from_paper]
        stand_ins = [one for one in others if one.paper_column in self.paper_datasets]
        if not stand_ins:
            return (MARKS_NOTE,)
        paper_labels = " and ".join(DATASET_LABELS.get(one.paper_column, one.paper_column) for one in stand_ins)
        note = f"Quoted values were measured on the paper's own {paper_labels}, not on {join_dataset_labels(stand_ins)}"
        return (MARKS_NOTE, f"{note}, so they are not ranked.")


def _header_with_image_count(column: DatasetColumn, images: float | None) -> str:
    """Return the header of a dataset, with its number of images if results record it."""
    if column.dataset is None or images is None:
        return column.header(DATASET_HEADERS)
    count = f"{images / 1000:.0f}K" if images % 1000 == 0 else f"{images:.0f}"
    return f"{column.dataset.label} ({count} test images)"


def missing_dataset_cell(results: Results, column: DatasetColumn) -> TableCell:
    """Return the missing cell for a column of the paper for which the layout has no dataset."""
    return TableCell.missing(f"preset {results.layout.preset} has no dataset that stands for {column.paper_column}")


def join_dataset_labels(columns: Iterable[DatasetColumn]) -> str:
    """Join the names of the datasets with `and`."""
    return " and ".join(column.header(DATASET_LABELS) for column in columns)
