"""Tables 1 and 3 as the paper prints them, and the columns of Table 1: recalls by dataset and direction."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from slq.reporting.interval_tables import RECALL_METRICS
from slq.reporting.table_model import Column
from slq.results.cells import TableCell
from slq.results.layout import DatasetColumn, match_paper_columns
from slq.results.records import (
    COST_COLUMNS,
    TABLE1_COLUMNS,
    TABLE3_COLUMNS,
    Record,
    Results,
    common_number,
    read_rows_with_sources,
    relative_path,
)

DIRECTION_HEADERS = {"i2t": "Image → Text", "t2i": "Text → Image"}
DATASET_HEADERS = {"flickr30k": "Flickr30K (1K test set)", "coco": "COCO (5K test set)"}
DATASET_LABELS = {"flickr30k": "Flickr30K", "coco": "COCO"}
MARKS_NOTE = "Bold: best; underlined: second-best; values that print alike share a mark."


@dataclass(frozen=True)
class PublishedRecalls:
    """Published recalls.

    Attributes:
        models_by_group: models under their headings, in order
        cells: cells by model, dataset, direction and metric
        sources: for each model the file with its numbers, and the source that the file names
    """

    models_by_group: dict[str, list[str]]
    cells: dict[tuple[str, ...], TableCell]
    sources: dict[str, str]

    @classmethod
    def read_csv(cls, path: Path, root: Path) -> "PublishedRecalls":
        """Read a CSV in the format of `table1.csv`; errors as in `slq.common.files.read_csv_rows`."""
        found = cls({}, {}, {})
        for row, source in read_rows_with_sources(path, TABLE1_COLUMNS, root):
            model = row["model"]
            key = (model, row["dataset"], row["direction"], row["metric"])
            found.cells[key] = _quoted_cell(row["value"], row["value"], source)
            models = found.models_by_group.setdefault(row["group"], [])
            if model not in models:
                models.append(model)
            found.sources[model] = f"{relative_path(path, root)} ({row['source']})"
        return found


class PaperTables:
    """The paper's Tables 1 and 3, read from a folder with `table1.csv` and `table3.csv`."""

    def __init__(self, folder: Path, root: Path) -> None:
        """Read both tables; errors as in `slq.common.files.read_csv_rows`.

        Args:
            folder: the folder of the two files
            root: the folder that sources are relative to
        """
        self.recalls = PublishedRecalls.read_csv(folder / "table1.csv", root)
        self.table3 = {
            (row["backbone"], row["method"], row["column"]): _quoted_cell(row["value"], row["printed"], source)
            for row, source in read_rows_with_sources(folder / "table3.csv", TABLE3_COLUMNS, root)
        }

    def table1_retrieval_datasets(self) -> list[str]:
        """List Table 1's retrieval datasets, in its order."""
        return list(dict.fromkeys(name for _, name, _, _ in self.recalls.cells))

    def table3_retrieval_datasets(self) -> list[str]:
        """List Table 3's retrieval datasets, in its order; their columns are named `<dataset>_<direction>_<metric>`."""
        return list(dict.fromkeys(name.split("_")[0] for _, _, name in self.table3 if name.count("_") == 2))

    def table3_retention_datasets(self) -> list[str]:
        """List Table 3's retention datasets, in its order."""
        columns = dict.fromkeys(name for _, _, name in self.table3)
        return [name for name in columns if name.count("_") != 2 and name not in COST_COLUMNS]


def _quoted_cell(value: str, printed: str, source: str) -> TableCell:
    """Build the cell of a number as the paper prints it, or a missing cell where the paper prints a dash."""
    if not value:
        return TableCell.missing(f"{source}: the paper prints a dash")
    return TableCell.quoted(float(value), printed, source)


class RecallColumns:
    """Recall columns of Table 1: the paper's retrieval datasets in its order, then those only we have.

    A dataset of ours that stands for one of the paper's takes that dataset's place.
    """

    def __init__(self, results: Results, paper: PaperTables) -> None:
        """Match our retrieval datasets with the columns of the paper's Table 1."""
        self.results = results
        self.paper = paper
        self.dataset_columns = match_paper_columns(results.layout.retrieval_datasets, paper.table1_retrieval_datasets())
        self.column_keys = [
            (column, direction, recall)
            for column in self.dataset_columns
            for direction in DIRECTION_HEADERS
            for recall in RECALL_METRICS
        ]
        self.dataset_labels = join_dataset_labels(self.dataset_columns)

    def table_columns(self, records: Iterable[Record] = ()) -> tuple[Column, ...]:
        """Build the columns, headed by the datasets and, where results give it, their number of images.

        Args:
            records: metrics files of rows that are no runs, such as baselines

        Raises:
            SlqError: two files of a dataset disagree on the number of its images.
        """
        names = {f"retrieval/{column.dataset.name}.json" for column in self.dataset_columns if column.dataset}
        by_dataset: dict[str, list[Record]] = {}
        for record in [*(found for name in sorted(names) for found in self.results.find_all_runs(name)), *records]:
            by_dataset.setdefault(record.path.stem, []).append(record)
        return tuple(
            Column(
                f"{column.key} {direction} {recall}",
                (
                    _header_with_image_count(column, by_dataset.get(column.key, [])),
                    DIRECTION_HEADERS[direction],
                    recall,
                ),
            )
            for column, direction, recall in self.column_keys
        )

    def result_cells(self, cell_of: Callable[[str, str, str], TableCell]) -> tuple[TableCell, ...]:
        """Build the cells of one of our rows; a column without a dataset gets a missing cell.

        Args:
            cell_of: makes a cell from the name of a metrics file, a direction and a recall
        """
        return tuple(
            cell_of(f"retrieval/{column.dataset.name}.json", direction, recall)
            if column.dataset
            else missing_dataset_cell(self.results, column)
            for column, direction, recall in self.column_keys
        )

    def quoted_cells(self, published: PublishedRecalls, model: str) -> tuple[TableCell, ...]:
        """Build the cells of a published row; they are ranked with ours only where both use the same dataset."""
        cells = []
        for column, direction, recall in self.column_keys:
            quote = published.cells.get((model, column.paper_column, direction, recall))
            same_dataset = column.dataset is not None and column.dataset.is_from_paper
            missing = TableCell.missing(f"nothing is published of {model} in this column")
            cells.append(replace(quote, comparable=same_dataset) if quote else missing)
        return tuple(cells)

    def notes(self) -> tuple[str, ...]:
        """Write the notes that explain the marks, and which quoted numbers are left out of the ranking."""
        known = self.paper.table1_retrieval_datasets()
        stand_ins = [
            one
            for one in self.dataset_columns
            if one.dataset and not one.dataset.is_from_paper and one.paper_column in known
        ]
        if not stand_ins:
            return (MARKS_NOTE,)
        paper_labels = " and ".join(
            DATASET_LABELS.get(column.paper_column, column.paper_column) for column in stand_ins
        )
        note = f"Quoted values are the paper's on its own {paper_labels}, not on {join_dataset_labels(stand_ins)}"
        return (MARKS_NOTE, f"{note}: they take no part in the marks.")


def _header_with_image_count(column: DatasetColumn, records: list[Record]) -> str:
    """Return the header of a dataset, with its number of images if results give it."""
    images = common_number(records, "n", "images")
    if column.dataset is None or images is None:
        return column.header(DATASET_HEADERS)
    count = f"{images / 1000:.0f}K" if images % 1000 == 0 else f"{images:.0f}"
    return f"{column.dataset.label} ({count} test images)"


def missing_dataset_cell(results: Results, column: DatasetColumn) -> TableCell:
    """Return the missing cell of a paper's column for which the layout has no dataset."""
    return TableCell.missing(f"preset {results.layout.preset} has no dataset that stands for {column.paper_column}")


def join_dataset_labels(columns: Iterable[DatasetColumn]) -> str:
    """Join the names of the datasets with `and`."""
    return " and ".join(column.header(DATASET_LABELS) for column in columns)
