"""The result files of a system that is no run: a comparator, an untrained read-out, a re-ranked list."""

from dataclasses import dataclass
from pathlib import Path

from slq.errors import SlqError
from slq.reporting.cells import Cell, without_numbers
from slq.reporting.records import Record, Results, relative

ROWS = "rows"  # in a preset's folder: where such systems keep their results


@dataclass(frozen=True)
class RowResults:
    """Those of the row `name`, among the results of its preset."""

    ours: Results
    name: str

    def path(self, file: str) -> Path:
        """Where the row keeps a file, e.g. `retrieval/coco.json`."""
        return self.ours.root / self.ours.layout.preset / ROWS / self.name / file

    @property
    def folder(self) -> str:
        """Where it keeps all of them, as sources have it."""
        return relative(self.path(""), self.ours.root)

    def find(self, file: str) -> Record | None:
        """A result file, or None if it gives no numbers.

        Raises:
            SlqError: as `Results.opened`.
        """
        found = self.ours.opened(self.path(file))
        return found if isinstance(found, Record) else None

    def row(self) -> Record | None:
        """`row.json`, checked to be this row's.

        Raises:
            SlqError: as `find`, or the file belongs to another row.
        """
        record = self.find("row.json")
        if record and record.at("row") != self.name:
            raise SlqError(f"{record.path}: key row is {record.at('row')!r}, its folder says {self.name!r}")
        return record

    def missing(self, file: str) -> Cell:
        """The cell for a file that does not exist, or is stale."""
        path = self.path(file)
        if not path.exists():
            return Cell.missing(f"{self.folder}/{file} does not exist")
        return without_numbers([self.ours.opened(path)])
