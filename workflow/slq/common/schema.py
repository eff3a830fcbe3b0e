"""The number of a stored file's form: a file of an earlier version is refused by name, never half understood."""

from pathlib import Path
from typing import Any

from slq.common.errors import SlqError

VERSION = "0.2.0"  # of this package, as in pyproject.toml
EARLIER_VERSION = "written by a version before 0.2.0"  # which renamed keys, files and folders


def require_schema(path: Path, content: Any, schema: int, remedy: str) -> None:
    """Check that the content of a JSON file has the form that this version reads.

    Args:
        remedy: what makes the file anew, for the message.

    Raises:
        SlqError: it is of another schema, or not an object with one.
    """
    found = content.get("schema") if isinstance(content, dict) else None
    if found == schema:
        return
    if isinstance(found, int) and found < schema:
        raise earlier_version_error(f"{path}: schema {found}, not {schema}", remedy)
    raise SlqError(f"{path}: key schema is {found!r}; expected {schema}: {remedy}")


def earlier_version_error(finding: str, remedy: str) -> SlqError:
    """Make the error for what an earlier version wrote; `finding` names the file, and what about it shows that."""
    return SlqError(f"{finding}: {EARLIER_VERSION}, and this is slq {VERSION}; {remedy}")
