"""Schema versions of stored files. A file with another schema is refused with a message, and never partly read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slq.common.errors import SchemaError, SlqError
from slq.common.files import one_line

VERSION = "0.2.0"  # version of this package, as in pyproject.toml
EARLIER_VERSION = "written by a version before 0.2.0"  # version 0.2.0 renamed keys, files and folders


def require_schema(path: Path, content: Any, schema: int, remedy: str) -> None:
    """Check that the content of a JSON file has the schema that this version reads.

    Args:
        path: path of the file, for the message.
        content: content of the file.
        schema: expected schema version.
        remedy: advice on how to make the file again, for the message.

    Raises:
        SchemaError: the content has another schema, or has no schema.
    """
    found = content.get("schema") if isinstance(content, dict) else None
    if found == schema:
        return
    if isinstance(found, int) and found < schema:
        raise earlier_version_error(f"{path}: schema {found}, not {schema}", remedy)
    raise SchemaError(f"{path}: key schema is {found!r}; expected {schema}: {remedy}")


def require_type(location: str, content: Mapping[str, Any], key: str, type_: type) -> None:
    """Check that a key exists and has a value of the given type; a list must be a list of texts.

    Args:
        location: file and line of the content, for the message.
        content: the mapping.
        key: the key.
        type_: the required type.
    """
    value = content.get(key)
    if not isinstance(value, type_):
        raise SlqError(f"{location}: '{key}' must be a {type_.__name__}, found {value!r}")
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        raise SlqError(f"{location}: '{key}' must be a list of texts, found {value!r}")


@contextmanager
def wrap_content_errors(path: Path, remedy: str) -> Iterator[None]:
    """Convert errors that invalid content of a stored file causes to an SlqError that names the file.

    Args:
        path: path of the file, for the message.
        remedy: advice on how to make the file again, for the message.
    """
    try:
        yield
    except KeyError as error:
        raise SlqError(f"{path}: key {error} is missing; {remedy}") from error
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise SlqError(f"{path}: not in the format that this version writes ({one_line(error)}); {remedy}") from error


def earlier_version_error(finding: str, remedy: str) -> SchemaError:
    """Build the error for a file of an earlier version; `finding` names the file and the evidence of its version."""
    return SchemaError(f"{finding}: {EARLIER_VERSION}, and this is slq {VERSION}; {remedy}")
