"""Printed numbers of the paper's tables (`paper_tables/reference`), in a DataFrame like that of our own results."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from slq.common.errors import SlqError
from slq.evaluation.reference_recalls import REFERENCE_COLUMNS
from slq.methods.registry import BASE
from slq.results.cells import TableCell
from slq.results.load import COLUMNS, as_rows
from slq.results.record import read_rows_with_sources

BENCHMARK_COLUMNS = ["benchmark", "direction", "n", "gallery", "positives", "unit", "note", "source"]
BASE_SCORE_COLUMNS = ["backbone", "benchmark", "value", "evidence", "source"]
TABLE1_COLUMNS = ["group", "model", "dataset", "direction", "metric", "value", "mark", "source"]
TABLE3_COLUMNS = ["backbone", "dim", "method", "column", "value", "printed", "mark", "source"]
COST_COLUMNS = {"parameters": "parameters", "gpu_hours": "hours"}  # metrics by column of Table 3 where less is better
COLUMNS_BY_TABLE = {  # tables that print numbers
    "base_scores": BASE_SCORE_COLUMNS,
    "reference_recalls": REFERENCE_COLUMNS,
    "table1": TABLE1_COLUMNS,
    "table3": TABLE3_COLUMNS,
    "retllm": TABLE1_COLUMNS,  # recalls reported by another paper
}
SHARE_TABLES = ("base_scores", "reference_recalls", "table1", "table3")
OTHER_PAPERS = "retllm"
OWN_GROUP = "Ours"  # the group of Table 1 that contains the proposed method
SHARE_UNITS = ("percent", "hits")
PAPER_COLUMNS = ["table", "row", "column", "printed", "mark", "group", "cited", "hidden_size", "sample_sizes"]
PAPER_COLUMNS += ["base_printed", "base_source"]


def load_paper(reference: Path, root: Path, tables: Sequence[str] = tuple(COLUMNS_BY_TABLE)) -> pd.DataFrame:
    """Load the printed numbers of the paper's tables, one row per number; a dash becomes a missing number.

    Args:
        reference: the folder of `benchmarks.csv` and of the tables
        root: the results folder; sources are relative to its parent
        tables: keys of COLUMNS_BY_TABLE; numbers are returned in this order

    Returns:
        The columns of `slq.results.load.load`, with `state` quoted, and PAPER_COLUMNS. `table`, `row` and `column`
        locate the number in words. `printed` is its text, `mark` is bold, underline or empty. `group` is the group of a
        model in Table 1, `cited` the source that the row cites, `hidden_size` that of the backbone. `sample_sizes` are
        the numbers of queries or questions that the number may be a share of; there are several if protocols differ.
        `base_printed` and `base_source` give, for a tuned model's score, the published score of the untouched backbone.
    """
    benchmarks = load_benchmarks(reference, root)
    rows = [row for name in tables for row in _read_table(reference, name, root)]
    found = pd.DataFrame(rows, columns=[*COLUMNS, *PAPER_COLUMNS], dtype=object)
    found = found.drop(columns=["unit", "sample_sizes", "base_printed", "base_source"])
    found = found.merge(benchmarks, on=["dataset", "direction"], how="left", validate="many_to_one")
    base = found.loc[found["table"] == "base_scores", ["backbone", "dataset", "printed", "source"]]
    base = base.rename(columns={"printed": "base_printed", "source": "base_source"})
    if (repeated := base.duplicated(["backbone", "dataset"])).any():
        row = base[repeated].iloc[0]
        raise SlqError(f"{row['base_source']}: second score of {row['backbone']} on {row['dataset']}; expected one")
    found = found.merge(base, on=["backbone", "dataset"], how="left", validate="many_to_one")
    found.loc[found["method"].isin(["", BASE]), ["base_printed", "base_source"]] = None
    found["unit"] = found["unit"].where(found["unit"].notna(), found["metric"].map(_default_unit))
    found["sample_sizes"] = [sizes if isinstance(sizes, tuple) else () for sizes in found["sample_sizes"]]
    return found.astype(object).where(found.notna(), None)


def _default_unit(metric: str) -> str:
    """Return the unit of a number that `benchmarks.csv` does not list."""
    return metric if metric in COST_COLUMNS.values() else "percent"


def _parse_value(text: str, source: str) -> float | None:
    """Parse the text of a finite number in a table; an empty text, which stands for a dash, gives None."""
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise SlqError(f"{source}: value is {text!r}; expected a number, or an empty field for a dash")
    return value


def load_benchmarks(reference: Path, root: Path) -> pd.DataFrame:
    """Load the unit and the sample sizes of each dataset and direction; the arguments are those of `load_paper`."""
    rows = read_rows_with_sources(reference / "benchmarks.csv", BENCHMARK_COLUMNS, root)
    for row, source in rows:
        if not row["n"].isdecimal() or row["unit"] not in SHARE_UNITS:
            fault = f"n is {row['n']!r}, unit is {row['unit']!r}"
            raise SlqError(f"{source}: {fault}; expected a count, and one of the units {', '.join(SHARE_UNITS)}")
    table = pd.DataFrame([row for row, _ in rows], columns=BENCHMARK_COLUMNS, dtype=object)
    grouped = table.assign(n=table["n"].map(int)).groupby(["benchmark", "direction"], sort=False)
    found = grouped.agg(unit=("unit", "first"), sample_sizes=("n", lambda sizes: tuple(dict.fromkeys(sizes))))
    return found.reset_index().rename(columns={"benchmark": "dataset"})


def _read_table(reference: Path, name: str, root: Path) -> list[dict[str, Any]]:
    """Read the numbers of one table."""
    found = []
    for row, source in read_rows_with_sources(reference / f"{name}.csv", COLUMNS_BY_TABLE[name], root):
        for key in ("column", "benchmark", "dataset", "direction", "metric"):
            if row.get(key) == "":
                raise SlqError(f"{source}: {key} is empty; expected the name that the number belongs to")
        number: dict[str, Any] = dict.fromkeys([*COLUMNS, *PAPER_COLUMNS], "") | {
            "table": name,
            "state": "quoted",
            "cited": row["source"],
        }
        if "backbone" in row:
            column = row.get("column") or row["benchmark"]
            number |= {"backbone": row["backbone"], "method": row.get("method", BASE)}
            number["row"] = f"{number['backbone']}/{number['method']}"
            dataset, direction, metric = column.split("_") if column.count("_") == 2 else (column, "", "score")
            if column in COST_COLUMNS:
                dataset, metric = "", COST_COLUMNS[column]
        else:
            number |= {"baseline": row["model"], "row": row["model"], "group": row.get("group", "")}
            dataset, direction, metric = row["dataset"], row["direction"], row["metric"]
        number |= {"dataset": dataset, "direction": direction, "metric": metric}
        number["column"] = f"{dataset} {direction} {metric}" if direction else column
        number["kind"] = "retrieval" if direction else "retention" if dataset else "run"
        number["source"] = f"{source}, evidence: {row['evidence']}" if "evidence" in row else source
        number |= {"printed": row.get("printed", row["value"]), "mark": row.get("mark", "")}
        number["hidden_size"] = int(_parse_value(row.get("dim", ""), source) or 0)
        number["value"] = _parse_value(row["value"], source)
        if not row["value"]:
            number |= {"state": "missing", "reason": f"{source}: the paper prints a dash"}
        found.append(number)
    return found


class Paper:
    """The paper's numbers, indexed by table, row and column.

    Attributes:
        numbers: the DataFrame that `load_paper` returns
        benchmarks: unit and sample sizes of each dataset and direction
        settings: the `settings` argument

    Args:
        settings: from `cost_settings.paper_audit_settings`; may be empty if no cost is checked
    """

    def __init__(
        self,
        reference: Path,
        root: Path,
        settings: Mapping[str, Any] | None = None,
        tables: Sequence[str] = SHARE_TABLES,
    ) -> None:
        """Load the tables; the other arguments are those of `load_paper`."""
        self.settings = settings or {}
        self.benchmarks = load_benchmarks(reference, root)
        self.numbers = load_paper(reference, root, tables)
        if (repeated := self.numbers.duplicated(["table", "row", "column"])).any():
            row = self.numbers[repeated].iloc[0]
            raise SlqError(f"{row['source']}: {row['row']}, {row['column']} is listed twice; expected one number")
        self._rows = {(row.table, row.row, row.column): row for row in as_rows(self.numbers)}

    def table(self, name: str, **columns: str) -> list[Any]:
        """Return the printed numbers of a table in order, without dashes; only those with the given column values."""
        return [
            row
            for (table, _, _), row in self._rows.items()
            if table == name and row.value is not None and all(getattr(row, key) == columns[key] for key in columns)
        ]

    def find(self, table: str, row: str, column: str) -> Any:
        """Return the number at a place, which may be a dash; None if the table has no such place."""
        return self._rows.get((table, row, column))

    def cell(self, table: str, row: str, column: str, comparable: bool = False) -> TableCell | None:
        """Build the cell of a number as the paper prints it; None if the table has no such place."""
        number = self.find(table, row, column)
        if number is None:
            return None
        if number.value is None:
            return TableCell.missing(number.reason)
        return TableCell.quoted(number.value, number.printed, number.source, comparable)

    @property
    def shares(self) -> list[Any]:
        """The numbers that are shares of queries or questions."""
        return [row for row in self._rows.values() if row.value is not None and row.unit in SHARE_UNITS]

    def models_by_group(self, table: str) -> dict[str, list[str]]:
        """Return the models of a table of recalls by group, in order, without the paper's own models."""
        of_others = (self.numbers["table"] == table) & (self.numbers["group"] != OWN_GROUP)
        rows = self.numbers[of_others].drop_duplicates("row")
        return {str(group): list(models) for group, models in rows.groupby("group", sort=False)["row"]}

    def datasets(self, table: str, kind: str) -> list[str]:
        """Return the datasets of a table's retrieval or retention columns, in the order of the table."""
        found = self.numbers[(self.numbers["table"] == table) & (self.numbers["kind"] == kind)]
        return list(found["dataset"].unique())
