"""Values that a schema does not judge: what no key of a file can have, and paths, which are expanded or refused."""

import math
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError

# Magnitudes of numbers: between these, what a forecast multiplies and divides stays finite.
SMALLEST_NUMBER, LARGEST_NUMBER = 1e-30, 1e30
MAX_DEPTH = 50  # of mappings and lists within each other
PATH_KEYS = ("scratch", "local_dir", "queries", "folder", "include_ids", "exclude_ids")  # where they hold text
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
# Snakemake reads `{}` as wildcards, `<>` as path variables and `://` as an address; of a job's command line, the shells
# of a cluster read the others, and its parser a leading dash.
UNUSABLE = re.compile(r"""[{}<>"\\`$\n\t]|://|^-""")
HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # of a pair of surrogates
CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # line ends and tabs are none


def reject_unusable_values(content: Any, file_name: str) -> None:
    """Reject a file's content that holds a value that no key can have.

    Raises:
        SlqError: the first such value, by its key.
    """
    for key, fault in _find_faults(content, "", ()):
        raise SlqError(f"{file_name}: {key or 'the file'} {fault}")


def _find_faults(content: Any, key: str, parents: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Yield key and fault of each value at or below a key that no key can have.

    Args:
        parents: ids of the mappings and lists that hold the content.
    """
    if isinstance(content, dict | list):
        if id(content) in parents or len(parents) == MAX_DEPTH:
            yield key, f"holds itself, or more than {MAX_DEPTH} mappings and lists within each other"
            return
        is_mapping, inner = isinstance(content, dict), (*parents, id(content))
        for name, one in content.items() if isinstance(content, dict) else enumerate(content):
            if is_mapping and not (isinstance(name, str) and name.isprintable()):
                yield key, f"has the key {name!r}, which is no text on one line; put it in quotes, or name it otherwise"
            else:
                place = f"{key}.{name}".removeprefix(".") if is_mapping else f"{key}[{name}]"
                yield from _find_faults(one, place, inner)
    elif fault := _describe_value(content):
        yield key, fault


def _describe_value(value: Any) -> str:
    """Describe what is wrong with a text, number or other value that holds no others; empty if nothing is."""
    if isinstance(value, str):
        if HALF_CHARACTER.search(value):
            return "holds half a surrogate pair, which no file can hold; write the character itself"
        control = CONTROL_CHARACTER.search(value)
        return f"holds the control character {control[0]!r}; take it out" if control else ""
    if value is None or isinstance(value, bool):
        return ""
    if not isinstance(value, int | float):
        return f"is a {type(value).__name__}, as YAML reads it; put it in quotes if it is text"
    if isinstance(value, float) and not math.isfinite(value):
        return "is no finite number; give one"
    if value and not SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER:
        size = "large" if abs(value) > 1 else "small"
        return f"is too {size} a number; expected 0, or a magnitude from {SMALLEST_NUMBER:g} to {LARGEST_NUMBER:g}"
    return ""


# ---- paths -----------------------------------------------------------------------------------------------------------


def expand_paths(content: Any, key: str = "") -> None:
    """Replace `~`, `$NAME` and `${NAME}` in every path of a checked configuration, in place.

    Raises:
        SlqError: a variable is not set, a home folder is not known, or no job could use the path; names the key.
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
    """Return a path of the configuration with `~` and variables of the environment expanded.

    Raises:
        SlqError: as `expand_paths`.
    """

    def refuse(reason: str) -> SlqError:
        return SlqError(f"config: {key} is {path!r}; {reason}")

    def variable_value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise refuse(f"the environment variable {name} is not set, or empty: set it, or write the path itself")
        return os.environ[name]

    expanded = os.path.expanduser(VARIABLE.sub(variable_value, path))
    if expanded.startswith("~"):
        raise refuse(f"no home folder is known for {expanded.split('/')[0]}: set HOME, or write the path itself")
    if found := UNUSABLE.search(expanded):
        place = "at the start of" if found[0] == "-" else "in"
        raise refuse(f"no job could use {found[0]!r} {place} a path; rename the folder, or name a link to it")
    try:
        os.fsencode(expanded)
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        raise refuse(f"file names are in {encoding} here, which lacks its characters: set LC_ALL=C.UTF-8") from error
    return str(Path(expanded))


def describe_unquotable_python() -> str:
    """Describe why a cluster could not start this Python, whose path Snakemake does not quote; empty if it could."""
    if shlex.quote(sys.executable) == sys.executable:
        return ""
    return (
        f"{sys.executable}: jobs of a cluster would not find this Python, as shells read its path otherwise; install "
        "the environment in a folder named by letters, digits and -_./ alone"
    )
