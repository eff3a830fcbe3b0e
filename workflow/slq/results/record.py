"""One result file: its name in print, and its content by nested keys."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_csv_rows, read_jsonl, reject_duplicate_keys, wrap_read_errors
from slq.common.schema import require_schema

SCHEMA = 2
# Schemas of the files in these folders of a run, which differ from SCHEMA.
SCHEMA_BY_FOLDER = {"retrieval": 3, "retention": 4, "blind": 4}


@dataclass(frozen=True)
class Record:
    """A result file, or a line of one.

    Attributes:
        path: the file that holds the content
        source: its name in tables, relative to the folder above the results folder
        content: the JSON object
    """

    path: Path
    source: str
    content: dict[str, Any]

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

    def number(self, *keys: str, minimum: float | None = None) -> float:
        """Return the finite number under nested keys.

        Raises:
            SlqError: the key is missing or holds something else, or less than `minimum`
        """
        value = self.value(*keys)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or (minimum is not None and value < minimum):
            bound = "" if minimum is None else f", at least {minimum:g}"
            raise SlqError(f"{self.path}: key {'.'.join(keys)} is {value!r}; expected a number{bound}")
        return value

    def text(self, *keys: str) -> str:
        """Return the string under nested keys; errors as in `number`."""
        value = self.value(*keys)
        if not isinstance(value, str):
            raise SlqError(f"{self.path}: key {'.'.join(keys)} is {value!r}; expected text")
        return value


def relative_path(path: Path, root: Path) -> str:
    """Return `path` relative to the folder above the results folder `root`, or as given if it lies elsewhere."""
    base = root.resolve().parent
    resolved = path.resolve()
    return resolved.relative_to(base).as_posix() if resolved.is_relative_to(base) else path.as_posix()


def read_record(path: Path, root: Path, schema: int | None = None) -> Record:
    """Read a result file under the results folder `root`.

    Args:
        schema: its schema; None for that of its folder

    Raises:
        SlqError: it cannot be read, is not JSON, has a key twice, is not an object, or of another schema
    """
    with wrap_read_errors(path):
        data = path.read_bytes()
    try:
        content = json.loads(data, object_pairs_hook=reject_duplicate_keys)
    except ValueError as error:
        raise SlqError(f"{path}: not valid JSON ({error}); delete it and make it again") from error
    if not isinstance(content, dict):
        raise SlqError(f"{path}: expected a JSON object")
    record = Record(path, relative_path(path, root), content)
    record.value("schema")
    expected = SCHEMA_BY_FOLDER.get(path.parent.name, SCHEMA) if schema is None else schema
    require_schema(path, content, expected, "make the file again")
    return record


def read_jsonl_records(path: Path, root: Path) -> list[Record]:
    """Read the objects of a JSONL file as records, each named `file:line`.

    Raises:
        SlqError: the file cannot be read, or a line is no JSON object; names file and line
    """
    lines = enumerate(read_jsonl(path), start=1)
    return [
        Record(path.with_name(f"{path.name}:{number}"), f"{relative_path(path, root)}:{number}", content)
        for number, content in lines
    ]


def read_rows_with_sources(path: Path, columns: list[str], root: Path) -> list[tuple[dict[str, str], str]]:
    """Read each row of a CSV with its source, `file:line`; errors as in `slq.common.files.read_csv_rows`."""
    return [(row, f"{relative_path(path, root)}:{line}") for row, line in read_csv_rows(path, columns)]
