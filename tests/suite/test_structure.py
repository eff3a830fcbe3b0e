"""Tests of import layering, of the sizes of modules and functions, and of unique class names."""

import argparse
import ast
import re
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from size import size_of, sizes
from slq import cli
from slq.jobs import JOBS

PACKAGE = Path(__file__).parents[2] / "workflow" / "slq"
MODULES = sorted(PACKAGE.rglob("*.py"))
RULES = sorted(PACKAGE.parent.glob("rules/*.smk"))
# The packages that a package may import; a subpackage may also import its parent. Training and evaluation need models.
# Packages that read results do not, except the benchmark, which times a training step.
# Registries of methods and kinds of baselines, and compute plans of methods: without torch and models.
REGISTRY = {"methods.registry", "methods.plan", "baselines.registry"}
LEARNING = {"common", "config", "datasets", "models", "methods", "caching", *REGISTRY}
READING = {"common", "config", "evaluation", "results", "cost", *REGISTRY}
MAY_IMPORT = {
    "common": set(),
    "methods.plan": set(),
    "methods.registry": {"common", "methods.plan"},
    "baselines.registry": {"common"},
    "config": {"common", *REGISTRY},
    "datasets": {"common", "config"},
    "sources": {"common", "config", "datasets"},
    "models": {"common", "config", "datasets"},
    "methods": {"common", "config", "datasets", "models", *REGISTRY},
    "caching": LEARNING - {"caching"},
    "training": LEARNING,
    "evaluation": LEARNING,
    "baselines": LEARNING | {"evaluation"},
    "synthetic": LEARNING | {"training"},
    "results": {"common", "config", "evaluation", *REGISTRY},
    "cost": {"common", "config", "results", *REGISTRY},
    "cost.bench": LEARNING | {"training", "cost"},
    "reporting": READING,
    "reporting.comparison": READING | {"reporting"},
    "reporting.page": READING | {"reporting"},
    "claims": READING | {"reporting", "datasets"},
    "export": LEARNING | {"evaluation", "results"},
    "preflight": {"common", "config", "sources", "cost", *REGISTRY},
    "preflight.snapshot_checks": {"common", "config", "sources", "cost", "models", "methods", "preflight", *REGISTRY},
}
ENTRY = {"cli", "jobs"}  # entry points for users and rules: they may import all packages, and no package imports them
REGISTRIES = {"families", "dual_encoders"}  # folders with modules that are found by name


def room(parts):
    """Return the innermost package of a module that MAY_IMPORT names."""
    return next((name for name in (".".join(parts[:2]), parts[0]) if name in MAY_IMPORT), parts[0])


def imports(path):
    """Yield the packages that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (room(name.split(".")[1:]) for name in names if name.startswith("slq."))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = room(path.relative_to(PACKAGE).with_suffix("").parts)
    if own != "__init__":
        allowed = {*MAY_IMPORT, *ENTRY} if own in ENTRY else MAY_IMPORT[own]
        assert set(imports(path)) - {own} <= allowed


def test_rooms_are_those_of_the_law_and_three_modules_at_most_are_in_none():
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/__init__.py")}
    assert folders == {name for name in MAY_IMPORT if "." not in name}
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", *ENTRY}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_are_small(path):
    """Budgets count lines of code, without blank lines, comments and docstrings."""
    source = path.read_text()
    assert size_of(source)[0] <= 300
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            lines, _ = size_of(textwrap.dedent(ast.get_source_segment(source, node, padded=True)))
            assert lines <= 50, f"{node.name}: {lines} lines"


# Private words of earlier versions; standard terms replace them: embed, cache, settings, inherited.
PRIVATE_WORDS = {"look", "lent", "kept", "shown", "asked", "told", "said", "seen", "leaves", "anew", "apart", "alike"}
PRIVATE_WORDS |= {
    "prove",
    "proof",
    "proved",
    "beside",
    "instrument",
    "golden",
    "coarse",
    "tuning",
    "way",
    "ours",
    "mine",
}


def names(tree):
    """Yield the names that a module defines: functions, classes, parameters, fields and variables."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_are_words_of_the_field(path):
    own = [path.stem, *names(ast.parse(path.read_text()))]
    assert [name for name in own if PRIVATE_WORDS & {*re.findall("[a-z]+", name.lower())}] == []


def test_keys_of_the_configuration_are_words_of_the_field(raw_config):
    def keys(content):
        for key, value in content.items() if isinstance(content, dict) else ():
            yield from (str(key), *keys(value))

    assert [key for key in keys(raw_config) if PRIVATE_WORDS & {*re.findall("[a-z]+", key.lower())}] == []


def test_the_glossary_names_modules_that_are_there():
    modules = re.findall(r"`([a-z_/]+\.py)`", (PACKAGE.parents[1] / "docs/glossary.md").read_text())
    assert len(modules) > 20 and [name for name in modules if not (PACKAGE / name).is_file()] == []


def test_a_class_name_stands_once():
    """`Adapter` is the exception: every family and dual encoder defines one, because a registry finds it by name."""
    counts = Counter(
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not (node.name == "Adapter" and path.parent.name in REGISTRIES)
    )
    assert [name for name, count in counts.items() if count > 1] == []


def commands_of(parser):
    """Return the commands of a parser, by name."""
    (group,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return group.choices


def test_people_type_fourteen_commands_at_most_and_every_flag_has_a_sentence():
    commands = commands_of(cli.build_parser())
    assert len(commands) <= 14
    for name, command in commands.items():
        assert command.description.endswith(".") and command.description[0].isupper(), name
        for action in command._actions:
            if not isinstance(action, argparse._HelpAction):
                sentence = action.help or ""
                assert sentence[:1].isupper() and sentence.endswith("."), f"{name} {action.dest}: {sentence!r}"


def test_a_configuration_is_given_in_one_way():
    """Every command that reads one has `--config FILE`, repeated for each overlay, with config.yaml as default."""
    options = {
        name: vars(command)["_option_string_actions"] for name, command in commands_of(cli.build_parser()).items()
    }
    reading = {name for name in options if "--config" in options[name]}
    assert options.keys() - reading == {"score"}, "it reads results alone"
    ways = {(type(options[name]["--config"]).__name__, options[name]["--config"].default) for name in reading}
    assert ways == {("_AppendAction", None)}


def rules_of(path):
    """Return the text of each rule of a file, by its name, without the comment above it."""
    texts = re.findall(r"^((?:use )?(?:rule|checkpoint) .*\n(?:(?:[ \t].*)?\n)*)", path.read_text(), re.MULTILINE)
    return {re.match(r".*?(\w+)(?: with)?:\n", text)[1]: text.rstrip() for text in texts}


def test_every_job_is_that_of_the_rule_with_its_name():
    found = {}
    for path in RULES:
        found |= {name: re.findall(r'job_call\(\s*"(\w+)"', text) for name, text in rules_of(path).items()}
    assert {name for name, jobs in found.items() if jobs} == JOBS.keys()
    assert all(jobs in ([], [name]) for name, jobs in found.items())


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_a_rule_has_thirty_lines_at_most(path):
    assert {name: n for name, text in rules_of(path).items() if (n := len(text.splitlines())) > 30} == {}


def test_the_package_is_small():
    """If the budget is exceeded, review the package (python tests/size.py) rather than compress code.

    docs/log.md (2026-11-30, "the package in its rooms") explains why lines and tokens exceed the aims of 14,500 and
    155,000.
    """
    found = sizes()
    lines, tokens, files = found.sum()
    assert lines <= 19_300 and tokens <= 195_500 and files <= 243, found.to_string()


def test_lines_and_tokens_are_counted_without_words():
    function = 'def double(x):  # a remark\n    """Twice."""\n    return (\n        2\n        * x\n    )\n'
    source = f'"""A module."""\n\n\n{function}'
    assert size_of(source) == (5, 12)


def test_the_snakefile_is_a_table_of_contents():
    assert len((PACKAGE.parents[1] / "Snakefile").read_text().splitlines()) < 60
