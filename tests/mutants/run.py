"""Mutation testing: each mutant breaks one behaviour of the package, and its tests must fail.

Run make mutants, or python tests/mutants/run.py [NAME ...] [-j WORKERS] [--why]. Each package has one file of mutants
(README.md in this folder).
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE, RULES = Path("workflow/slq"), Path("workflow/rules")
LOOSE = "loose"  # stands for the modules that are in no folder
TIMEOUT = 600  # seconds for the tests of a mutant, because a mutant may loop forever
FAILED = 1  # pytest's exit status if tests ran and some failed
LATE = -1  # our own status for tests that did not finish
NO_VERDICT = {LATE: f"not finished after {TIMEOUT} s"} | dict.fromkeys((2, 4, 5), "its tests cannot be collected")
# Errors of a patch that breaks the program itself: every import fails, which shows nothing about a test.
NO_PROGRAM = ("ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "IndentationError")
KEYS = {"breaks": str, "file": str, "old": str, "new": str, "tests": list}


class MutantError(Exception):
    """A mutant that cannot be run; the message names it and states what was expected."""


@dataclass(frozen=True)
class Mutant:
    """A patch that breaks one behaviour, as described in tests/mutants/README.md.

    Attributes:
        room: the package that the file is in.
        breaks: the broken behaviour, as a user would see it.
        old, new: the replaced text, which occurs once in `file`, and its replacement.
        tests: ids of the tests that must fail, as `tests/test_x.py::test_y`.
    """

    name: str
    room: str
    breaks: str
    file: Path
    old: str
    new: str
    tests: tuple[str, ...]

    def patch(self, folder: Path) -> str:
        """Return the patched text of its file in a copy of the repository.

        Raises:
            MutantError: the file is missing, does not contain `old` exactly once, or is not valid Python afterwards.
        """
        path = folder / self.file
        if not path.is_file():
            raise MutantError(f"{self.name}: {self.file} is not there; port the mutant to where the behaviour is now")
        text = path.read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1:
            raise MutantError(f"{self.name}: its old text stands {count} times in {self.file}; expected once")
        patched = text.replace(self.old, self.new)
        if path.suffix == ".py":
            try:
                ast.parse(patched)
            except SyntaxError as error:
                raise MutantError(f"{self.name}: {self.file} is no Python with it: {error}") from error
        return patched


@dataclass(frozen=True)
class Outcome:
    """Result of pytest for some tests; `killed_by`: the first failed test, `why`: the first line of its error."""

    status: int
    killed_by: str
    why: str
    seconds: float
    output: str

    @property
    def verdict(self) -> str:
        """`dies`, `survives`, or the reason why there is no verdict."""
        if self.status == 0:
            return "survives"
        if self.status != FAILED:
            return f"no verdict: {NO_VERDICT.get(self.status, 'pytest ended otherwise')} ({self.status})"
        if not self.killed_by:
            return "no verdict: an error outside of a test"
        if self.why.startswith(NO_PROGRAM):
            return "no verdict: no program any more"
        return "dies"


def read_mutants(folder: Path = HERE) -> list[Mutant]:
    """Read all mutants in order, from one TOML file per package.

    Raises:
        MutantError: a key is missing, unknown or of the wrong type, or a name occurs twice.
    """
    found: dict[str, Mutant] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise MutantError(f"{path}: not valid TOML: {error}") from error
        for name, entry in entries.items():
            fault = next((key for key in {*KEYS, *entry} if not isinstance(entry.get(key), KEYS.get(key, ()))), None)
            if fault:
                raise MutantError(f"{path}: {name}: key {fault} is {entry.get(fault)!r}; expected {', '.join(KEYS)}")
            if name in found or not entry["tests"] or entry["old"] == entry["new"]:
                raise MutantError(f"{path}: {name}: stands twice, names no test, or changes nothing")
            rest = {key: entry[key] for key in ("breaks", "old", "new")}
            found[name] = Mutant(name, path.stem, file=Path(entry["file"]), tests=tuple(entry["tests"]), **rest)
    return list(found.values())


def rooms(root: Path = ROOT) -> set[str]:
    """Return the names of the groups of mutants: packages, loose modules and rules."""
    return {path.parent.name for path in (root / PACKAGE).glob("*/__init__.py")} | {LOOSE, RULES.name}


def room_of(file: Path) -> str:
    """Return the group that a file belongs to."""
    if file.is_relative_to(RULES):
        return RULES.name
    inside = file.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else LOOSE


def copy_tree(root: Path, folder: Path) -> None:
    """Copy all tracked and untracked files of the working tree, without ignored ones."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():  # a tracked file may have been removed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)


def run_tests(folder: Path, tests: Sequence[str], timeout: float, *flags: str) -> Outcome:
    """Run tests of a copy, with the package of that copy in every process they start; `timeout` is in seconds."""
    report = folder / "mutant-report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *flags, *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder / PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    start = time.monotonic()
    try:
        answer = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        status, output = answer.returncode, answer.stdout
    except subprocess.TimeoutExpired:
        status, output = LATE, ""
    killed_by, why = _first_failure(report)
    return Outcome(status, killed_by, why, time.monotonic() - start, output)


def _first_failure(report: Path) -> tuple[str, str]:
    """Return name and first error line of the first test that failed itself, not in its setup or teardown."""
    if not report.is_file():
        return "", ""
    for case in ElementTree.parse(report).iter("testcase"):
        if (failure := case.find("failure")) is not None:
            return str(case.get("name")), str(failure.get("message")).partition("\n")[0]
    return "", ""


def tried(root: Path, mutant: Mutant | None, tests: Sequence[str]) -> Outcome:
    """Run tests with a mutant, or without one, in a temporary copy of the repository."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as temporary:
        folder = Path(temporary)
        copy_tree(root, folder)
        if mutant is None:
            return run_tests(folder, tests, TIMEOUT * len(tests))
        (folder / mutant.file).write_text(mutant.patch(folder), encoding="utf-8")
        return run_tests(folder, tests, TIMEOUT, "-x")


def try_all(root: Path, mutants: Sequence[Mutant], workers: int, why: bool) -> int:
    """Run each mutant, and all their tests without a mutant; print the outcomes, and return the exit status.

    Raises:
        MutantError: a mutant does not fit the repository; then no test is run.
    """
    for mutant in mutants:
        mutant.patch(root)
    asked = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    widths = [
        max(len(text) for text in column) for column in zip(*((one.name, one.room) for one in mutants), strict=True)
    ]
    survivors = []
    with ThreadPoolExecutor(workers) as pool:
        sound = pool.submit(tried, root, None, asked)
        for mutant, outcome in zip(mutants, pool.map(lambda one: tried(root, one, one.tests), mutants), strict=True):
            print(
                _line(mutant, outcome, widths),
                *([f"    {mutant.breaks}\n    {outcome.why}"] * why),
                sep="\n",
                flush=True,
            )
            if outcome.verdict != "dies":
                survivors.append((mutant, outcome))
    for mutant, outcome in survivors:
        print(f"\n{mutant.name}: {outcome.verdict}: {mutant.breaks}\n{_tail(outcome)}")
    if whole := sound.result().status:
        print(f"\nwithout any mutant pytest ends with {whole}, so none of this counts:\n{_tail(sound.result())}")
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} mutants die")
    return int(bool(survivors) or whole != 0)


def _line(mutant: Mutant, outcome: Outcome, widths: Sequence[int]) -> str:
    """Format mutant, package, seconds, and the test that killed it."""
    by = f"killed by {outcome.killed_by}" if outcome.verdict == "dies" else outcome.verdict.upper()
    name, room = (text.ljust(width) for text, width in zip((mutant.name, mutant.room), widths, strict=True))
    return f"{name}  {room}  {outcome.seconds:4.0f} s  {by}"


def _tail(outcome: Outcome) -> str:
    return "\n".join(outcome.output.splitlines()[-15:])


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Run the named mutants, or all; return 0 if each dies."""
    parser = argparse.ArgumentParser(prog="make mutants", description="Does the suite notice broken behaviour?")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants or packages (all)")
    parser.add_argument("-j", dest="workers", type=int, default=2, help="number of mutants run at once (2)")
    parser.add_argument("--why", action="store_true", help="print how each test failed")
    asked = parser.parse_args(arguments)
    try:
        mutants = read_mutants(root / HERE.relative_to(ROOT))
        known = {mutant.name for mutant in mutants} | {mutant.room for mutant in mutants}
        if unknown := sorted(set(asked.names) - known):
            raise MutantError(f"{unknown[0]}: no mutant or package of that name; there are {', '.join(sorted(known))}")
        chosen = [one for one in mutants if not asked.names or {one.name, one.room} & set(asked.names)]
        return try_all(root, chosen, asked.workers, asked.why)
    except MutantError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
