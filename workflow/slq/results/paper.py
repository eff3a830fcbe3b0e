"""The paper's tables as `paper_tables/reference` has them: printed numbers, in a DataFrame like that of our results."""

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
COST_COLUMNS = {"parameters": "parameters", "gpu_hours": "hours"}  # columns of Table 3 where less is better: metrics
COLUMNS_BY_TABLE = {  # tables that print numbers
    "base_scores": BASE_SCORE_COLUMNS,
    "reference_recalls": REFERENCE_COLUMNS,
    "table1": TABLE1_COLUMNS,
    "table3": TABLE3_COLUMNS,
    "retllm": TABLE1_COLUMNS,  # recalls that another paper reports
}
SHARE_TABLES = ("base_scores", "reference_recalls", "table1", "table3")
OTHER_PAPERS = "retllm"
OWN_GROUP = "Ours"  # the group of Table 1 that holds the proposed method
SHARE_UNITS = ("percent", "hits")
PAPER_COLUMNS = ["table", "row", "column", "printed", "mark", "group", "cited", "hidden_size", "sample_sizes"]
PAPER_COLUMNS += ["base_printed", "base_source"]


def load_paper(reference: Path, root: Path, tables: Sequence[str] = tuple(COLUMNS_BY_TABLE)) -> pd.DataFrame:
    """Load the printed numbers of the paper's tables, a row for each; a dash is a missing number.

    Args:
        reference: the folder of `benchmarks.csv` and of the tables
        root: the results folder; sources are relative to the folder above it
        tables: some of COLUMNS_BY_TABLE; the numbers are in this order

    Returns:
        The columns of `slq.results.load.load`, where `state` is quoted, and PAPER_COLUMNS: the `table`, `row` and
        `column` in words, the `printed` text and its `mark` (bold, underline or empty), the `group` of a model in Table
        1, what the row cites, `hidden_size` of the backbone, `sample_sizes` (how many queries or questions the number
        is a share of; several where protocols differ), and of a tuned model's score the published score of the
        untouched backbone.

    Raises:
        SlqError: a table cannot be read, or does not have the expected form
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
        raise SlqError(f"{row['base_source']}: a second score of {row['backbone']} on {row['dataset']}; expected one")
    found = found.merge(base, on=["backbone", "dataset"], how="left", validate="many_to_one")
    found.loc[found["method"].isin(["", BASE]), ["base_printed", "base_source"]] = None
    found["unit"] = found["unit"].where(found["unit"].notna(), found["metric"].map(_default_unit))
    found["sample_sizes"] = [sizes if isinstance(sizes, tuple) else () for sizes in found["sample_sizes"]]
    return found.astype(object).where(found.notna(), None)


def _default_unit(metric: str) -> str:
    """Return the unit of a number that `benchmarks.csv` says nothing of."""
    return metric if metric in COST_COLUMNS.values() else "percent"


def _parse_value(text: str, source: str) -> float | None:
    """Parse a number of a table, None for a dash.

    Raises:
        SlqError: the text is no finite number.
    """
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise SlqError(f"{source}: value is {text!r}; expected a number, or nothing for a dash")
    return value


def load_benchmarks(reference: Path, root: Path) -> pd.DataFrame:
    """Load the unit and the sample sizes of each dataset and direction; arguments are those of `load_paper`.

    Raises:
        SlqError: the table cannot be read, or a row has no count or another unit
    """
    rows = read_rows_with_sources(reference / "benchmarks.csv", BENCHMARK_COLUMNS, root)
    for row, source in rows:
        if not row["n"].isdecimal() or row["unit"] not in SHARE_UNITS:
            raise SlqError(f"{source}: n is {row['n']!r}, unit {row['unit']!r}; expected a count, percent or hits")
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
                raise SlqError(f"{source}: {key} is empty; expected what the number is of")
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
    """The paper's numbers, found by their place.

    Attributes:
        numbers: the frame that `load_paper` returns
        benchmarks: unit and sample sizes of each dataset and direction
        settings: as passed

    Args:
        settings: from `cost_settings.paper_audit_settings`; empty where nothing of it is needed
    """

    def __init__(
        self,
        reference: Path,
        root: Path,
        settings: Mapping[str, Any] | None = None,
        tables: Sequence[str] = SHARE_TABLES,
    ) -> None:
        """Load the tables; other arguments and errors are those of `load_paper`."""
        self.settings = settings or {}
        self.benchmarks = load_benchmarks(reference, root)
        self.numbers = load_paper(reference, root, tables)
        if (repeated := self.numbers.duplicated(["table", "row", "column"])).any():
            row = self.numbers[repeated].iloc[0]
            raise SlqError(f"{row['source']}: {row['row']}, {row['column']} stands twice; expected one number")
        self._rows = {(row.table, row.row, row.column): row for row in as_rows(self.numbers)}

    def table(self, name: str, **columns: str) -> list[Any]:
        """Return the printed numbers of a table in its order, without dashes; of these columns' values alone."""
        return [
            row
            for (table, _, _), row in self._rows.items()
            if table == name and row.value is not None and all(getattr(row, key) == columns[key] for key in columns)
        ]

    def find(self, table: str, row: str, column: str) -> Any:
        """Return the number in a place, which may be a dash; None where the table has none."""
        return self._rows.get((table, row, column))

    def cell(self, table: str, row: str, column: str, comparable: bool = False) -> TableCell | None:
        """Build the cell of a number as the paper prints it; None where the table has none."""
        number = self.find(table, row, column)
        if number is None:
            return None
        if number.value is None:
            return TableCell.missing(number.reason)
        return TableCell.quoted(number.value, number.printed, number.source, comparable)

    @property
    def shares(self) -> list[Any]:
        """Return the numbers that are shares of queries or questions."""
        return [row for row in self._rows.values() if row.value is not None and row.unit in SHARE_UNITS]

    def models_by_group(self, table: str) -> dict[str, list[str]]:
        """Return the models of a table of recalls under their headings, in order, without the paper's own."""
        of_others = (self.numbers["table"] == table) & (self.numbers["group"] != OWN_GROUP)
        rows = self.numbers[of_others].drop_duplicates("row")
        return {str(group): list(models) for group, models in rows.groupby("group", sort=False)["row"]}

    def datasets(self, table: str, kind: str) -> list[str]:
        """Return the datasets of a table's retrieval or retention columns, in its order."""
        found = self.numbers[(self.numbers["table"] == table) & (self.numbers["kind"] == kind)]
        return list(found["dataset"].unique())
