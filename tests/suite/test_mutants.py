"""Tests that the mutants fit the code and name existing tests, and tests of their runner."""

import ast
import subprocess
from collections import Counter

import pytest

from checkout import ROOT
from mutants.run import LOOSE, RULES, main, read_mutants, room_of, rooms

MUTANTS = read_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_and_names_tests_that_exist(mutant):
    mutant.patch(ROOT)
    assert room_of(mutant.file) == mutant.room
    assert mutant.breaks.endswith(".") and "\n" not in mutant.breaks
    for test in mutant.tests:
        file, _, function = test.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_every_room_has_two_or_more():
    counts = Counter(mutant.room for mutant in MUTANTS)
    assert counts.keys() == rooms() >= {LOOSE, RULES.name}
    assert min(counts.values()) >= 2 and len(MUTANTS) >= 40


# ---- the runner, on a made-up package --------------------------------------------------------------------------------

TREE = {
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["workflow"]\n',
    "workflow/slq/__init__.py": "",
    "workflow/slq/toy/__init__.py": "",
    "workflow/slq/toy/sums.py": """
UNIT = 1


def add(a, b):
    return a + UNIT * b


def idle():
    return 7
""",
    "tests/test_toy.py": """
import subprocess
import sys

import pytest
from slq.toy.sums import add, idle


def test_adds():
    assert add(2, 3) == 5


def test_adds_elsewhere():
    program = "from slq.toy.sums import add; print(add(2, 3))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "5\\n"


@pytest.mark.skip
def test_idles():
    assert idle() == 7


@pytest.fixture
def five():
    return {5: 5}[add(2, 3)]


def test_given(five):
    assert five == 5
""",
}
MINUS = {"old": "a + UNIT * b", "new": "a - UNIT * b"}


@pytest.fixture
def tried(tmp_path, capsys, monkeypatch):
    """A function that runs a mutant of the toy package, and returns the exit status and the output."""
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(test, *arguments, **patch):
        entry = {"breaks": "It breaks.", "file": "workflow/slq/toy/sums.py", "tests": [f"tests/test_toy.py::{test}"]}
        (tmp_path / "tests/mutants").mkdir(exist_ok=True)
        lines = "".join(f"{key} = {value!r}\n" for key, value in (entry | patch).items())
        (tmp_path / "tests/mutants/toy.toml").write_text(f"[one]\n{lines}")
        status = main(arguments, tmp_path)
        return status, "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("test", ["test_adds", "test_adds_elsewhere"])
def test_a_mutant_dies_in_the_process_of_the_test_and_in_its_children(tried, test):
    status, told = tried(test, "--why", **MINUS)
    assert status == 0 and f"killed by {test}" in told and "1 of 1 mutants die" in told.splitlines()
    assert "assert " in told


@pytest.mark.parametrize("test", ["test_adds", "test_idles"])
def test_a_mutant_that_survives_is_named(tried, test):
    """A mutant survives if no test covers it, or if its test is skipped."""
    status, told = tried(test, old="return 7", new="return 8")
    assert status == 1 and "one: survives: It breaks." in told
    assert told.splitlines()[-1] == "0 of 1 mutants die"


@pytest.mark.parametrize(
    ("test", "patch", "why"),
    [
        ("test_adds", {"old": "UNIT = 1", "new": "UNIT = ONE"}, "its tests cannot be collected (4)"),
        ("test_none", MINUS, "its tests cannot be collected (4)"),
        ("test_adds", {"old": "UNIT * b", "new": "ONE * b"}, "no program any more"),
        ("test_given", MINUS, "an error outside of a test"),
    ],
)
def test_what_is_no_failing_test_is_no_death(tried, test, patch, why):
    status, told = tried(test, **patch)
    assert status == 1 and f"one: no verdict: {why}" in told and "0 of 1 mutants die" in told


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        (
            {"old": "return", "new": "yield"},
            "one: its old text stands 2 times in workflow/slq/toy/sums.py; expected on",
        ),
        ({"old": "return 8", "new": "return 9"}, "one: its old text stands 0 times"),
        ({"old": "return 7", "new": "return ("}, "one: workflow/slq/toy/sums.py is no Python with it"),
        (MINUS | {"file": "workflow/slq/toy/gone.py"}, "gone.py is not there; port the mutant"),
        (MINUS | {"reason": "none"}, "one: key reason is 'none'; expected breaks, file, old, new, tests"),
    ],
)
def test_a_mutant_that_does_not_fit_is_one_message_and_nothing_is_run(tried, patch, why):
    status, told = tried("test_adds", **patch)
    assert status == 2 and told.startswith("mutants: ") and told.count("\n") == 1 and why in told


def test_where_the_tests_fail_without_it_no_mutant_counts(tried, tmp_path):
    (tmp_path / "tests/test_toy.py").write_text("def test_adds():\n    assert False\n")
    status, told = tried("test_adds", **MINUS)
    assert status == 1 and "without any mutant pytest ends with 1, so none of this counts" in told


def test_a_name_that_no_mutant_has_is_one_message(tried):
    assert tried("test_adds", "two", **MINUS) == (
        2,
        "mutants: two: no mutant or package of that name; there are one, toy\n",
    )
