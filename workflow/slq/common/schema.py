"""Schema versions of stored files: a file of an earlier version is rejected with a message, never partly read."""

from pathlib import Path
from typing import Any

from slq.common.errors import SchemaError

VERSION = "0.2.0"  # of this package, as in pyproject.toml
EARLIER_VERSION = "written by a version before 0.2.0"  # which renamed keys, files and folders


def require_schema(path: Path, content: Any, schema: int, remedy: str) -> None:
    """Check that the content of a JSON file has the schema that this version reads.

    Args:
        path: the file, for the message.
        content: its content.
        schema: the version that is expected.
        remedy: how to make the file again, for the message.

    Raises:
        SchemaError: the content has another schema, or is not an object with one.
    """
    found = content.get("schema") if isinstance(content, dict) else None
    if found == schema:
        return
    if isinstance(found, int) and found < schema:
        raise earlier_version_error(f"{path}: schema {found}, not {schema}", remedy)
    raise SchemaError(f"{path}: key schema is {found!r}; expected {schema}: {remedy}")


def earlier_version_error(finding: str, remedy: str) -> SchemaError:
    """Build the error for a file of an earlier version; `finding` names the file and what shows its version."""
    return SchemaError(f"{finding}: {EARLIER_VERSION}, and this is slq {VERSION}; {remedy}")
