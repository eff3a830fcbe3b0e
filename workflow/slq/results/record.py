"""Access to a result file: its printed name, and its content by nested keys."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.attempts import is_finite_number
from slq.common.errors import SlqError
from slq.common.files import parse_json, read_csv_rows, read_jsonl, read_text, reject_duplicate_keys
from slq.common.schema import require_schema

SCHEMA = 2
# Schemas of the files in these folders of a run, which differ from SCHEMA.
SCHEMA_BY_FOLDER = {"retrieval": 3, "retention": 4, "blind": 4}
# Expected type of the values under these keys of result files. Other values are checked when they are read.
KEYS_BY_TYPE: dict[Any, str] = {
    dict: "disputed disputed.items.* inputs n provenance provenance.versions readouts.* settings spans splits splits.* "
    "top.* types variant_settings variants variants.* variants.*.variant_settings",
    dict | None: "device provenance.git",
    str | None: "plan",
    list: "disputed.items images readouts readouts.*.cosine splits.*.leaked texts top",
    str: "disputed.items.*.id inputs.* splits.*.leaked.* splits.*.sha256 top.*.image",
    int | float: "top.*.similarity",
}


@dataclass(frozen=True)
class Record:
    """A result file, or one line of a JSONL file.

    Attributes:
        path: the file, or `file:line`
        source: its name in tables, relative to the parent of the results folder
        content: the JSON object
    """

    path: Path
    source: str
    content: dict[str, Any]

    def value(self, *keys: str) -> Any:
        """Return the value under nested keys."""
        value: Any = self.content
        for depth, key in enumerate(keys, start=1):
            if not isinstance(value, dict) or key not in value:
                raise SlqError(f"{self.path}: key {'.'.join(keys[:depth])} is missing; make the file again")
            value = value[key]
        return value

    def number(self, *keys: str, minimum: float | None = None) -> float:
        """Return the finite number under nested keys, which must be at least `minimum`."""
        value = self.value(*keys)
        if not is_finite_number(value) or (minimum is not None and value < minimum):
            bound = "" if minimum is None else f", at least {minimum:g}"
            raise SlqError(f"{self.path}: key {'.'.join(keys)} is {value!r}; expected a number{bound}")
        return value

    def text(self, *keys: str) -> str:
        """Return the string under nested keys."""
        value = self.value(*keys)
        if not isinstance(value, str):
            raise SlqError(f"{self.path}: key {'.'.join(keys)} is {value!r}; expected text")
        return value


def relative_path(path: Path, root: Path) -> str:
    """Return `path` relative to the parent of the results folder `root`; unchanged if it is not inside that parent."""
    base = root.resolve().parent
    resolved = path.resolve()
    return resolved.relative_to(base).as_posix() if resolved.is_relative_to(base) else path.as_posix()


def read_record(path: Path, root: Path, schema: int | None = None) -> Record:
    """Read a result file under the results folder `root`.

    Args:
        schema: the expected schema version; None for the version that SCHEMA_BY_FOLDER gives for its folder, or SCHEMA

    Raises:
        SlqError: the file is not a JSON object, has a duplicate key, or has another schema version
    """
    content = parse_json(read_text(path), str(path), hook=reject_duplicate_keys)
    if not isinstance(content, dict):
        raise SlqError(f"{path}: expected a JSON object")
    record = _checked_record(path, relative_path(path, root), content)
    record.value("schema")
    expected = SCHEMA_BY_FOLDER.get(path.parent.name, SCHEMA) if schema is None else schema
    require_schema(path, content, expected, "make the file again")
    return record


def read_jsonl_records(path: Path, root: Path) -> list[Record]:
    """Read the objects of a JSONL file as records, each named `file:line`."""
    lines = enumerate(read_jsonl(path), start=1)
    return [
        _checked_record(path.with_name(f"{path.name}:{number}"), f"{relative_path(path, root)}:{number}", content)
        for number, content in lines
    ]


def _checked_record(path: Path, source: str, content: dict[str, Any]) -> Record:
    """Build a record, after checking that its values have the types in KEYS_BY_TYPE."""
    for type_, keys in KEYS_BY_TYPE.items():
        expected = getattr(type_, "__name__", type_)
        for key in keys.split():
            if others := [one for one in _find_values(content, key.split(".")) if not isinstance(one, type_)]:
                raise SlqError(f"{path}: key {key} is {others[0]!r}; expected {expected}: make the file again")
    return Record(path, source, content)


def _find_values(content: Any, keys: list[str]) -> Iterator[Any]:
    """Yield the values that exist under nested keys; `*` matches any key of an object and any item of a list."""
    if not keys:
        yield content
    elif keys[0] == "*":
        for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
            yield from _find_values(value, keys[1:])
    elif isinstance(content, dict) and keys[0] in content:
        yield from _find_values(content[keys[0]], keys[1:])


def read_rows_with_sources(path: Path, columns: list[str], root: Path) -> list[tuple[dict[str, str], str]]:
    """Read each row of a CSV file with its source, `file:line`."""
    return [(row, f"{relative_path(path, root)}:{line}") for row, line in read_csv_rows(path, columns)]
