"""YAML that people write, read by one loader: it refuses a key that stands twice, of which YAML itself keeps the last.

Snakemake imports this module whenever it reads the Snakefile, in every cluster job too: nothing heavy may enter here.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from slq.errors import SlqError
from slq.files import unique_keys

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
MERGE = "tag:yaml.org,2002:merge"  # of `<<`, which becomes no key


def read_yaml(path: Path) -> Any:
    """Read a YAML file, or a JSON one as Snakemake does, in which no mapping has a key twice.

    Raises:
        SlqError: the file cannot be read, is neither, or a key stands twice; names the file, the key and both lines.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SlqError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SlqError(f"{path}: cannot be read: {error}; save it as UTF-8") from error
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
