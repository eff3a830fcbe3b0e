"""What the audit reads: the paper's printed cells, and the sizes of its models in config.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.accounting.architecture import is_known
from slq.accounting.forecast import Sizes
from slq.accounting.sizes import missing_size
from slq.plausibility.claims import Benchmarks
from slq.reporting.records import TABLE1, TABLE3, sourced_rows

TABLES = {"table1": "Table 1", "table3": "Table 3"}


@dataclass(frozen=True)
class Printed:
    """A cell as the paper prints it; `backbone` and `method` of Table 3."""

    table: str
    row: str
    column: str
    value: str
    mark: str
    backbone: str = ""
    method: str = ""

    @property
    def place(self) -> dict[str, str]:
        """As `audit.json` names it."""
        return {"table": self.table, "row": self.row, "column": self.column, "value": self.value}


@dataclass(frozen=True)
class Asked:
    """What a question found.

    asked: of how many numbers it was asked; none if the paper has no such
    found: how many answers a reader should look at
    """

    asked: int
    found: int
    statement: str
    arithmetic: tuple[str, ...]
    cells: tuple[Printed, ...] = ()


class Paper:
    """The paper's tables in `reference`, and its models: the backbones of config.yaml that are rows of Table 3.

    Args:
        settings: of `settings.paper_audit_settings`; empty if config.yaml has no preset of the paper's backbones

    Raises:
        SlqError: a table cannot be read.
    """

    def __init__(self, reference: Path, settings: Mapping[str, Any]) -> None:
        self.reference, self.settings = reference, settings
        results = reference.parents[1] / "results"  # what sources are named from
        self.benchmarks = Benchmarks(reference, results)
        self.table1 = [
            Printed(
                "table1", row["model"], f"{row['set']} {row['direction']} {row['metric']}", row["value"], row["mark"]
            )
            for row, _ in sourced_rows(reference / "table1.csv", TABLE1, results)
            if row["value"]
        ]
        self.table3: list[Printed] = []
        self.width: dict[str, int] = {}
        for row, _ in sourced_rows(reference / "table3.csv", TABLE3, results):
            backbone, method = row["backbone"], row["method"]
            column = row["column"].replace("_", " ") if row["column"].count("_") == 2 else row["column"]
            cell = (f"{backbone}/{method}", column, row["printed"], row["mark"])
            self.table3.append(Printed("table3", *cell, backbone, method))
            self.width[backbone] = int(row["dim"])
        self.own = self.table3[-1].method if self.table3 else ""  # the paper's own method, its last row
        self.labels = {one["name"]: one["label"] for one in settings.get("backbones", ())}

    def cells(self, method: str, column: str = "") -> list[Printed]:
        """Table 3's cells of a method, of one column or all."""
        return [cell for cell in self.table3 if cell.method == method and column in ("", cell.column)]

    def others(self, cell: Printed) -> list[Printed]:
        """The same backbone's cells of the same column in the rows of other methods."""
        return [
            other
            for other in self.table3
            if (other.backbone, other.column) == (cell.backbone, cell.column) and other.method != cell.method
        ]

    def counts(self, column: str) -> list[int]:
        """Of how many queries or questions a column is a share; several where protocols differ, none if unknown."""
        name, _, rest = column.partition(" ")
        return [int(row["n"]) for row in self.benchmarks.rows.get((name, rest.partition(" ")[0]), ())]

    def sizes(self, backbone: str) -> Sizes | None:
        """The sizes of one of the paper's models and of its training set, if config.yaml has them."""
        found = [one for one in self.settings.get("backbones", ()) if one["name"] == backbone]
        if not found or not is_known(found[0]["architecture"]) or missing_size(self.settings["train_set"], "train"):
            return None
        return Sizes(self.settings, found[0])
