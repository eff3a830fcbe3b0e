"""Whether the suite notices: each mutant breaks one behaviour of the package, and its tests must fail.

make mutants, or python tests/mutants/run.py [NAME ...] [-j WORKERS] [--why]. One file a room (README.md beside it).
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
LOOSE = "loose"  # the room of the modules that are in no folder
TIMEOUT = 600  # seconds that a test of a mutant may take; a mutant may never end
FAILED = 1  # pytest's status where tests ran and some failed
LATE = -1  # ours, of tests that did not end
NO_VERDICT = {LATE: f"not ended after {TIMEOUT} s"} | dict.fromkeys((2, 4, 5), "its tests cannot be collected")
# Of a patch that is no program any more: whatever imports it fails, which shows nothing about a test.
NO_PROGRAM = ("ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "IndentationError")
KEYS = {"breaks": str, "file": str, "old": str, "new": str, "tests": list}


class MutantError(Exception):
    """A mutant that cannot be tried; the message names it, and says what was expected."""


@dataclass(frozen=True)
class Mutant:
    """A patch that breaks one behaviour; docs in tests/mutants/README.md.

    Attributes:
        breaks: the behaviour, in a user's words.
        old, new: the text that is replaced, which stands once in `file`, and what comes in its place.
        tests: ids of the tests that fail with it, `tests/test_x.py::test_y`.
    """

    name: str
    room: str
    breaks: str
    file: Path
    old: str
    new: str
    tests: tuple[str, ...]

    def patch(self, folder: Path) -> str:
        """The text of its file in a copy of the repository, patched.

        Raises:
            MutantError: the file is not there, does not hold `old` once, or is no Python afterwards.
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
    """What pytest made of some tests; `killed_by`: the first that failed, `why`: its first line."""

    status: int
    killed_by: str
    why: str
    seconds: float
    output: str

    @property
    def verdict(self) -> str:
        """`dies`, `survives`, or why neither can be said."""
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
    """All mutants, from a TOML file for each room, in order.

    Raises:
        MutantError: a key is missing, unknown or of another type, or a name stands twice.
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
    """Rooms of the package: its folders, the loose modules, the rules."""
    return {path.parent.name for path in (root / PACKAGE).glob("*/__init__.py")} | {LOOSE, RULES.name}


def room_of(file: Path) -> str:
    """The room that a file is in."""
    if file.is_relative_to(RULES):
        return RULES.name
    inside = file.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else LOOSE


def copy_tree(root: Path, folder: Path) -> None:
    """Copy what git tracks or would track, as it is in the working tree."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():  # and not removed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)


def run_tests(folder: Path, tests: Sequence[str], timeout: float, *flags: str) -> Outcome:
    """Run tests of a copy with the package of that copy, in every process that they start; `timeout` in seconds."""
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
    """Name and first line of the first test that failed by itself, and not by an error before or after it."""
    if not report.is_file():
        return "", ""
    for case in ElementTree.parse(report).iter("testcase"):
        if (failure := case.find("failure")) is not None:
            return str(case.get("name")), str(failure.get("message")).partition("\n")[0]
    return "", ""


def tried(root: Path, mutant: Mutant | None, tests: Sequence[str]) -> Outcome:
    """The tests of a mutant, or of none, in a copy of the repository that is then removed."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as temporary:
        folder = Path(temporary)
        copy_tree(root, folder)
        if mutant is None:
            return run_tests(folder, tests, TIMEOUT * len(tests))
        (folder / mutant.file).write_text(mutant.patch(folder), encoding="utf-8")
        return run_tests(folder, tests, TIMEOUT, "-x")


def try_all(root: Path, mutants: Sequence[Mutant], workers: int, why: bool) -> int:
    """Try each mutant, and all their tests without any; print what came of it, and return the exit status.

    Raises:
        MutantError: a mutant does not fit the repository; nothing is run then.
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
    """Mutant, room, seconds, and what killed it."""
    by = f"killed by {outcome.killed_by}" if outcome.verdict == "dies" else outcome.verdict.upper()
    name, room = (text.ljust(width) for text, width in zip((mutant.name, mutant.room), widths, strict=True))
    return f"{name}  {room}  {outcome.seconds:4.0f} s  {by}"


def _tail(outcome: Outcome) -> str:
    return "\n".join(outcome.output.splitlines()[-15:])


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Try the mutants that are named, or all; 0 if each dies."""
    parser = argparse.ArgumentParser(prog="make mutants", description="Does the suite notice broken behaviour?")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of mutants, or rooms; none: all")
    parser.add_argument("-j", dest="workers", type=int, default=2, help="how many at once (2)")
    parser.add_argument("--why", action="store_true", help="say how each test failed")
    asked = parser.parse_args(arguments)
    try:
        mutants = read_mutants(root / HERE.relative_to(ROOT))
        known = {mutant.name for mutant in mutants} | {mutant.room for mutant in mutants}
        if unknown := sorted(set(asked.names) - known):
            raise MutantError(f"{unknown[0]}: no mutant or room of that name; there are {', '.join(sorted(known))}")
        chosen = [one for one in mutants if not asked.names or {one.name, one.room} & set(asked.names)]
        return try_all(root, chosen, asked.workers, asked.why)
    except MutantError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
