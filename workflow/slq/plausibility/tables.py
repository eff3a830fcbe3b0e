"""The claims of a table: the paper's as they are kept in `paper_tables/reference`, or a rendered `cells.csv`."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from slq.errors import SlqError
from slq.evaluation.golden import GOLDEN
from slq.plausibility.claims import BASE_SCORES, Benchmarks, Claim
from slq.plausibility.measured import measured
from slq.reporting.records import TABLE1, TABLE3, sourced_rows

QUOTED = (
    "table1.csv",
    "table3.csv",
    "base_scores.csv",
    "instrument.csv",
)  # of the reference: those that claim something
CELLS = {"table", "row", "column", "value", "n", "state", "source"}  # a rendered table may have more


class Tables:
    """Reads tables into claims.

    Args:
        reference: the folder of `benchmarks.csv` and `base_scores.csv`
        results: the folder of one folder per preset; the sources of a `cells.csv` start from the folder above it
    """

    def __init__(self, reference: Path, results: Path) -> None:
        self.results = results
        self.benchmarks = Benchmarks(reference, results)
        self.quoted: dict[Path, dict[str, Claim | None]] = {}

    def claims(self, paths: Sequence[Path]) -> tuple[list[Claim], int]:
        """Every claim once, and how many cells make none: costs, widths, words, dashes.

        Raises:
            SlqError: a file cannot be read, is no table of a known form, or names a source that is not there.
        """
        read = [claim for path in paths for claim in self._read(path)]
        found = dict.fromkeys(claim for claim in read if claim is not None)
        return list(found), read.count(None)

    def _read(self, path: Path) -> Iterator[Claim | None]:
        columns = header(path)
        if set(columns) >= CELLS:
            for row, _ in sourced_rows(path, columns, self.results):
                yield self._cell(row)
        else:
            yield from self._quotes(path).values()

    def _cell(self, row: dict[str, str]) -> Claim | None:
        """A cell that was computed, or the line of the reference that a cell quotes."""
        if row["state"] == "measured":
            return measured(row, self.results)
        if row["state"] != "quoted" or "; " in row["source"]:  # a sum or ratio of several numbers
            return None
        file, _, line = row["source"].rpartition(":")
        quotes = self._quotes(self.results.resolve().parent / file)
        if row["source"] not in quotes:
            raise SlqError(f"{file}: has no line {line}, which a rendered table quotes; render the tables again")
        return quotes[row["source"]]

    def _quotes(self, path: Path) -> dict[str, Claim | None]:
        """The claims of a reference table by their source, `file:line`."""
        if path not in self.quoted:
            columns = header(path)
            readers = {tuple(TABLE1): self._recall, tuple(GOLDEN): self._recall}
            readers |= {tuple(TABLE3): self._strategy, tuple(BASE_SCORES): self._base}
            if tuple(columns) not in readers:
                raise SlqError(
                    f"{path}: columns are {columns}; expected those of a cells.csv, or of table1.csv, table3.csv, "
                    "base_scores.csv or instrument.csv in paper_tables/reference"
                )
            read = readers[tuple(columns)]
            self.quoted[path] = {source: read(row, source) for row, source in sourced_rows(path, columns, self.results)}
        return self.quoted[path]

    def _recall(self, row: dict[str, str], source: str) -> Claim | None:
        place = (row["set"], row["direction"], row["metric"])
        return self.benchmarks.retrieval(source, row["model"], *place, row["value"]) if row["value"] else None

    def _strategy(self, row: dict[str, str], source: str) -> Claim | None:
        run, benchmark = f"{row['backbone']}/{row['method']}", row["column"]
        if benchmark.count("_") == 2:
            name, direction, metric = benchmark.split("_")
            return self.benchmarks.retrieval(source, run, name, direction, metric, row["printed"])
        if (benchmark, "") not in self.benchmarks.rows:
            return None
        base = self.benchmarks.bases.get((row["backbone"], benchmark)) if row["method"] != "base" else None
        return self.benchmarks.retention(source, run, benchmark, row["printed"], base)

    def _base(self, row: dict[str, str], source: str) -> Claim | None:
        return self.benchmarks.retention(source, f"{row['backbone']}/base", row["benchmark"], row["value"], None)


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
