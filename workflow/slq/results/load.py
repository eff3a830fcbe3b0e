"""Results of one preset as a DataFrame: one row per expected number, with its value or the reason it is missing."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from slq.common.errors import SlqError
from slq.common.inherited import inherited_metrics_path, read_inherited_metrics
from slq.common.schema import earlier_version_error
from slq.config.runs import BASE_SEED
from slq.evaluation.freshness import check_freshness
from slq.evaluation.rank_table import RANK_DIRECTIONS
from slq.evaluation.reference_recalls import RECALL_METRICS
from slq.evaluation.retention_metrics import HIT_COUNT_BENCHMARKS
from slq.methods.registry import BASE
from slq.results.cells import ABSENT, TableCell, empty_cell, mean_cell, with_numbers
from slq.results.evidence import evidence
from slq.results.hours import total_device_hours, training_device_hours
from slq.results.layout import BASELINES, ReportLayout
from slq.results.ledger import LEDGER_FILE, load_ledger
from slq.results.record import Record, read_record, relative_path

AUDIT_SCHEMA = 4
RENAMED_FILES = ("rows", "instrument.json")  # names in a preset's folder that version 0.2.0 replaced
DEVICE_KINDS = ("cuda", "cpu")
FILE_KEYS = ["backbone", "method", "seed", "kind", "dataset"]  # columns that identify a file
NUMBER_KEYS = [*FILE_KEYS, "variant", "question_type", "direction", "metric"]  # columns that identify a number
COLUMNS = [*NUMBER_KEYS, "baseline", "unit", "value", "low", "high", "device", "key"]
COLUMNS += ["state", "reason", "source", "path", "record", "inherits", "unchecked"]


class Place(NamedTuple):
    """The key of a number over all seeds: the columns that identify a number, without the seed."""

    backbone: str
    method: str
    kind: str
    dataset: str
    metric: str
    direction: str = ""
    variant: str = ""
    question_type: str = ""


class Number(NamedTuple):
    """A number in a file: its columns, and the nested keys that lead to it."""

    keys: tuple[str, ...]
    metric: str
    unit: str
    direction: str = ""
    variant: str = ""
    question_type: str = ""


def as_rows(frame: pd.DataFrame) -> list[Any]:
    """Return the rows of a DataFrame as named tuples."""
    return list(frame.itertuples(index=False))


# ---- files -----------------------------------------------------------------------------------------------------------


def list_expected_files(folder: Path, expected: ReportLayout) -> Iterator[tuple[Any, ...]]:
    """List the files that a layout expects in a preset's folder, each with the columns FILE_KEYS and its path.

    A baseline is a comparator, an untrained read-out or a re-ranked list. It is listed with its name as the method,
    BASELINES as the backbone, and BASE_SEED as the seed.
    """
    retrieval = dict.fromkeys(one.name for one in (*expected.retrieval_datasets, *expected.knowledge_datasets))
    retention = [one.name for one in expected.retention_datasets]
    for backbone, method, seed in expected.runs:
        run_folder = folder / backbone / method / f"seed{seed}"
        yield backbone, method, seed, "run", "", run_folder / "run.json"
        datasets = {"retrieval": retrieval, "retention": retention, "blind": retention if method == BASE else ()}
        for kind, names in datasets.items():
            for name in names:
                yield backbone, method, seed, kind, name, run_folder / kind / f"{name}.json"
    for baseline in expected.baselines:
        baseline_folder = folder / BASELINES / baseline.name
        yield BASELINES, baseline.name, BASE_SEED, "run", "", baseline_folder / "baseline.json"
        for name in retrieval:
            path = baseline_folder / "retrieval" / f"{name}.json"
            yield BASELINES, baseline.name, BASE_SEED, "retrieval", name, path


def load_files(folder: Path, expected: ReportLayout) -> pd.DataFrame:
    """Load the expected files as one row per file, with columns as in `load`.

    Raises:
        SlqError: the folder was written by an earlier version, or an existing file cannot be used
    """
    if found := [name for name in RENAMED_FILES if (folder / name).exists()]:
        remedy = "move the folder away, and make the results again"
        raise earlier_version_error(f"{folder}: contains {' and '.join(found)}", remedy)
    rows = [
        {**dict(zip(FILE_KEYS, place, strict=True)), "path": path, **_read_file(path, folder.parent)}
        for *place, path in list_expected_files(folder, expected)
    ]
    columns = [*FILE_KEYS, "path", "state", "reason", "source", "record", "inherits", "unchecked"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def _read_file(path: Path, root: Path) -> dict[str, Any]:
    """Read a result file and check that its numbers follow from its ranks or answers.

    The record of an inheriting file is that of the file whose numbers it inherits. A stale file also has a record.
    """
    name = relative_path(path, root)
    columns: dict[str, Any] = {"state": "missing", "source": name, "record": None, "inherits": False, "unchecked": ()}
    if not path.exists():
        return columns | {"reason": f"{name}{ABSENT}"}
    record = read_record(path, root)
    inherited_path = inherited_metrics_path(path, record.content)
    if inherited_path is None:
        columns |= {"state": "measured", "reason": "", "record": record}
        return columns | _check_file(path, record.content, root)
    inherited_name = relative_path(inherited_path, root)
    if not inherited_path.exists():
        return columns | {"reason": f"{inherited_name}{ABSENT}: {name} says it is the same"}
    columns |= {"state": "inherited", "reason": f"inherited from {inherited_name}", "inherits": True}
    columns |= {"source": f"{inherited_name}; {name}"}
    columns["record"] = read_record(read_inherited_metrics(path, record.content)[0], root)
    return columns | _check_file(path, record.content, root)


def _check_file(path: Path, content: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the columns of a stale or uncheckable file; no columns if its numbers follow from their inputs."""
    freshness = check_freshness(path, content)
    file = relative_path(freshness.path, root)
    if freshness.unchecked_reason:
        return {"unchecked": (file, freshness.unchecked_reason)}
    return {"state": "stale", "reason": f"{file} {freshness.stale_reason}"} if freshness.stale_reason else {}


def warning_lines(files: pd.DataFrame) -> list[str]:
    """Return one line per stale file, and one line per reason for which files cannot be checked."""
    lines = sorted({*files.loc[files["state"] == "stale", "reason"]})
    files_by_reason = defaultdict(list)
    for file, reason in sorted({*files.loc[files["unchecked"] != (), "unchecked"]}):
        files_by_reason[reason].append(file)
    for reason, names in files_by_reason.items():
        more = f"; the same holds for {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"cannot be checked: {names[0]} {reason}{more}")
    return lines


def print_warnings(files: pd.DataFrame) -> None:
    """Print the warnings about stale and unchecked files to standard error."""
    for line in warning_lines(files):
        print(f"slq: warning: {line}", file=sys.stderr)


def read_audit(folder: Path) -> Record | None:
    """Read the dataset audit in a preset's folder; return None if it does not exist."""
    path = folder / "audit.json"
    return read_record(path, folder.parent, AUDIT_SCHEMA) if path.exists() else None


# ---- numbers ---------------------------------------------------------------------------------------------------------


def load(folder: Path, expected: ReportLayout) -> pd.DataFrame:
    """Load every expected number of a preset's folder.

    Args:
        folder: the preset's folder
        expected: the backbones, methods, seeds, datasets and baselines whose numbers are expected

    Returns:
        One row per number, with the columns COLUMNS. NUMBER_KEYS identify the number. `value` is the number, `low` and
        `high` its 95 % confidence interval if the file has one, `unit` its unit, `device` the kind and name of the
        device for hours, and `key` its key in the file. `state` is measured, inherited, stale or missing, and `reason`
        explains it; a stale number keeps its value. `source` is the printed list of its files. `path` is the run's own
        file; `record` is the file that contains the number and the `inputs` that the number was computed from.

    Raises:
        SlqError: an existing file lacks a number or has another value in its place, or a number is expected twice
    """
    return list_numbers(load_files(folder, expected))


def list_numbers(files: pd.DataFrame) -> pd.DataFrame:
    """List the numbers of expected files, as `load` does."""
    rows: list[dict[str, Any]] = []
    names = files["method"].where(files["backbone"] == BASELINES, "")
    tasks = files["kind"].replace("blind", "retention")
    for _, group in files.groupby([files["backbone"], names, tasks, files["dataset"]], sort=False):
        known = [file.record for file in with_numbers(as_rows(group))]
        known = known or list(group["record"].dropna())
        for file in (row._asdict() for row in as_rows(group)):
            baseline = file["method"] if file["backbone"] == BASELINES else ""
            numbers = () if baseline and file["kind"] == "run" else LIST_NUMBERS[file["kind"]](known)
            rows += [{**file, "baseline": baseline, **_number_columns(number, file)} for number in numbers]
    found = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    if (repeated := found.duplicated(NUMBER_KEYS)).any():
        first = found[repeated].iloc[0]
        raise SlqError(f"{first['path']}: {first['key']} is expected twice; list each backbone and dataset once")
    return found


def _number_columns(number: Number, file: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a number that are not columns of its file."""
    columns: dict[str, Any] = number._asdict() | {"key": ".".join(number.keys)}
    columns |= dict.fromkeys(("value", "low", "high", "device"))
    record: Record | None = file["record"]
    if record is None:
        return columns
    if file["method"] == BASE and number.metric in ("parameters", "hours", "total_hours"):
        return columns | _untrained_columns(number, file)
    if number.unit == "hours":
        return columns | _hours_columns(number.metric, file)
    columns["value"] = record.number(*number.keys)
    if number.unit == "score":
        columns["unit"] = "hits" if record.text("benchmark") in HIT_COUNT_BENCHMARKS else "percent"
    if number.keys[0] == "metrics" and file["kind"] == "retrieval":
        columns["low"], columns["high"] = _interval_bounds(record, *number.keys[1:])
    return columns


def _interval_bounds(record: Record, *keys: str) -> tuple[float, float]:
    """Return the bounds of a recall's 95 % confidence interval."""
    match record.value("ci95", *keys):
        case [int() | float() as low, int() | float() as high]:
            return low, high
    raise SlqError(f"{record.path}: key ci95.{'.'.join(keys)} is not a pair of numbers; make the file again")


def _hours_columns(metric: str, file: dict[str, Any]) -> dict[str, Any]:
    """Compute the device hours of a trained run, and return them with the kind and name of the device."""
    record: Record = file["record"]
    if not record.value("device"):
        return {"state": "missing", "reason": f"{record.source} names no device"}
    kind = record.text("device", "kind")
    if kind not in DEVICE_KINDS:
        raise SlqError(f"{record.path}: key device.kind is {kind!r}; expected one of {list(DEVICE_KINDS)}")
    compute_hours = training_device_hours if metric == "hours" else total_device_hours
    return {"value": compute_hours(record), "device": (kind, record.text("device", "name"))}


def _untrained_columns(number: Number, file: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a zero for base, which has neither trained parameters nor training hours.

    Raises:
        SlqError: the file records trained parameters for base
    """
    record: Record = file["record"]
    if number.metric == "parameters" and (trained := record.number(*number.keys)) != 0:
        raise SlqError(f"{record.path}: key {'.'.join(number.keys)} is {trained:g}; expected 0, as base trains nothing")
    source = f"nothing is trained: {record.source}"
    return {"value": 0, "unit": "count", "state": "inherited", "reason": source, "source": source}


def _recall_numbers(records: Sequence[Record]) -> Iterator[Number]:
    """List the numbers of a retrieval metrics file, with the variants that occur in any file of the dataset."""
    variants = dict.fromkeys(variant for record in records for variant in record.value("variants"))
    yield Number(("n", "images"), "images", "count")
    for direction in sorted(RANK_DIRECTIONS):
        yield Number(("ties", direction), "ties", "count", direction)
        for metric in RECALL_METRICS:
            yield Number(("metrics", direction, metric), metric, "percent", direction)
            yield Number(("pessimistic", direction, metric), f"{metric} pessimistic", "percent", direction)
            for variant in variants:
                keys = ("variants", variant, "metrics", direction, metric)
                yield Number(keys, metric, "percent", direction, variant)


def _score_numbers(records: Sequence[Record]) -> Iterator[Number]:
    """List the numbers of a retention metrics file, with the question types that occur in any file of the dataset."""
    yield Number(("metrics", "score"), "score", "score")
    yield Number(("metrics", "accuracy"), "accuracy", "percent")
    yield Number(("n", "items"), "items", "count")
    yield Number(("chance",), "chance", "percent")
    for name in sorted({name for record in records for name in record.value("types") if name}):
        yield Number(("types", name, "n"), "items", "count", question_type=name)
        yield Number(("types", name, "score"), "accuracy", "percent", question_type=name)
        yield Number(("types", name, "chance"), "chance", "percent", question_type=name)


def _run_numbers(_: Sequence[Record]) -> Iterator[Number]:
    """List the numbers of run.json."""
    yield Number(("hidden_size",), "hidden_size", "count")
    yield Number(("parameters", "trainable"), "parameters", "parameters")
    yield Number(("parameters", "total"), "total_parameters", "parameters")
    yield Number(("spans", "train"), "hours", "hours")
    yield Number(("spans",), "total_hours", "hours")


LIST_NUMBERS = {"retrieval": _recall_numbers, "retention": _score_numbers, "blind": _score_numbers, "run": _run_numbers}


class Results:
    """The results of a layout's preset, with access to the row or cell of each number by its columns.

    Attributes:
        root: the results folder, which has one folder per preset
        layout: the preset with its seeds, backbones, methods, datasets and baselines
        files: the expected files, as `load_files` returns them
        numbers: the expected numbers, as `load` returns them
        audit: the audit of the preset's datasets, or None if it does not exist
        ledger_path: the ledger of the preset's hours
    """

    def __init__(self, root: Path, layout: ReportLayout) -> None:
        """Load the results, and check that each run's file belongs to the run that its folder names."""
        self.root, self.layout, self.folder = root, layout, root / layout.preset
        self.files = load_files(self.folder, layout)
        self._check_identities()
        self.numbers = list_numbers(self.files)
        self.audit = read_audit(self.folder)
        self.ledger_path = self.folder / LEDGER_FILE
        self._rows: dict[Place, list[Any]] = defaultdict(list)
        for row in as_rows(self.numbers):
            self._rows[Place(*(getattr(row, field) for field in Place._fields))].append(row)

    def _check_identities(self) -> None:
        """Check that each run.json and baseline.json belongs to the run or baseline that its folder names."""
        for file in self.records("run"):
            identity = {"preset": self.layout.preset, "backbone": file.backbone, "method": file.method}
            identity |= {"seed": file.seed}
            if file.backbone == BASELINES:
                identity = {"baseline": file.method}
            for key, expected in identity.items():
                if (value := file.record.value(key)) != expected:
                    raise SlqError(f"{file.path}: key {key} is {value!r}; expected {expected!r} in this folder")

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """The rows of the ledger, loaded on first use."""
        return load_ledger(self.ledger_path)

    def relative_path(self, path: Path) -> str:
        """Return a path as printed in sources: relative to the parent of the results folder."""
        return relative_path(path, self.root)

    def records(self, kind: str, dataset: str = "", *backbones: str) -> list[Any]:
        """List the files of a kind that have numbers, as rows of `files`, for the given backbones or for all."""
        of_kind = (self.files["kind"] == kind) & (self.files["dataset"] == dataset)
        if backbones:
            of_kind &= self.files["backbone"].isin(backbones)
        return with_numbers(as_rows(self.files[of_kind]))

    def rows(self, *place: str, **columns: str) -> list[Any]:
        """Return the rows of a number in the order of the seeds; an empty list if the layout leaves the method out.

        Args:
            place, columns: the fields of `Place`
        """
        return self._rows.get(Place(*place, **columns), [])

    def cell(self, *place: str, **columns: str) -> TableCell:
        """Build the cell of a number's mean over the seeds; the arguments are those of `rows`."""
        rows = self.rows(*place, **columns)
        return mean_cell(rows) if rows else self.left_out_cell(Place(*place, **columns).method)

    def row_of_run(self, run: Any, *number: str) -> Any:
        """Return the row of another number of a run; `number` has the fields of `Place` from `kind` on."""
        return next(row for row in self.rows(run.backbone, run.method, *number) if row.seed == run.seed)

    def evidence(self, backbone: str, method: str, kind: str, dataset: str) -> dict[int, pd.DataFrame] | TableCell:
        """Read a method's ranks or answers by seed (`slq.results.evidence`); an empty cell if no seed has any."""
        metric, direction = ("R@1", "t2i") if kind == "retrieval" else ("score", "")
        rows = self.rows(backbone, method, kind, dataset, metric, direction)
        if not rows:
            return self.left_out_cell(method)
        by_seed, empty = dict[int, pd.DataFrame](), empty_cell(rows)
        for row in with_numbers(rows):
            found = evidence(row)
            if isinstance(found, TableCell):
                empty = found
            else:
                by_seed[row.seed] = found
        return by_seed or empty

    def left_out_cell(self, method: str) -> TableCell:
        """Build the cell of a method that the layout leaves out.

        Raises:
            ValueError: the layout has the method, so a missing row means that no such number is expected
        """
        if method in self.layout.methods:
            raise ValueError(f"no such number is expected of {method}")
        return TableCell.missing(f"{method} is not among the methods of preset {self.layout.preset}")
