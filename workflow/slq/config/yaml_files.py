"""Reading of user-written YAML files, and their validation against a closed schema; only the first error is reported.

A key that occurs twice is an error; YAML itself would keep the last value. The schemas use four keywords that JSON
Schema does not have:

- `keyOf`: the value must be a key of this mapping at the top of the file (for claims.yaml, of the paper's tables), or
  the name of a module in this folder.
- `printed`: the text must be one line of characters that pdflatex can print in tables.
- `ascending`: the list must be in ascending order.
- `errorMessage`: message if one of the other keywords of the same schema fails. Its placeholders are {key} (the key
  with the error), {value}, {parent} (the mapping that contains the key) and {entry} (the catalogue entry that contains
  the key).

This module is imported whenever Snakemake reads the Snakefile, also in every cluster job, so its imports must be fast.
"""

import difflib
import itertools
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from slq.common.errors import SlqError
from slq.common.files import one_line, read_text, reject_duplicate_keys, require_utf8
from slq.common.printed import find_undrawn, name_character
from slq.config.values import reject_unusable_values

REPOSITORY_ROOT = Path(__file__).parents[3]
SCHEMA_FOLDER = REPOSITORY_ROOT / "workflow" / "schemas"
TYPE_NAMES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast
# Exceptions of the loader for text that is not YAML, or for a value that does not fit its tag, such as !!int "".
YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError)
MERGE_TAG = "tag:yaml.org,2002:merge"  # tag of `<<`, which is not a key of the result


def read_yaml(path: Path) -> Any:
    """Read a YAML file, or a JSON file, which Snakemake also accepts; refuse a key that occurs twice in a mapping."""
    text = read_text(path)
    try:
        try:
            content = json.loads(text, object_pairs_hook=reject_duplicate_keys)
        except (ValueError, RecursionError) as error:
            if not isinstance(error, json.JSONDecodeError):
                text = text.replace("\t", " ")  # JSON with a duplicate key: the YAML parser reports its lines
            content = _parse_yaml(text, str(path))
        require_utf8(content, str(path))
    except YAML_ERRORS as error:
        raise SlqError(f"{path}: cannot be read: not valid YAML ({one_line(error)})") from error
    return content


def reject_duplicate_options(arguments: Sequence[str]) -> None:
    """Reject a command line with two occurrences of a Snakemake option of which only the last would be used."""
    given = [word.partition("=")[0] for word in arguments]
    for names in (("--config", "-C"), ("--configfile", "--configfiles")):
        if len(found := [name for name in given if name in names]) > 1:
            raise SlqError(
                f"{found[0]} occurs twice on the command line, and only the last would be used: give all values after "
                f"one {names[0]}, separated by blanks"
            )


def reject_duplicate_config_keys(entries: Sequence[str]) -> None:
    """Reject `KEY=VALUE` arguments of `--config` if a key occurs twice."""
    names: set[str] = set()
    for name, _, value in (entry.partition("=") for entry in entries):
        if name in names:
            raise SlqError(f"--config: {name} occurs twice, and only the last would be used: remove one")
        names.add(name)
        with suppress(*YAML_ERRORS):  # a value that is not YAML is text, which the schema checks
            _parse_yaml(value, f"--config {name}")


def _parse_yaml(text: str, location: str) -> Any:
    """Parse a YAML document, and refuse a key that occurs twice; `location` names the document in the message."""
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        for second, first, key in sorted(_find_duplicate_keys(loader, root, "", set())):
            advice = "YAML would keep only the last: remove one"
            if key.rpartition(".")[2] == "<<":
                advice = "merge both into one list: <<: [*one, *other]"
            raise SlqError(f"{location}:{second}: {key} occurs twice, first in line {first}; {advice}")
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _find_duplicate_keys(
    loader: Any, node: yaml.Node, parent_path: str, visited: set[int]
) -> Iterator[tuple[int, int, str]]:
    """Yield the second line, the first line and the name of each key that occurs twice in a mapping at or below a node.

    Keys are compared by their parsed values: `1` and `0x1` are the same key. `visited` contains the ids of searched
    nodes, so that an anchored node is searched only once.
    """
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            yield from _find_duplicate_keys(loader, child, f"{parent_path}[{number}]", visited)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[Any, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue  # the loader rejects a list or a mapping as a key
        name = key.value if key.tag == MERGE_TAG else loader.construct_object(key)
        key_path, line = f"{parent_path}.{key.value}".removeprefix("."), key.start_mark.line + 1
        if name in lines:
            yield line, lines[name], key_path
        lines.setdefault(name, line)
        yield from _find_duplicate_keys(loader, value, key_path, visited)


# ---- validation against a schema -------------------------------------------------------------------------------------


def check_schema(raw: Any, schema: dict[str, Any], file_name: str, catalogues: Any = None) -> None:
    """Validate the content of a YAML file against a closed schema, and report the first error.

    Args:
        raw: content of the file.
        schema: JSON schema.
        file_name: name of the file in the message.
        catalogues: mapping in which `keyOf` looks up names; by default `raw`.
    """
    reject_unusable_values(raw, file_name)
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)  # not 5.0
    own = {"keyOf": _make_key_of_check(catalogues or raw), "pattern": _check_pattern, "ascending": _check_ascending}
    validator: Any = extend(Draft202012Validator, own | {"printed": _check_printed}, type_checker=types)
    order = sorted(validator(schema).iter_errors(raw), key=lambda error: (_error_priority(error), _places(raw, error)))
    if order:
        raise SlqError(f"{file_name}: {_describe_error(order[0])}")


def _check_pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    """Yield an error if a text does not match a pattern; `$` matches only at the end, not before a final newline."""
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _check_ascending(validator: Any, ascending: bool, values: Any, schema: Any) -> Iterator[ValidationError]:
    """Yield an error if a list of numbers is not in ascending order."""
    if isinstance(values, list) and all(isinstance(one, int | float) for one in values) and values != sorted(values):
        yield ValidationError(f"{values} is not in order")


def _error_priority(error: ValidationError) -> int:
    """Return the priority of a schema error; the error with the lowest value has the most helpful message.

    A misspelt key also causes an error about the missing right key, and a wrong value may violate conditions on other
    keys.
    """
    conditional = error.validator in ("oneOf", "dependentRequired", "keyOf") or "errorMessage" in error.schema
    return 0 if error.validator == "additionalProperties" else 2 if conditional else 1


def _places(raw: Any, error: ValidationError) -> list[int]:
    """Return the places in the file of the catalogue and of the entry that contain an error.

    jsonschema yields the errors of a catalogue's entries in random order. Of a fault that presets inherit, the message
    must name the preset that they extend, which stands before them.
    """
    place, places = raw, []
    for key in itertools.islice(error.absolute_path, 2):
        places.append(list(place).index(key) if isinstance(place, dict) else int(key))
        place = place[key]
    return places


def _make_key_of_check(raw: Any) -> Callable[[Any, str, Any, Any], Iterator[ValidationError]]:
    """Build the function that checks the keyword `keyOf` against the content of a file."""

    def check(validator: Any, catalogue: str, name: Any, schema: Any) -> Iterator[ValidationError]:
        """Yield an error if a name is not a key of the catalogue, or not a module of the folder."""
        entries = raw.get(catalogue)
        known = list(entries) if isinstance(entries, dict) else []
        if "/" in catalogue:
            known = [path.stem for path in sorted((REPOSITORY_ROOT / catalogue).glob("[!_]*.py"))]
        if name not in known:
            yield ValidationError(f"which is not under {catalogue}; {suggest_name(name, known, 'expected one of')}")

    return check


def _check_printed(validator: Any, printed: bool, text: Any, schema: Any) -> Iterator[ValidationError]:
    """Yield an error if a text begins or ends with a blank, or has a character that tables cannot print."""
    if not isinstance(text, str):
        return
    if text != text.strip():
        yield ValidationError("which begins or ends with a blank; remove it")
    elif undrawn := find_undrawn(text):
        found = f"{undrawn[0]!r} ({name_character(undrawn[0])})"
        yield ValidationError(f"which tables cannot print: LaTeX has no {found}; write one line of Latin letters")


def _describe_error(error: ValidationError) -> str:
    """Describe a schema error in one sentence."""
    path, limit = list(error.absolute_path), error.validator_value
    found = _format_value(error.instance)
    reason = ""
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            path.append(next(name for name in error.instance if name not in known))
            return f"{_format_key_path(path)} is not a key here; {suggest_name(path[-1], known, 'keys')}"
        case "required":
            path.append(next(name for name in limit if name not in error.instance))
            found = "missing"
        case "dependentRequired":
            given = [(one, name) for one, names in limit.items() if one in error.instance for name in names]
            needs, missing = next((one, name) for one, name in given if name not in error.instance)
            path.append(missing)
            found, reason = "missing", f"; '{needs}' needs it"
        case "oneOf":
            names = [name for choice in limit for name in choice["required"]]
            there = " and ".join(name for name in names if name in error.instance) or "none of them"
            return f"{_format_key_path(path)} must have exactly one of {', '.join(names)}; found {there}"
        case "keyOf" | "printed":
            reason = f", {error.message}"
        case "enum":
            reason = f"; {suggest_name(error.instance, limit, 'expected')}"
        case "uniqueItems":
            return f"{_format_key_path(path)} has the same item twice"
        case "minItems" | "minLength" | "minProperties":
            return f"{_format_key_path(path)} is too short; expected at least {limit}"
        case _:
            reason = f"; expected {_describe_expected(error)}"
    if "errorMessage" in error.schema:
        parent_keys = {"parent": _format_key_path(path[:-1]), "entry": _format_key_path(path[:2])}
        return str(error.schema["errorMessage"]).format(key=_format_key_path(path), value=found, **parent_keys)
    return f"{_format_key_path(path)} is {found}{reason}"


def _describe_expected(error: ValidationError) -> str:
    """Describe the expected value, by the keyword that is violated, or else by the schema's description."""
    limit = error.validator_value
    types = ([limit] if isinstance(limit, str) else limit) if error.validator == "type" else []
    known = {
        "type": f"{' or '.join(TYPE_NAMES[one] for one in types)}{_exponent_hint(error.instance, limit)}",
        "minimum": f"at least {limit}",
        "exclusiveMinimum": f"more than {limit}",
        "exclusiveMaximum": f"less than {limit}",
        "pattern": f"something like {limit}",
        "maximum": f"at most {limit}",
        "ascending": "the low value first",
    }
    return str(known.get(str(error.validator), error.schema.get("description", error.message)))


def _format_key_path(path: Collection[str | int]) -> str:
    """Format a key path as `presets.mini.methods[1]`; format an empty path as `the file`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".") or "the file"


def _format_value(value: Any) -> str:
    """Format a value as in YAML; return only the type of a list or mapping."""
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return TYPE_NAMES["object" if isinstance(value, dict) else "array"]
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _exponent_hint(value: Any, expected: Any) -> str:
    """Return a hint for a number with an exponent but no dot, which YAML 1.1 reads as text; empty otherwise."""
    if expected not in ("number", "integer") or not isinstance(value, str):
        return ""
    try:
        return f" (YAML reads {value} as text; write {float(value)!r} with a dot, e.g. 1.0e-5)"
    except ValueError:
        return ""


def suggest_name(name: Any, known: Collection[Any], title: str) -> str:
    """Suggest the present name of a key that was renamed, or else the closest known name, or else all known names."""
    renamed = read_yaml(SCHEMA_FOLDER / "renamed_keys.yaml").get(str(name), [])
    for new_name in [renamed] if isinstance(renamed, str) else renamed:
        if new_name in known:
            return f"since version 0.2.0 it is '{new_name}'"
    close_matches = difflib.get_close_matches(str(name), [str(one) for one in known], n=1)
    return (
        f"did you mean '{close_matches[0]}'?"
        if close_matches
        else f"{title}: {', '.join(str(one) for one in known) or 'none'}"
    )
