"""Tests of the test infrastructure: folders made once, distribution and order of tests, and the table of times."""

import ast
import fcntl
import itertools
import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest

from once import made_once
from scheduling import APART, MACHINE, ONE_AT_A_TIME, group_of, heavy_first, shuffled, workers
from slurm import cluster
from timing import MADE_ONCE, Timing

TESTS = Path(__file__).parents[1]
NEED_THE_MACHINE = {"slurm", "submission", "browser"}  # fixtures


def factory(folder):
    """Build a stand-in for one worker's pytest folder factory, with only the method that is used."""
    folder.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(getbasetemp=lambda: folder)


def write(folder):
    """Make a folder that stands for an expensive one, and count the calls in a file beside it."""
    with (folder.parent / "calls").open("a") as file:
        file.write("x")
    folder.mkdir()
    (folder / "made").write_text("made")


def ask(root, worker):
    own = made_once(factory(root / f"popen-{worker}"), "thing", write)
    (own / "made").write_text(worker)


def test_workers_make_a_thing_once_and_have_a_copy_each(tmp_path):
    asked = [multiprocessing.get_context("fork").Process(target=ask, args=(tmp_path, f"gw{n}")) for n in range(4)]
    for process in asked:
        process.start()
    for process in asked:
        process.join()
    assert [process.exitcode for process in asked] == [0] * 4
    assert (tmp_path / "calls").read_text() == "x"
    assert {path.read_text() for path in tmp_path.glob("popen-*/thing-copy/made")} == {"gw0", "gw1", "gw2", "gw3"}
    assert (tmp_path / "thing-made-once/made").read_text() == "made"


def test_without_workers_there_is_a_copy_too(tmp_path):
    own = made_once(factory(tmp_path / "alone"), "thing", write)
    assert own.parent == tmp_path / "alone" and (own / "made").read_text() == "made"


def test_what_failed_is_made_anew_by_the_next_that_asks(tmp_path):
    def fail(folder):
        write(folder)
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        made_once(factory(tmp_path / "popen-gw0"), "thing", fail)
    ask(tmp_path, "gw1")
    assert (tmp_path / "calls").read_text() == "xx"


def fixtures_of(path):
    """Return the names of all fixtures that a file of tests uses."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return {argument.arg for function in functions for argument in function.args.args}


def test_what_needs_the_machine_is_in_one_group():
    files = {path.stem: path for path in TESTS.rglob("test_*.py")}
    assert {name for name, path in files.items() if fixtures_of(path) & NEED_THE_MACHINE} <= ONE_AT_A_TIME
    assert files.keys() >= ONE_AT_A_TIME | APART and not ONE_AT_A_TIME & APART
    assert {group_of(f"tests/{name}.py::test_a") for name in ONE_AT_A_TIME} == {MACHINE}
    assert group_of("tests/test_x.py::test_a[b::c]") == group_of("tests/test_x.py::test_b") == "tests/test_x.py"
    for name in APART:
        assert group_of(f"tests/{name}.py::test_a") != group_of(f"tests/{name}.py::test_b")


def test_files_that_need_a_finished_slice_are_not_the_last():
    light, heavy = (SimpleNamespace(nodeid=f"{name}.py::test", fixturenames=[need]) for name, need in (
        ("test_a", "tmp_path"), ("test_b", "finished")))  # fmt: skip
    assert heavy_first([light, heavy, light]) == [heavy, light, light]


def test_an_order_is_drawn_by_its_seed_and_keeps_files_together():
    items = [SimpleNamespace(nodeid=f"test_{file}.py::test_{number}") for file in "abcd" for number in range(9)]
    names = [item.nodeid for item in items]
    orders = [[item.nodeid for item in shuffled(items, seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2] != names
    assert all(sorted(order) == sorted(names) for order in orders)
    files = [name.partition("::")[0] for name in orders[0]]
    assert sum(one != other for one, other in itertools.pairwise(files)) == 3


def test_there_are_as_many_workers_as_processors_and_not_too_many():
    assert 1 <= workers() <= 8


def test_the_table_names_the_slowest_and_sums_processors_by_file():
    timing, lines = Timing(), []
    for nodeid, when, seconds in (
        ("tests/test_a.py::test_quick", "call", (1.0, 0.5, 0.0)),
        ("tests/test_a.py::test_slow", "setup", (4.0, 3.0, 40.0)),
        ("tests/test_a.py::test_slow", "call", (5.0, 2.0, 0.0)),
        ("tests/test_b.py::test_other", "call", (2.0, 7.0, 0.0)),
    ):
        timing.pytest_runtest_logreport(SimpleNamespace(nodeid=nodeid, when=when, seconds=seconds))
    reporter = SimpleNamespace(section=lines.append, line=lines.append)
    timing.pytest_terminal_summary(reporter)
    assert lines[1:4] == [
        "    9.0     5.0  tests/test_a.py::test_slow",
        "    2.0     7.0  tests/test_b.py::test_other",
        "    1.0     0.5  tests/test_a.py::test_quick",
    ]
    assert lines[4] == "processor seconds by file, 52 in all"
    assert "".join(lines[5:]).split() == [
        *("40.0", *MADE_ONCE.split()),
        *("7.0", "test_b.py"),
        *("5.5", "test_a.py"),
    ]


def test_a_slurm_whose_test_was_killed_does_not_stand_in_the_way_of_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ETC", tmp_path / "etc")
    monkeypatch.setattr(cluster, "PROGRAMS", ())
    monkeypatch.setattr(cluster.os, "geteuid", lambda: 0)
    folders = {name: tmp_path / name for name in ("etc", "slurm-1")}
    for folder in folders.values():
        folder.mkdir()
    own = folders["slurm-1"] / "slurm.conf"
    own.touch()
    (folders["etc"] / "slurm.conf").symlink_to(own)
    assert "has a configuration" in cluster.missing(), "somebody's link, in whose folder is no lock"
    with (own.parent / cluster.LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "has a configuration" in cluster.missing()
    assert cluster.missing() == ""
    (folders["etc"] / "gres.conf").touch()
    assert "has a configuration" in cluster.missing(), "a cluster's own file"
