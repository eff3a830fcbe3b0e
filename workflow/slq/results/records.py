"""The files that tables are built from: results of one preset's runs, and rows of published values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_csv_rows, read_json
from slq.common.files import read_jsonl as read_json_lines
from slq.common.inherited import inherited_metrics_path, read_inherited_metrics
from slq.common.schema import earlier_version_error, require_schema
from slq.config.runs import BASE_SEED
from slq.results.cells import Formatter, TableCell, merge_missing_cells
from slq.results.layout import LayoutEntry, ReportLayout
from slq.results.stale import StaleFiles
from slq.results.stale import relative_path as relative_path

BASELINES = "baselines"  # the folder, in a preset's folder, for results of systems that are not runs
SCHEMA = 2
RENAMED_FILES = ("rows", "instrument.json")  # in a preset's folder: names that version 0.2.0 replaced
SCHEMA_BY_FOLDER = {
    "retrieval": 3,
    "retention": 4,
    "blind": 4,
}  # schemas of the files in these folders of a run, which differ from SCHEMA
TABLE1_COLUMNS = ["group", "model", "dataset", "direction", "metric", "value", "mark", "source"]
TABLE3_COLUMNS = ["backbone", "dim", "method", "column", "value", "printed", "mark", "source"]
COST_COLUMNS = ("parameters", "gpu_hours")  # columns of Table 3 where less is better


@dataclass(frozen=True)
class Record:
    """A result file.

    Attributes:
        path: the file that holds the numbers; of an inherited record, another run's file
        source: the name of the file in tables; of an inherited record, it names the inheriting file as well
        content: the JSON object
        inherited: whether the numbers are another run's
        stale_reason: why the numbers do not follow from their inputs; empty where they do
    """

    path: Path
    source: str
    content: dict[str, Any]
    inherited: bool = False
    stale_reason: str = ""

    def value(self, *keys: str) -> Any:
        """Return the value under nested keys.

        Raises:
            SlqError: a key is missing; names file and key
        """
        value: Any = self.content
        for depth, key in enumerate(keys, start=1):
            if not isinstance(value, dict) or key not in value:
                raise SlqError(f"{self.path}: key {'.'.join(keys[:depth])} is missing; make the file again")
            value = value[key]
        return value

    def require_schema(self, schema: int) -> "Record":
        """Check that the file has the given schema, and return the record itself.

        Raises:
            SlqError: the file has another schema
        """
        self.value("schema")
        require_schema(self.path, self.content, schema, "make the file again")
        return self

    def number(self, *keys: str) -> float:
        """Return the finite number under nested keys.

        Raises:
            SlqError: the key is missing or holds something else
        """
        value = self.value(*keys)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SlqError(f"{self.path}: key {'.'.join(keys)} is {value!r}; expected a number")
        return value

    def text(self, *keys: str) -> str:
        """Return the string under nested keys; errors as in `number`."""
        value = self.value(*keys)
        if not isinstance(value, str):
            raise SlqError(f"{self.path}: key {'.'.join(keys)} is {value!r}; expected text")
        return value


class Results:
    """The result files of a layout's preset and seeds.

    A baseline (a comparator, an untrained read-out, a re-ranked list) is addressed as a method with the baseline's name
    on the backbone BASELINES, whatever the seed. A file whose numbers no longer follow from their inputs counts as
    missing, unless `include_stale` is set; `stale_files` lists it.

    Attributes:
        root: the folder that holds one folder per preset
        layout: the preset, its seeds, backbones and methods
        include_stale: whether stale files give their numbers
        stale_files: the stale and unchecked files that were read
    """

    def __init__(self, root: Path, layout: ReportLayout, include_stale: bool = False) -> None:
        """Check that the preset's folder has the present layout.

        Raises:
            SlqError: it has files of an earlier version
        """
        refuse_earlier_layout(root / layout.preset)
        self.root = root
        self.layout = layout
        self.include_stale = include_stale
        self.stale_files = StaleFiles(root)

    def path(self, backbone: str, method: str, seed: int, file_name: str) -> Path:
        """Return the path of a run's file, e.g. `retrieval/coco.json`."""
        run_folder = Path(BASELINES, method) if backbone == BASELINES else Path(backbone, method, f"seed{seed}")
        return self.root / self.layout.preset / run_folder / file_name

    def seeds_of(self, backbone: str, method: str) -> tuple[int, ...]:
        """Return the seeds of a method's runs; a baseline has one."""
        return (BASE_SEED,) if backbone == BASELINES else self.layout.seeds_of(method)

    def find_record(self, backbone: str, method: str, seed: int, file_name: str) -> Record | None:
        """Find a result file of a run; None if the layout leaves the run out or the file gives no numbers.

        Raises:
            SlqError: as `load_record`
        """
        if backbone != BASELINES and seed not in self.layout.seeds_of(method):
            return None
        found = self.load_record(self.path(backbone, method, seed, file_name))
        return found if isinstance(found, Record) else None

    def load_record(self, path: Path) -> Record | TableCell:
        """Load a result file, or return the cell that says why it gives no numbers: it is missing or stale.

        For an inheriting file, the record is that of the file whose numbers it inherits.

        Raises:
            SlqError: the file is not JSON, not an object, or of another schema; an inheriting file was made from other
                inputs
        """
        if not path.exists():
            return TableCell.missing(f"{relative_path(path, self.root)} does not exist")
        record, inherited_record = read_record(path, self.root), None
        if (inherited_path := inherited_metrics_path(path, record.content)) is not None:
            if not inherited_path.exists():
                return TableCell.missing(
                    f"{relative_path(inherited_path, self.root)} does not exist: {record.source} says it is the same"
                )
            inherited_record = read_record(read_inherited_metrics(path, record.content)[0], self.root)
        stale_reason = self.stale_files.check(path, record.content)
        if stale_reason and not self.include_stale:
            return TableCell.stale(stale_reason)
        if inherited_record is None:
            return replace(record, stale_reason=stale_reason)
        return replace(
            inherited_record,
            source=f"{inherited_record.source}; {record.source}",
            inherited=True,
            stale_reason=stale_reason,
        )

    def find_all_seeds(self, backbone: str, method: str, file_name: str) -> list[Record]:
        """Find the file in every run of a method, in the order of the seeds; errors as in `find_record`."""
        found = (self.find_record(backbone, method, seed, file_name) for seed in self.seeds_of(backbone, method))
        return [record for record in found if record is not None]

    def first_seed_record(self, backbone: str, method: str, file_name: str) -> Record | TableCell:
        """Load the file of a method's first seed, or return the cell that says why there is none."""
        found = self.find_record(backbone, method, self.layout.compared_seed(method), file_name)
        return found or self.missing_cell(backbone, method, file_name)

    def find_all_runs(self, file_name: str, *backbones: LayoutEntry) -> list[Record]:
        """Find the file in every run, in the order of the tables.

        The runs are those of the given backbones, or of all; errors as in `find_record`.
        """
        names = [one.name for one in backbones or self.layout.backbones]
        backbone_methods = [(name, method) for name in names for method in self.layout.labels]
        return [record for place in backbone_methods for record in self.find_all_seeds(*place, file_name)]

    def run_record(self, backbone: str, method: str, seed: int) -> Record | None:
        """Load `run.json` of a run, or `baseline.json` of a baseline; None if there is none.

        Raises:
            SlqError: as `find_record`, or the file belongs to another run than its folder
        """
        record = self.find_record(backbone, method, seed, "baseline.json" if backbone == BASELINES else "run.json")
        identity: dict[str, Any] = {"preset": self.layout.preset, "backbone": backbone, "method": method, "seed": seed}
        if backbone == BASELINES:
            identity = {"baseline": method}
        for key, expected in identity.items():
            if record and record.value(key) != expected:
                raise SlqError(f"{record.path}: key {key} is {record.value(key)!r}, its folder says {expected!r}")
        return record

    def run_records(self, backbone: str, method: str) -> list[Record]:
        """Load `run.json` of every run of a method that has one, in the order of the seeds.

        Errors are those of `run_record`.
        """
        found = (self.run_record(backbone, method, seed) for seed in self.layout.seeds_of(method))
        return [record for record in found if record is not None]

    def missing_cell(self, backbone: str, method: str, file_name: str) -> TableCell:
        """Build the cell for a file that no run of a method has, or that is stale.

        Where a run inherits its file, the missing or stale file may be another run's.
        """
        if backbone != BASELINES and method not in self.layout.methods:
            return TableCell.missing(f"{method} is not among the methods of preset {self.layout.preset}")
        paths = [self.path(backbone, method, seed, file_name) for seed in self.seeds_of(backbone, method)]
        absent = [relative_path(path, self.root) for path in paths if not path.exists()]
        if len(absent) == len(paths) or not file_name.endswith(".json"):
            return TableCell.missing(f"{', '.join(absent)} {'does' if len(absent) == 1 else 'do'} not exist")
        return merge_missing_cells(self.load_record(path) for path in paths)

    def mean_cell(
        self, backbone: str, method: str, file_name: str, keys: Sequence[str], formatter: Formatter
    ) -> TableCell:
        """Build the cell of the mean over seeds of the number under `keys`, or an empty cell if no run has the file.

        Where every run inherits the same number, the cell is inherited and no mean is taken.
        """
        records = self.find_all_seeds(backbone, method, file_name)
        if not records:
            return self.missing_cell(backbone, method, file_name)
        number = common_number(records, *keys) if all(record.inherited for record in records) else None
        if number is not None:
            reason = f"inherited from {relative_path(records[0].path, self.root)}"
            return TableCell.inherited(
                number, formatter, joined_sources(records), comparable=True, n=len(records), reason=reason
            )
        mean = TableCell.mean([record.number(*keys) for record in records], formatter, joined_sources(records))
        seeds = self.layout.seeds_of(method)
        left_out = [
            self.load_record(self.path(backbone, method, seed, file_name))
            for seed in seeds
            if len(records) < len(seeds)
        ]
        return replace(mean, reason=merge_missing_cells(left_out).reason)


def refuse_earlier_layout(folder: Path) -> None:
    """Check that a preset's folder has no file under a name of an earlier version.

    Raises:
        SlqError: it has one
    """
    if found := [name for name in RENAMED_FILES if (folder / name).exists()]:
        remedy = "move the folder away, and make the results again"
        raise earlier_version_error(f"{folder}: has {' and '.join(found)}", remedy)


def read_record(path: Path, root: Path) -> Record:
    """Read a result file.

    Raises:
        SlqError: it is not JSON, not an object, or of another schema
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise SlqError(f"{path}: expected a JSON object")
    return Record(path, relative_path(path, root), content).require_schema(
        SCHEMA_BY_FOLDER.get(path.parent.name, SCHEMA)
    )


def common_number(records: Sequence[Record], *keys: str) -> float | None:
    """Return the number that all records share; None without any record.

    Raises:
        SlqError: two files disagree, so their results do not belong in one table
    """
    for record in records[1:]:
        if record.number(*keys) != records[0].number(*keys):
            paths = f"{records[0].path} and {record.path}"
            raise SlqError(f"{'.'.join(keys)} differs between {paths}: one of them is stale")
    return records[0].number(*keys) if records else None


def joined_sources(records: Sequence[Record]) -> str:
    """Join the sources of several records, each named once."""
    return "; ".join(dict.fromkeys(source for record in records for source in record.source.split("; ")))


def read_jsonl_records(path: Path, root: Path) -> list[Record]:
    """Read the objects of a JSONL file as records, each named `file:line`.

    Raises:
        SlqError: the file cannot be read, or a line is no JSON object; names file and line
    """
    records = []
    for number, content in enumerate(read_json_lines(path), start=1):
        line_path = path.with_name(f"{path.name}:{number}")
        records.append(Record(line_path, f"{relative_path(path, root)}:{number}", content))
    return records


def read_rows_with_sources(path: Path, columns: list[str], root: Path) -> list[tuple[dict[str, str], str]]:
    """Read each row of a CSV with its source, `file:line`; errors as in `slq.common.files.read_csv_rows`."""
    return [(row, f"{relative_path(path, root)}:{line}") for row, line in read_csv_rows(path, columns)]
