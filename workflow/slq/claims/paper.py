"""The paper's tables as `paper_tables/reference` has them: printed numbers, and what they are shares of."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.evaluation.golden import GOLDEN
from slq.reporting.records import TABLE1, TABLE3, sourced_rows

BENCHMARKS = ["benchmark", "direction", "n", "gallery", "positives", "unit", "note", "source"]
BASE_SCORES = ["backbone", "benchmark", "value", "evidence", "source"]
# Tables that print numbers, by their columns: others may have the same.
FORMS = {"table1.csv": TABLE1, "table3.csv": TABLE3, "base_scores.csv": BASE_SCORES, "instrument.csv": GOLDEN}


@dataclass(frozen=True)
class Base:
    """The published score of the untouched backbone, and where it stands."""

    value: str
    source: str


@dataclass(frozen=True)
class Number:
    """A number as it is printed.

    source: `file:line`
    value: "" of a dash
    unit: `percent` or `hits`; "" of what is no share, as hours are none
    counts: n, how many queries or questions it is a share of; several where protocols differ, none if unknown
    draw: of a recall its K, the gallery, and how many of it are a query's own, if known
    base: of a retention score that is not base's own, if known
    table: the file's name; of Table 3 also `backbone`, `method` and `width`, d of the backbone
    """

    source: str
    row: str
    column: str
    value: str
    unit: str
    counts: tuple[int, ...]
    draw: tuple[int, int, int] | None = None
    base: Base | None = None
    mark: str = ""
    table: str = ""
    backbone: str = ""
    method: str = ""
    width: int = 0

    @property
    def is_share(self) -> bool:
        """Whether it is a share of queries or questions, and no dash."""
        return bool(self.value and self.unit)


class Paper:
    """Tables 1 and 3, their printed cells alone, and what else the reference knows of their columns.

    Args:
        reference: the folder of `benchmarks.csv`, `base_scores.csv`, `table1.csv` and `table3.csv`
        results: the folder that holds one folder per preset; sources are named from the folder above it
        settings: of `cost_settings.paper_audit_settings`; empty if config.yaml has no preset of the paper's backbones

    Raises:
        SlqError: a table cannot be read, or is not of its form.
    """

    def __init__(self, reference: Path, results: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.reference, self.results, self.settings = reference, results, settings or {}
        self.counted: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row, source in sourced_rows(reference / "benchmarks.csv", BENCHMARKS, results):
            if not row["n"].isdecimal() or row["unit"] not in ("percent", "hits"):
                raise SlqError(f"{source}: n is {row['n']!r}, unit {row['unit']!r}; expected a count, percent or hits")
            self.counted.setdefault((row["benchmark"], row["direction"]), []).append(row)
        self.bases = {
            (row["backbone"], row["benchmark"]): Base(row["value"], f"{source}, evidence: {row['evidence']}")
            for row, source in sourced_rows(reference / "base_scores.csv", BASE_SCORES, results)
        }
        tables = [self.read(reference / name) for name in ("table1.csv", "table3.csv")]
        self.table1, self.table3 = ([number for number in table if number.value] for table in tables)
        self.own = self.table3[-1].method if self.table3 else ""  # the paper's own method, its last row

    def read(self, path: Path) -> list[Number]:
        """A number for every line of a table.

        Raises:
            SlqError: it cannot be read, or is of no known form.
        """
        columns = header(path)
        if columns not in FORMS.values():
            raise SlqError(
                f"{path}: columns are {columns}; expected those of {', '.join(FORMS)} in paper_tables/reference"
            )
        return [self._number(path, row, source) for row, source in sourced_rows(path, columns, self.results)]

    def _number(self, path: Path, row: Mapping[str, str], source: str) -> Number:
        backbone, method = row.get("backbone", ""), row.get("method", "base")
        if backbone:
            column = row.get("column") or row["benchmark"]
            place = column.split("_") if column.count("_") == 2 else [column]
        else:
            place = [row["set"], row["direction"], row["metric"]]
        benchmark, direction, metric = (*place, "", "")[:3]
        known = self.counted.get((benchmark, direction), [])
        draw = None
        if known and metric:
            draw = (k_of(metric, source), int(known[0]["gallery"]), int(known[0]["positives"]))
        return Number(
            source=source,
            row=f"{backbone}/{method}" if backbone else row["model"],
            column=" ".join(place),
            value=row["printed"] if "printed" in row else row["value"],
            unit=known[0]["unit"] if known else "percent" if direction else "",
            counts=tuple(dict.fromkeys(int(one["n"]) for one in known)),
            draw=draw,
            base=self.bases.get((backbone, benchmark)) if method != "base" else None,
            mark=row.get("mark", ""),
            table=path.stem,
            backbone=backbone,
            method=method if backbone else "",
            width=int(row.get("dim", 0)),
        )

    def recall(self, model: str, name: str, metric: str) -> Number | None:
        """Table 1's number of a model on a set, `t2i R@5`; None of a dash or without one."""
        return next((one for one in self.table1 if (one.row, one.column) == (model, f"{name} {metric}")), None)

    def cells(self, method: str, column: str = "") -> list[Number]:
        """Table 3's cells of a method, of one column or all."""
        return [cell for cell in self.table3 if cell.method == method and column in ("", cell.column)]

    def others(self, cell: Number) -> list[Number]:
        """The same backbone's cells of the same column in the rows of other methods."""
        return [
            other
            for other in self.table3
            if (other.backbone, other.column) == (cell.backbone, cell.column) and other.method != cell.method
        ]


def header(path: Path) -> list[str]:
    """The columns of a CSV.

    Raises:
        SlqError: it cannot be read.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    except OSError as error:
        raise SlqError(f"{path}: cannot be read: {error.strerror}") from error


def k_of(metric: str, source: str) -> int:
    """5 of `R@5`."""
    if not metric.removeprefix("R@").isdecimal():
        raise SlqError(f"{source}: metric is {metric!r}; expected R@ and a number")
    return int(metric.removeprefix("R@"))
