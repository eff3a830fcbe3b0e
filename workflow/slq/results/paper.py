"""The paper's tables as `paper_tables/reference` has them: printed numbers, and what they are shares of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.evaluation.reference_recalls import GOLDEN
from slq.results.records import TABLE1, TABLE3, sourced_rows

BENCHMARKS = ["benchmark", "direction", "n", "gallery", "positives", "unit", "note", "source"]
BASE_SCORES = ["backbone", "benchmark", "value", "evidence", "source"]
# Tables that print numbers, with their columns; base's scores first, which the others are set beside.
FORMS = {"base_scores.csv": BASE_SCORES, "instrument.csv": GOLDEN, "table1.csv": TABLE1, "table3.csv": TABLE3}


@dataclass(frozen=True)
class Number:
    """A number as it is printed.

    source: `file:line`; of a score of base its evidence too
    unit: `percent` or `hits`; "" of what is no share, as hours are none
    counts: n, how many queries or questions it is a share of; several where protocols differ, none if unknown
    base: of a retention score that is not base's own, the published score of the untouched backbone, if known
    table: the file's name; of Table 3 also `backbone`, `method` and `width`, d of the backbone
    """

    source: str
    row: str
    column: str
    value: str
    unit: str
    counts: tuple[int, ...]
    base: "Number | None" = None
    mark: str = ""
    table: str = ""
    backbone: str = ""
    method: str = ""
    width: int = 0


class Paper:
    """Every number that the reference prints, dashes aside, and what it knows of their columns.

    shares: those of all tables that are shares of queries or questions; table1, table3: all of these two

    Args:
        reference: the folder of `benchmarks.csv` and of the tables of `FORMS`
        results: the folder that holds one folder per preset; sources are named from the folder above it
        settings: of `cost_settings.paper_audit_settings`; empty if config.yaml has no preset of the paper's backbones

    Raises:
        SlqError: a table cannot be read, or is not of its form.
    """

    def __init__(self, reference: Path, results: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.settings = settings or {}
        self.counted: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row, source in sourced_rows(reference / "benchmarks.csv", BENCHMARKS, results):
            if not row["n"].isdecimal() or row["unit"] not in ("percent", "hits"):
                raise SlqError(f"{source}: n is {row['n']!r}, unit {row['unit']!r}; expected a count, percent or hits")
            self.counted.setdefault((row["benchmark"], row["direction"]), []).append(row)
        self.bases: dict[tuple[str, str], Number] = {}
        tables = {}
        for name, columns in FORMS.items():
            rows = sourced_rows(reference / name, columns, results)
            tables[name] = [number for row, source in rows if (number := self._number(name, row, source)).value]
            if columns is BASE_SCORES:
                self.bases = {(number.backbone, number.column): number for number in tables[name]}
        self.table1, self.table3 = tables["table1.csv"], tables["table3.csv"]
        self.shares = [number for table in tables.values() for number in table if number.unit]
        self.own = self.table3[-1].method if self.table3 else ""  # the paper's own method, its last row

    def _number(self, table: str, row: Mapping[str, str], source: str) -> Number:
        """What a line of a table prints."""
        backbone, method = row.get("backbone", ""), row.get("method", "base")
        if backbone:
            column = row.get("column") or row["benchmark"]
            place = column.split("_") if column.count("_") == 2 else [column]
        else:
            place = [row["set"], row["direction"], row["metric"]]
        benchmark, direction = (*place, "")[:2]
        known = self.counted.get((benchmark, direction), [])
        return Number(
            source=f"{source}, evidence: {row['evidence']}" if "evidence" in row else source,
            row=f"{backbone}/{method}" if backbone else row["model"],
            column=" ".join(place),
            value=row["printed"] if "printed" in row else row["value"],
            unit=known[0]["unit"] if known else "percent" if direction else "",
            counts=tuple(dict.fromkeys(int(one["n"]) for one in known)),
            base=self.bases.get((backbone, benchmark)) if method != "base" else None,
            mark=row.get("mark", ""),
            table=table.removesuffix(".csv"),
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
