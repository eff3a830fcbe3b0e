"""Schema versions of stored files: a file of an earlier version is rejected with a message, never partly read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slq.common.errors import SchemaError, SlqError
from slq.common.files import one_line

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


def require_type(location: str, content: Mapping[str, Any], key: str, type_: type) -> None:
    """Check the type of a value, which must be there; a list must be one of texts.

    Args:
        location: file and line of the content, for the message.

    Raises:
        SlqError: the value is of another type.
    """
    value = content.get(key)
    if not isinstance(value, type_):
        raise SlqError(f"{location}: '{key}' must be a {type_.__name__}, found {value!r}")
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        raise SlqError(f"{location}: '{key}' must be a list of texts, found {value!r}")


@contextmanager
def wrap_content_errors(path: Path, remedy: str) -> Iterator[None]:
    """Raise an SlqError that names a stored file whose content is read in here, if it is not of the form that is read.

    Args:
        remedy: how to make the file again, for the message.
    """
    try:
        yield
    except KeyError as error:
        raise SlqError(f"{path}: key {error} is missing; {remedy}") from error
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise SlqError(f"{path}: not of the form that this version writes ({one_line(error)}); {remedy}") from error


def earlier_version_error(finding: str, remedy: str) -> SchemaError:
    """Build the error for a file of an earlier version; `finding` names the file and what shows its version."""
    return SchemaError(f"{finding}: {EARLIER_VERSION}, and this is slq {VERSION}; {remedy}")
