"""The paper's tables as `paper_tables/reference` has them: printed numbers, and what they are shares of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.evaluation.reference_recalls import REFERENCE_COLUMNS
from slq.results.records import TABLE1_COLUMNS, TABLE3_COLUMNS, read_rows_with_sources

BENCHMARK_COLUMNS = ["benchmark", "direction", "n", "gallery", "positives", "unit", "note", "source"]
BASE_SCORE_COLUMNS = ["backbone", "benchmark", "value", "evidence", "source"]
# Tables that print numbers, with their columns; base's scores first, which the others are set beside.
COLUMNS_BY_FILE = {
    "base_scores.csv": BASE_SCORE_COLUMNS,
    "reference_recalls.csv": REFERENCE_COLUMNS,
    "table1.csv": TABLE1_COLUMNS,
    "table3.csv": TABLE3_COLUMNS,
}


@dataclass(frozen=True)
class PaperNumber:
    """A number as it is printed.

    source: `file:line`; of a score of base its evidence too
    unit: `percent` or `hits`; "" of what is no share, as hours are none
    sample_sizes: n, how many queries or questions it is a share of; several where protocols differ, none if unknown
    base_number: of a retention score that is not base's own, the published score of the untouched backbone, if known
    table: the file's name; of Table 3 also `backbone`, `method` and `hidden_size`, d of the backbone
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
    """Every number that the reference prints, dashes aside, and what it knows of their columns.

    shares: those of all tables that are shares of queries or questions; table1, table3: all of these two

    Args:
        reference: the folder of `benchmarks.csv` and of the tables of `COLUMNS_BY_FILE`
        results: the folder that holds one folder per preset; sources are named from the folder above it
        settings: of `cost_settings.paper_audit_settings`; empty if config.yaml has no preset of the paper's backbones

    Raises:
        SlqError: a table cannot be read, or is not of its form.
    """

    def __init__(self, reference: Path, results: Path, settings: Mapping[str, Any] | None = None) -> None:
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
        """What a line of a table prints."""
        backbone, method = row.get("backbone", ""), row.get("method", "base")
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
            base_number=self.base_numbers.get((backbone, benchmark)) if method != "base" else None,
            mark=row.get("mark", ""),
            table=table.removesuffix(".csv"),
            backbone=backbone,
            method=method if backbone else "",
            hidden_size=int(row.get("dim", 0)),
        )

    def find_recall(self, model: str, name: str, metric: str) -> PaperNumber | None:
        """Table 1's number of a model on a dataset, `t2i R@5`; None of a dash or without one."""
        return next((one for one in self.table1 if (one.row, one.column) == (model, f"{name} {metric}")), None)

    def method_cells(self, method: str, column: str = "") -> list[PaperNumber]:
        """Table 3's cells of a method, of one column or all."""
        return [cell for cell in self.table3 if cell.method == method and column in ("", cell.column)]

    def other_method_cells(self, cell: PaperNumber) -> list[PaperNumber]:
        """The same backbone's cells of the same column in the rows of other methods."""
        return [
            other
            for other in self.table3
            if (other.backbone, other.column) == (cell.backbone, cell.column) and other.method != cell.method
        ]
