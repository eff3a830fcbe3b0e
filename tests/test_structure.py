"""The house as drawn: who imports whom, rooms of one noun, functions that fit a screen."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from size import size_of, sizes
from slq import cli
from slq.arguments import Call

PACKAGE = Path(__file__).parents[1] / "workflow" / "slq"
MODULES = sorted(PACKAGE.rglob("*.py"))
SHARED = {
    "code",
    "errors",
    "files",
    "events",
    "proofs",
    "runs",
    "arguments",
    "attempts",
    "yamls",
}
# cli -> reporting -> evaluation, accounting; evaluation, training -> models -> data; world writes what data reads,
# for cli alone, and learns by training's loss.
MAY_IMPORT = {
    "data": set(),
    "sources": {"config", "data"},
    "models": {"data"},
    "comparators": {"evaluation", "models", "data"},
    "prefixes": {"models", "data"},
    "reranking": {"comparators", "evaluation", "models", "data"},
    "training": {"prefixes", "models", "data"},
    "evaluation": {"prefixes", "models", "data"},
    "accounting": {"rows"},
    "bench": {"training", "prefixes", "models", "accounting"},
    "reporting": {"accounting", "evaluation", "rows"},
    "comparison": {"reporting", "accounting", "evaluation"},
    "claims": {"reporting", "evaluation", "accounting", "data"},
    "page": {"claims", "reporting", "accounting"},
    "export": {"config", "models", "data", "evaluation", "reporting", "sources"},
    "doctor": {"accounting", "sources", "config", "cost_settings"},
    "world": {"training", "models", "data"},
    "account_cli": {
        "arguments",
        "config",
        "cost_settings",
        "sources",
        "accounting",
        "bench",
        "doctor",
    },
    "compare_cli": {"arguments", "comparison", "settings", "sources"},
    "cli": {
        "account_cli",
        "compare_cli",
        "export",
        "arguments",
        "data",
        "sources",
        "prefixes",
        "training",
        "evaluation",
        "reporting",
    },
    "config": {"rows"},
    "code": set(),
    "contents": {"data", "sources"},
    "settings": {"config", "rows"},
    "cost_settings": {"config", "rows", "settings"},
    "rows": set(),
    "row_settings": {"config", "rows", "settings"},
    "runs": set(),
    "arguments": set(),
    "attempts": set(),
    "errors": set(),
    "files": set(),
    "events": set(),
    "proofs": set(),
    "yamls": set(),
}


def room(name):
    """`slq.models.prefix` -> `models`."""
    return name.split(".")[1] if name.startswith("slq.") else None


def imports(path):
    """Rooms of the package that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"slq.{alias.name}" for alias in node.names] if node.module == "slq" else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from filter(None, map(room, names))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own != "__init__":
        assert set(imports(path)) - SHARED - {own} <= MAY_IMPORT[own]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_are_small(path):
    assert len(path.read_text().splitlines()) <= 300
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} does not fit a screen"


@pytest.mark.parametrize("command", [name for name, one in cli.COMMANDS.items() if isinstance(one[0], Call)])
def test_a_command_passes_its_function_what_that_takes(command):
    """As many arguments as it needs, paths where it takes paths, and no flag that nothing reads."""
    call, _, options = cli.COMMANDS[command]
    module, _, name = call.target.partition(":")
    tree = ast.parse((PACKAGE.parent / f"{module.replace('.', '/')}.py").read_text())
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    taken = function.args.args
    assert len(taken) - len(function.args.defaults) <= len(call.names) <= len(taken)
    given = {flag.removeprefix("--"): how for flag, how in options.items()}
    assert given.keys() - {"threads"} == set(call.names) - {"threads"}
    for argument, name in zip(taken, call.names, strict=False):
        kind = given[name].get("type", bool if "action" in given[name] else str)
        kind = dict[str, Any] if kind is json.loads else kind
        several = "Sequence" in ast.unparse(argument.annotation)
        assert several == ("nargs" in given[name]), name
        known = {Path: "Path", int: "int", str: "str", bool: "bool", dict[str, Any]: "str, Any]"}
        assert known[kind] in ast.unparse(argument.annotation), name


def test_the_package_is_small():
    """A budget is a reason to look, not to squeeze (python tests/size.py)."""
    found = sizes()
    lines, tokens, files = found.sum()
    assert lines <= 14_500 and tokens <= 155_000 and files <= 200, found.to_string()


def test_lines_and_tokens_are_counted_without_words():
    function = 'def double(x):  # a remark\n    """Twice."""\n    return (\n        2\n        * x\n    )\n'
    source = f'"""A module."""\n\n\n{function}'
    assert size_of(source) == (5, 12)


def test_the_snakefile_is_a_table_of_contents():
    assert len((PACKAGE.parents[1] / "Snakefile").read_text().splitlines()) < 60
