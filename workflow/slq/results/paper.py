"""The paper's tables as `paper_tables/reference` has them: printed numbers, with the sample sizes behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.evaluation.reference_recalls import REFERENCE_COLUMNS
from slq.methods.registry import BASE
from slq.results.records import TABLE1_COLUMNS, TABLE3_COLUMNS, read_rows_with_sources

BENCHMARK_COLUMNS = ["benchmark", "direction", "n", "gallery", "positives", "unit", "note", "source"]
BASE_SCORE_COLUMNS = ["backbone", "benchmark", "value", "evidence", "source"]
# Tables that print numbers, with their columns; base scores come first, because the others refer to them.
COLUMNS_BY_FILE = {
    "base_scores.csv": BASE_SCORE_COLUMNS,
    "reference_recalls.csv": REFERENCE_COLUMNS,
    "table1.csv": TABLE1_COLUMNS,
    "table3.csv": TABLE3_COLUMNS,
}


@dataclass(frozen=True)
class PaperNumber:
    """A number as the paper prints it.

    Attributes:
        source: `file:line`; of a score of the untouched backbone, its evidence too
        row, column: its place in the table, in words
        value: the printed text
        unit: `percent` or `hits`; empty for a number that is no share, such as hours
        sample_sizes: n, how many queries or questions it is a share of; several where protocols differ, empty if
            unknown
        base_number: of a retention score of a trained method, the published score of the untouched backbone, if known
        mark: `bold`, `underline` or empty
        table: the file's name without its suffix
        backbone, method, hidden_size: of Table 3; the last is d of the backbone
    """

    source: str
    row: str
    column: str
    value: str
    unit: str
    sample_sizes: tuple[int, ...]
    base_number: "PaperNumber | None" = None
    mark: str = ""
    table: str = ""
    backbone: str = ""
    method: str = ""
    hidden_size: int = 0


class Paper:
    """Every number that the reference tables print, except dashes, with the facts about their columns.

    Attributes:
        settings: as passed
        benchmark_rows: rows of `benchmarks.csv` by benchmark and direction
        base_numbers: published scores of the untouched backbones, by backbone and benchmark
        table1, table3: all numbers of these two tables
        shares: the numbers of all tables that are shares of queries or questions
        own_method: the paper's own method, the last row of Table 3

    Args:
        reference: the folder of `benchmarks.csv` and of the tables of `COLUMNS_BY_FILE`
        results: the folder that holds one folder per preset; sources are named relative to the folder above it
        settings: from `cost_settings.paper_audit_settings`; empty if config.yaml has no preset of the paper's backbones

    Raises:
        SlqError: a table cannot be read, or does not have the expected form
    """

    def __init__(self, reference: Path, results: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Read all tables; arguments and errors are those of the class."""
        self.settings = settings or {}
        self.benchmark_rows: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row, source in read_rows_with_sources(reference / "benchmarks.csv", BENCHMARK_COLUMNS, results):
            if not row["n"].isdecimal() or row["unit"] not in ("percent", "hits"):
                raise SlqError(f"{source}: n is {row['n']!r}, unit {row['unit']!r}; expected a count, percent or hits")
            self.benchmark_rows.setdefault((row["benchmark"], row["direction"]), []).append(row)
        self.base_numbers: dict[tuple[str, str], PaperNumber] = {}
        tables = {}
        for name, columns in COLUMNS_BY_FILE.items():
            rows = read_rows_with_sources(reference / name, columns, results)
            tables[name] = [number for row, source in rows if (number := self._parse_number(name, row, source)).value]
            if columns is BASE_SCORE_COLUMNS:
                self.base_numbers = {(number.backbone, number.column): number for number in tables[name]}
        self.table1, self.table3 = tables["table1.csv"], tables["table3.csv"]
        self.shares = [number for table in tables.values() for number in table if number.unit]
        self.own_method = self.table3[-1].method if self.table3 else ""  # the paper's own method, its last row

    def _parse_number(self, table: str, row: Mapping[str, str], source: str) -> PaperNumber:
        """Build the number of one row of a table."""
        backbone, method = row.get("backbone", ""), row.get("method", BASE)
        if backbone:
            column = row.get("column") or row["benchmark"]
            column_parts = column.split("_") if column.count("_") == 2 else [column]
        else:
            column_parts = [row["dataset"], row["direction"], row["metric"]]
        benchmark, direction = (*column_parts, "")[:2]
        matching_rows = self.benchmark_rows.get((benchmark, direction), [])
        return PaperNumber(
            source=f"{source}, evidence: {row['evidence']}" if "evidence" in row else source,
            row=f"{backbone}/{method}" if backbone else row["model"],
            column=" ".join(column_parts),
            value=row["printed"] if "printed" in row else row["value"],
            unit=matching_rows[0]["unit"] if matching_rows else "percent" if direction else "",
            sample_sizes=tuple(dict.fromkeys(int(one["n"]) for one in matching_rows)),
            base_number=self.base_numbers.get((backbone, benchmark)) if method != BASE else None,
            mark=row.get("mark", ""),
            table=table.removesuffix(".csv"),
            backbone=backbone,
            method=method if backbone else "",
            hidden_size=int(row.get("dim", 0)),
        )

    def find_recall(self, model: str, name: str, metric: str) -> PaperNumber | None:
        """Find Table 1's number of a model on a dataset; None for a dash or where there is none.

        Args:
            metric: direction and recall, such as `t2i R@5`
        """
        return next((one for one in self.table1 if (one.row, one.column) == (model, f"{name} {metric}")), None)

    def method_cells(self, method: str, column: str = "") -> list[PaperNumber]:
        """Return the cells of a method in Table 3, of one column or of all."""
        return [cell for cell in self.table3 if cell.method == method and column in ("", cell.column)]

    def other_method_cells(self, cell: PaperNumber) -> list[PaperNumber]:
        """Return the cells of the other methods in Table 3 with the same backbone and column."""
        return [
            other
            for other in self.table3
            if (other.backbone, other.column) == (cell.backbone, cell.column) and other.method != cell.method
        ]
