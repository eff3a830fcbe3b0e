"""Checks of values that a schema cannot express: values that no key may have, and paths, which are also expanded."""

import math
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError

# With magnitudes between these limits, the products and quotients in a forecast stay finite.
SMALLEST_NUMBER, LARGEST_NUMBER = 1e-30, 1e30
MAX_DEPTH = 50  # largest nesting depth of mappings and lists
# Keys whose values are paths if they are text.
PATH_KEYS = ("scratch", "local_dir", "queries", "folder", "include_ids", "exclude_ids")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
# Snakemake interprets `{}` as wildcards, `<>` as path variables and `://` as a URL. In the command line of a cluster
# job, shells interpret the other characters, and the argument parser a leading dash.
UNUSABLE = re.compile(r"""[{}<>"\\`$\n\t]|://|^-""")
HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # half of a surrogate pair
CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # except newlines and tabs


def reject_unusable_values(content: Any, file_name: str) -> None:
    """Reject the content of a file if it has a value that no key may have; report the first such value."""
    for key, fault in _find_faults(content, "", ()):
        raise SlqError(f"{file_name}: {key or 'the file'} {fault}")


def _find_faults(content: Any, key: str, parents: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Yield the key and the fault of each invalid value in the content of a key.

    Args:
        content: content of the key.
        key: path of the key.
        parents: ids of the mappings and lists that contain the content.
    """
    if isinstance(content, dict | list):
        if id(content) in parents or len(parents) == MAX_DEPTH:
            yield key, f"contains itself, or is nested more than {MAX_DEPTH} levels deep"
            return
        is_mapping, inner = isinstance(content, dict), (*parents, id(content))
        for name, one in content.items() if isinstance(content, dict) else enumerate(content):
            if is_mapping and not (isinstance(name, str) and name.isprintable()):
                yield key, f"has the key {name!r}; expected text on one line: put it in quotes, or use another name"
            else:
                place = f"{key}.{name}".removeprefix(".") if is_mapping else f"{key}[{name}]"
                yield from _find_faults(one, place, inner)
    elif fault := _describe_value(content):
        yield key, fault


def _describe_value(value: Any) -> str:
    """Describe the fault of a value that is not a mapping or list; return an empty string if it has none."""
    if isinstance(value, str):
        if HALF_CHARACTER.search(value):
            return "contains half a surrogate pair, which cannot be written to a file; write the character itself"
        control = CONTROL_CHARACTER.search(value)
        return f"contains the control character {control[0]!r}; remove it" if control else ""
    if value is None or isinstance(value, bool):
        return ""
    if not isinstance(value, int | float):
        return f"is read by YAML as a {type(value).__name__}; put it in quotes if it is text"
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number; expected a finite number"
    if value and not SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER:
        size = "large" if abs(value) > 1 else "small"
        return f"is too {size}; expected 0, or a magnitude from {SMALLEST_NUMBER:g} to {LARGEST_NUMBER:g}"
    return ""


# ---- paths -----------------------------------------------------------------------------------------------------------


def expand_paths(content: Any, key: str = "") -> None:
    """Replace `~`, `$NAME` and `${NAME}` in every path of a validated configuration, in place.

    Raises:
        SlqError: a variable is not set, a home folder is unknown, or a path has a character that jobs cannot use.
    """
    for name, value in content.items() if isinstance(content, dict) else enumerate(content):
        place = f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}".removeprefix(".")
        if isinstance(value, dict | list):
            if name in PATH_KEYS and isinstance(value, list):
                value[:] = [expand_path(one, f"{place}[{number}]") for number, one in enumerate(value)]
            else:
                expand_paths(value, place)
        elif name in PATH_KEYS and isinstance(value, str):
            content[name] = expand_path(value, place)


def expand_path(path: str, key: str) -> str:
    """Expand `~` and environment variables in a path of the configuration, and check that jobs can use the path."""

    def refuse(reason: str) -> SlqError:
        return SlqError(f"config: {key} is {path!r}; {reason}")

    def variable_value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise refuse(f"the environment variable {name} is not set or is empty: set it, or write the path itself")
        return os.environ[name]

    expanded = os.path.expanduser(VARIABLE.sub(variable_value, path))
    if expanded.startswith("~"):
        raise refuse(f"the home folder of {expanded.split('/')[0]} is unknown: set HOME, or write the path itself")
    if found := UNUSABLE.search(expanded):
        place = "at the start of" if found[0] == "-" else "in"
        raise refuse(f"jobs cannot use {found[0]!r} {place} a path; rename the folder, or use a link to it")
    try:
        os.fsencode(expanded)
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        reason = f"file names on this system use {encoding}, which lacks some of its characters: set LC_ALL=C.UTF-8"
        raise refuse(reason) from error
    return str(Path(expanded))


def describe_unquotable_python() -> str:
    """Describe why cluster jobs could not start this Python; return an empty string if they could.

    Snakemake does not quote the path of Python.
    """
    if shlex.quote(sys.executable) == sys.executable:
        return ""
    return (
        f"{sys.executable}: cluster jobs would not find this Python, because a shell would change its path; install "
        "the environment in a folder whose path has only letters, digits and -_./"
    )
