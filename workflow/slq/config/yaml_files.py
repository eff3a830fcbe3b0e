"""YAML that people write: read by one loader, and held against a closed schema, with one message for the first fault.

The loader refuses a key that stands twice, of which YAML itself keeps the last. Of a schema two keywords are our own:

- `keyOf` names what the value must be a key of: a mapping at the top of the file (for claims.yaml, what the
  paper's tables have), or a folder of modules here.
- `errorMessage` says what is wrong where the keywords beside it do not hold; in it stand {key} (the key at fault),
  {value}, {parent} (the mapping that holds the key) and {entry} (the entry of a catalogue that it is of).

Snakemake imports this module whenever it reads the Snakefile, in every cluster job too: nothing heavy may enter here.
"""

import difflib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from slq.common.errors import SlqError
from slq.common.files import reading, unique_keys

CHECKOUT = Path(__file__).parents[3]
SCHEMAS = CHECKOUT / "workflow" / "schemas"
TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
MERGE = "tag:yaml.org,2002:merge"  # of `<<`, which becomes no key


def read_yaml(path: Path) -> Any:
    """Read a YAML file, or a JSON one as Snakemake does, in which no mapping has a key twice.

    Raises:
        SlqError: the file cannot be read, is neither, or a key stands twice; names the file, the key and both lines.
    """
    with reading(path):
        text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except json.JSONDecodeError:
        pass
    except ValueError:  # JSON with a key twice, of which YAML tells the lines; its tabs stand between tokens alone
        text = text.replace("\t", " ")
    try:
        return _parse(text, str(path))
    except (yaml.YAMLError, ValueError) as error:  # the second of what has the form of a date and is none
        raise SlqError(f"{path}: cannot be read: not valid YAML ({' '.join(str(error).split())})") from error


def check_options(words: Sequence[str]) -> None:
    """Refuse an option of Snakemake's that stands twice on a command line and of which only the last would count.

    Raises:
        SlqError: names the option.
    """
    given = [word.partition("=")[0] for word in words]
    for names in (("--config", "-C"), ("--configfile", "--configfiles")):
        if len(found := [name for name in given if name in names]) > 1:
            raise SlqError(
                f"{found[0]} stands twice on the command line, and only the last would count: name all behind one "
                f"{names[0]}, with blanks between"
            )


def check_arguments(entries: Sequence[str]) -> None:
    """Refuse a key that stands twice in what `--config` was given, `KEY=VALUE` each.

    Raises:
        SlqError: names the key.
    """
    names: set[str] = set()
    for name, _, value in (entry.partition("=") for entry in entries):
        if name in names:
            raise SlqError(f"--config: {name} stands twice; the last of them would count: take one out")
        names.add(name)
        with suppress(yaml.YAMLError, ValueError):  # text, for the schema to judge
            _parse(value, f"--config {name}")


def _parse(text: str, where: str) -> Any:
    """The content of a YAML document; `where` names it in the message of a key that stands twice."""
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        for second, first, key in sorted(_repeated(loader, root, "", set())):
            does = "YAML would keep the last of them: take one out"
            if key.rpartition(".")[2] == "<<":
                does = "write what both name behind one, as a list: <<: [*one, *other]"
            raise SlqError(f"{where}:{second}: {key} stands twice, first in line {first}; {does}")
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _repeated(loader: Any, node: yaml.Node, above: str, seen: set[int]) -> Iterator[tuple[int, int, str]]:
    """Yield the second line, the first and the name of each key that stands twice in a mapping at or below a node.

    Keys are compared as they are read, `1` with `0x1`. What an anchor names is looked at once: `seen` has the nodes.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            yield from _repeated(loader, child, f"{above}[{number}]", seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[Any, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue  # a list or a mapping as a key, which the loader refuses
        name = key.value if key.tag == MERGE else loader.construct_object(key)
        place, line = f"{above}.{key.value}".removeprefix("."), key.start_mark.line + 1
        if name in lines:
            yield line, lines[name], place
        lines.setdefault(name, line)
        yield from _repeated(loader, value, place, seen)


# ---- what a schema says ----------------------------------------------------------------------------------------------


def check_schema(raw: Any, schema: dict[str, Any], what: str, known: Any = None) -> None:
    """Compare what a YAML file says with a closed schema; what `keyOf` names is in `known`, or else in the file.

    Raises:
        SlqError: the first fault, by its key; `what` names the file.
    """
    validator: Any = extend(Draft202012Validator, {"keyOf": _key_of(known or raw)})
    if errors := sorted(validator(schema).iter_errors(raw), key=_rank):
        raise SlqError(f"{what}: {_message(errors[0])}")


def _rank(error: ValidationError) -> int:
    """Order faults by how much their messages help.

    A misspelt key also leaves the right one missing, and a wrong value breaks what a condition demands of other keys.
    """
    conditional = error.validator in ("oneOf", "dependentRequired", "keyOf") or "errorMessage" in error.schema
    return 0 if error.validator == "additionalProperties" else 2 if conditional else 1


def _key_of(raw: Any) -> Callable[[Any, str, Any, Any], Iterator[ValidationError]]:
    """Make the check of `keyOf` for the content of a file."""

    def check(validator: Any, catalogue: str, name: Any, schema: Any) -> Iterator[ValidationError]:
        entries = raw.get(catalogue)
        known = list(entries) if isinstance(entries, dict) else []
        if "/" in catalogue:
            known = [path.stem for path in sorted((CHECKOUT / catalogue).glob("[!_]*.py"))]
        if name not in known:
            yield ValidationError(f"which is not under {catalogue}; {hint(name, known, 'there are')}")

    return check


def _message(error: ValidationError) -> str:
    """One sentence for a violation of the schema."""
    path, limit = list(error.absolute_path), error.validator_value
    found = _found(error.instance)
    reason = ""
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            path.append(next(name for name in error.instance if name not in known))
            return f"{_key(path)} is not a key here; {hint(path[-1], known, 'keys')}"
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
            return f"{_key(path)} must have exactly one of {', '.join(names)}; found {there}"
        case "keyOf":
            reason = f", {error.message}"
        case "enum":
            reason = f"; {hint(error.instance, limit, 'expected')}"
        case "uniqueItems":
            return f"{_key(path)} names something twice"
        case "minItems" | "minLength" | "minProperties":
            return f"{_key(path)} is too short; expected at least {limit}"
        case _:
            reason = f"; expected {_expected(error)}"
    if "errorMessage" in error.schema:
        above = {"parent": _key(path[:-1]), "entry": _key(path[:2])}
        return str(error.schema["errorMessage"]).format(key=_key(path), value=found, **above)
    return f"{_key(path)} is {found}{reason}"


def _expected(error: ValidationError) -> str:
    """Say what a value should be, by the keyword that it violates, else by the description beside it."""
    limit = error.validator_value
    known = {
        "type": f"{TYPES.get(str(limit))}{_exponent(error.instance, limit)}",
        "minimum": f"at least {limit}",
        "exclusiveMinimum": f"more than {limit}",
        "exclusiveMaximum": f"less than {limit}",
        "pattern": f"something like {limit}",
    }
    return str(known.get(str(error.validator), error.schema.get("description", error.message)))


def _key(path: Collection[str | int]) -> str:
    """`presets.mini.methods[1]`, or `the file` for the whole of it."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".") or "the file"


def _found(value: Any) -> str:
    """A value as a person wrote it; containers by their kind."""
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return TYPES["object" if isinstance(value, dict) else "array"]
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _exponent(value: Any, expected: Any) -> str:
    """YAML 1.1 wants a dot in a number with an exponent."""
    if expected not in ("number", "integer") or not isinstance(value, str):
        return ""
    try:
        return f" (YAML reads {value} as text; write {float(value)!r} with a dot, e.g. 1.0e-5)"
    except ValueError:
        return ""


def hint(name: Any, known: Collection[Any], title: str) -> str:
    """Name the nearest known name, else all of them."""
    near = difflib.get_close_matches(str(name), [str(one) for one in known], n=1)
    return f"did you mean '{near[0]}'?" if near else f"{title}: {', '.join(str(one) for one in known) or 'none'}"
