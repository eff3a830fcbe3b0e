"""The files that tables are made of: the results of one preset's runs, and rows of published values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json, read_rows
from slq.common.files import read_lines as read_json_lines
from slq.common.inherited import equals, follow
from slq.config.runs import BASE_SEED
from slq.results.cells import Cell, Format, without_numbers
from slq.results.layout import METHODS, Entry, Layout
from slq.results.stale import StaleFiles
from slq.results.stale import relative as relative

ROWS = "rows"  # in a preset's folder: where systems that are no runs keep their results
SCHEMA = 1
SCHEMAS = {"retrieval": 2, "retention": 3, "blind": 3}  # of the files in a folder of a run, where it is another
TABLE1 = ["group", "model", "set", "direction", "metric", "value", "mark", "source"]
TABLE3 = ["backbone", "dim", "method", "column", "value", "printed", "mark", "source"]
COSTS = ("parameters", "gpu_hours")  # columns of Table 3 where less is better


@dataclass(frozen=True)
class Record:
    """A result file: where it lies, how tables name it, what it says.

    By construction it is another run's file, which holds the numbers; `source` then names the proof as well. `stale`:
    why the numbers do not follow from what they were made from, "" where they do.
    """

    path: Path
    source: str
    content: dict[str, Any]
    by_construction: bool = False
    stale: str = ""

    def at(self, *keys: str) -> Any:
        """The value under nested keys.

        Raises:
            SlqError: a key is missing; names file and key.
        """
        value: Any = self.content
        for depth, key in enumerate(keys, start=1):
            if not isinstance(value, dict) or key not in value:
                raise SlqError(f"{self.path}: key {'.'.join(keys[:depth])} is missing; make the file again")
            value = value[key]
        return value

    def of_schema(self, schema: int) -> "Record":
        """The record itself.

        Raises:
            SlqError: its file is of another schema.
        """
        if self.at("schema") != schema:
            raise SlqError(f"{self.path}: key schema is {self.at('schema')!r}; expected {schema}: make the file again")
        return self

    def number(self, *keys: str) -> float:
        """A finite number under nested keys.

        Raises:
            SlqError: the key is missing or holds something else.
        """
        value = self.at(*keys)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SlqError(f"{self.path}: key {'.'.join(keys)} is {value!r}; expected a number")
        return value

    def text(self, *keys: str) -> str:
        """A string under nested keys; errors as in `number`."""
        value = self.at(*keys)
        if not isinstance(value, str):
            raise SlqError(f"{self.path}: key {'.'.join(keys)} is {value!r}; expected text")
        return value


class Results:
    """The result files of a layout's preset and seeds under `root`, the folder that holds one folder per preset.

    A system that is no run (a comparator, an untrained read-out, a re-ranked list) is asked for as the method of its
    name on the backbone ROWS, whatever the seed.
    A file of which the numbers no longer follow counts as one that is not there, unless stale ones are asked for;
    `standing` knows of it.
    """

    def __init__(self, root: Path, layout: Layout, with_stale: bool = False) -> None:
        self.root = root
        self.layout = layout
        self.with_stale = with_stale
        self.standing = StaleFiles(root)

    def path(self, backbone: str, method: str, seed: int, name: str) -> Path:
        """Where a run keeps a file, e.g. `retrieval/coco.json`."""
        place = Path(ROWS, method) if backbone == ROWS else Path(backbone, method, f"seed{seed}")
        return self.root / self.layout.preset / place / name

    def seeds_of(self, backbone: str, method: str) -> tuple[int, ...]:
        """The seeds of a method's runs; a system that is no run is there once."""
        return (BASE_SEED,) if backbone == ROWS else self.layout.seeds_of(method)

    def find(self, backbone: str, method: str, seed: int, name: str) -> Record | None:
        """A result file of a run, or None if the layout leaves the run out or the file gives no numbers.

        Raises:
            SlqError: as `opened`.
        """
        if backbone != ROWS and seed not in self.layout.seeds_of(method):
            return None
        found = self.opened(self.path(backbone, method, seed, name))
        return found if isinstance(found, Record) else None

    def opened(self, path: Path) -> Record | Cell:
        """A result file, or the cell that says why it gives no numbers: it is not there, or stale.

        Of a proof it is the file whose numbers are the run's by construction.

        Raises:
            SlqError: the file is not JSON, not an object, or of another schema; a proof is of other inputs.
        """
        if not path.exists():
            return Cell.missing(f"{relative(path, self.root)} does not exist")
        record, other = read_record(path, self.root), None
        if (proved := equals(path, record.content)) is not None:
            if not proved.exists():
                return Cell.missing(
                    f"{relative(proved, self.root)} does not exist: {record.source} says it is the same"
                )
            other = read_record(follow(path, record.content)[0], self.root)
        stale = self.standing.of(path, record.content)
        if stale and not self.with_stale:
            return Cell.stale(stale)
        if other is None:
            return replace(record, stale=stale)
        return replace(other, source=f"{other.source}; {record.source}", by_construction=True, stale=stale)

    def over_seeds(self, backbone: str, method: str, name: str) -> list[Record]:
        """The file of every run of a method that has it, in the order of the seeds; errors as in `find`."""
        found = (self.find(backbone, method, seed, name) for seed in self.seeds_of(backbone, method))
        return [record for record in found if record is not None]

    def compared(self, backbone: str, method: str, name: str) -> Record | Cell:
        """The file of the run that stands for a method where one run is looked at, or the cell of none."""
        found = self.find(backbone, method, self.layout.compared_seed(method), name)
        return found or self.missing(backbone, method, name)

    def everywhere(self, name: str, *backbones: Entry) -> list[Record]:
        """The file of every run, of these backbones or of all, in the order of the tables; errors as in `find`."""
        places = [(one.name, method) for one in backbones or self.layout.backbones for method in METHODS]
        return [record for place in places for record in self.over_seeds(*place, name)]

    def run(self, backbone: str, method: str, seed: int) -> Record | None:
        """`run.json` of a run, `row.json` of what is none, checked to be its.

        Raises:
            SlqError: as `find`, or the file belongs to another run.
        """
        record = self.find(backbone, method, seed, "row.json" if backbone == ROWS else "run.json")
        place: dict[str, Any] = {"preset": self.layout.preset, "backbone": backbone, "method": method, "seed": seed}
        if backbone == ROWS:
            place = {"row": method}
        for key, expected in place.items():
            if record and record.at(key) != expected:
                raise SlqError(f"{record.path}: key {key} is {record.at(key)!r}, its folder says {expected!r}")
        return record

    def runs(self, backbone: str, method: str) -> list[Record]:
        """`run.json` of every run of a method that has one, in the order of the seeds; errors as in `run`."""
        found = (self.run(backbone, method, seed) for seed in self.layout.seeds_of(method))
        return [record for record in found if record is not None]

    def missing(self, backbone: str, method: str, name: str) -> Cell:
        """The cell for a file that no run of a method has, or that is stale; a proof's is another run's."""
        if backbone != ROWS and method not in self.layout.methods:
            return Cell.missing(f"{method} is not among the methods of preset {self.layout.preset}")
        paths = [self.path(backbone, method, seed, name) for seed in self.seeds_of(backbone, method)]
        absent = [relative(path, self.root) for path in paths if not path.exists()]
        if len(absent) == len(paths) or not name.endswith(".json"):
            return Cell.missing(f"{', '.join(absent)} {'does' if len(absent) == 1 else 'do'} not exist")
        return without_numbers(self.opened(path) for path in paths)

    def cell(self, backbone: str, method: str, name: str, keys: Sequence[str], form: Format) -> Cell:
        """The mean over seeds of the number under `keys` of a file, or a missing cell if no run has the file.

        Where every run has it by construction it is one number, and no mean.
        """
        records = self.over_seeds(backbone, method, name)
        if not records:
            return self.missing(backbone, method, name)
        number = agreed(records, *keys) if all(record.by_construction for record in records) else None
        if number is not None:
            same = f"the same number as {relative(records[0].path, self.root)}, by proof"
            return Cell.by_construction(number, form, joined(records), comparable=True, n=len(records), reason=same)
        mean = Cell.mean([record.number(*keys) for record in records], form, joined(records))
        seeds = self.layout.seeds_of(method)
        left_out = [self.opened(self.path(backbone, method, seed, name)) for seed in seeds if len(records) < len(seeds)]
        return replace(mean, reason=without_numbers(left_out).reason)


def read_record(path: Path, root: Path) -> Record:
    """A result file.

    Raises:
        SlqError: it is not JSON, not an object, or of another schema.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise SlqError(f"{path}: expected a JSON object")
    return Record(path, relative(path, root), content).of_schema(SCHEMAS.get(path.parent.name, SCHEMA))


def agreed(records: Sequence[Record], *keys: str) -> float | None:
    """The number that all of these files hold, None without any file.

    Raises:
        SlqError: two files disagree, so their results do not belong in one table.
    """
    for record in records[1:]:
        if record.number(*keys) != records[0].number(*keys):
            paths = f"{records[0].path} and {record.path}"
            raise SlqError(f"{'.'.join(keys)} differs between {paths}: one of them is stale")
    return records[0].number(*keys) if records else None


def joined(records: Sequence[Record]) -> str:
    """The source of a number that is made of all of these files, each named once."""
    return "; ".join(dict.fromkeys(source for record in records for source in record.source.split("; ")))


def read_lines(path: Path, root: Path) -> list[Record]:
    """The objects of a JSONL file, each named `file:line`.

    Raises:
        SlqError: the file cannot be read, or a line is no JSON object; names file and line.
    """
    records = []
    for number, content in enumerate(read_json_lines(path), start=1):
        place = path.with_name(f"{path.name}:{number}")
        records.append(Record(place, f"{relative(path, root)}:{number}", content))
    return records


def sourced_rows(path: Path, columns: list[str], root: Path) -> list[tuple[dict[str, str], str]]:
    """Each row of a CSV with its source, `file:line`; errors as in `slq.common.files.read_rows`."""
    return [(row, f"{relative(path, root)}:{line}") for row, line in read_rows(path, columns)]
