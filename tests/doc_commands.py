"""Commands and outputs of README.md, CONTRIBUTING.md and docs/, run as they are typed in a copy of a finished checkout.

python tests/doc_commands.py [PAGE ...] [--write] [--finished DIR]       after `make reproduce`

A page is run from top to bottom in one folder. What is run are its fenced blocks:

    ```console      `$ command` lines, each followed by what it prints, stdout and stderr; `...` stands for any lines
    ```sh           commands whose output is not shown
    ```python       a script

An HTML comment on a line of its own just above a block says how it is run; a reader of the page does not see it:

    <!-- before: COMMAND -->    first run this: files that a reader has and this machine has not
    <!-- exits: 1 -->           the last command ends with this status
    <!-- varies: REASON -->     numbers differ on another machine: only the words are compared
    <!-- planned: REASON -->    what no test machine can do: Snakemake plans it (-n), slq and make only read the command

Before outputs are compared, times, hashes, dates and the folder are masked and Snakemake's line about the profile is
dropped. --write puts printed outputs into the page.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")))
NOT_RUN = ("docs/log.md",)  # records past experiments, not the current state
RUN_LANGUAGES = ("console", "sh", "python")
MADE = (
    "results",
    "scratch",
    "paper_tables/mini",
    "paper_tables/audit.json",
    ".snakemake/metadata",
    "logs",
    "benchmarks",
)
FENCE = re.compile(r"^( *)```(\w*)$")
DIRECTIVE = re.compile(r"^ *<!-- (before|exits|planned|varies): (.*) -->$")
READ_ARGUMENTS = "import sys; from slq.cli import build_parser; build_parser().parse_args(sys.argv[1:])"
COMMIT = "git init -q . && git add -A && git -c user.name=x -c user.email=x@localhost commit -q -m x"
NUMBERS = ((re.compile(r"[\d.,]*\d"), "N"), (re.compile(r" +"), " "))
NOISE = re.compile(r"^Using workflow specific profile .*\n", re.MULTILINE)  # first line of Snakemake's output
COLUMNS = "100"
NOT_A_READERS = ("PYTEST_", "SLURM_", "MAKE", "MFLAGS")  # under `make check` an inner make would print its folder
TIMEOUT_S = 900
MASKS = (
    (re.compile(r"\b[0-9a-f]{7,64}\b"), "HASH"),
    (re.compile(r"\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?"), "DATE"),
    (re.compile(r"( *\d+ (h|min))* *[\d.,]+ ?(s|ms|min)\b"), " TIME"),
    (re.compile(r" +$", re.MULTILINE), ""),
)


@dataclass
class Block:
    """A fenced block of a page: its language, its lines and their position, and its directives."""

    page: str
    language: str
    first_line: int
    lines: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    exits: int = 0
    planned: str = ""
    varies: str = ""

    @property
    def name(self) -> str:
        return f"{self.page}:{self.first_line}"

    def steps(self) -> list[tuple[str, list[str]]]:
        """List the commands of the block, each with the output that the page shows below it."""
        if self.language == "python":
            return [("\n".join(self.lines), [])]
        steps: list[tuple[str, list[str]]] = []
        continued = False
        for line in self.lines:
            if continued:
                steps[-1] = (f"{steps[-1][0]}\n{line}", [])
            elif self.language == "sh":
                if line.strip() and not line.lstrip().startswith("#"):
                    steps.append((line, []))
            elif line.startswith("$ "):
                steps.append((line[2:], []))
            elif steps:
                steps[-1][1].append(line)
            else:
                raise ValueError(f"{self.name}: output before the first `$ command`")
            continued = bool(steps) and not steps[-1][1] and steps[-1][0].endswith("\\")
        return steps


def read_blocks(page: str, text: str) -> list[Block]:
    """Parse the fenced blocks of a page, with the directives above each."""
    blocks: list[Block] = []
    inside: Block | None = None
    directives: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if fence := FENCE.match(line):
            if inside is None:
                inside = Block(page, fence[2], number + 1)
                for key, value in directives:
                    if key == "before":
                        inside.before.append(value)
                    else:
                        setattr(inside, key, int(value) if key == "exits" else value)
                directives = []
            else:
                blocks.append(inside)
                inside = None
        elif inside is not None:
            inside.lines.append(line)
        elif directive := DIRECTIVE.match(line):
            directives.append((directive[1], directive[2]))
        elif line.strip() and directives:
            raise ValueError(f"{page}:{number}: expected a block, or another directive, below a directive")
    if inside is not None:
        raise ValueError(f"{page}:{inside.first_line}: this block has no end")
    return blocks


def inline_commands(text: str) -> list[str]:
    """Find the commands in the sentences and tables of a page, without those that contain a placeholder."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`((?:snakemake|slq|make) [^`]+)`", prose)
    return [span for span in dict.fromkeys(spans) if not re.search(r"[<>…|*\[{]|\.\.\.|\b[A-Z]{3,}\b(?!=)", span)]


def masked(lines: list[str], folder: Path, varies: bool = False) -> list[str]:
    """Mask the parts of an output that differ from run to run, or from machine to machine, and return its lines."""
    text = "\n".join(lines).replace(str(folder), "FOLDER")
    for pattern, word in MASKS + NUMBERS * varies:
        text = pattern.sub(word, text)
    return text.strip("\n").splitlines()


def same_output(shown: list[str], printed: list[str]) -> bool:
    """Return whether an output matches the one in a page, where a line `...` stands for any lines."""
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def plan_of(command: str) -> str:
    """Turn a command into one that only plans, so that nothing is fetched, submitted or written."""
    words = shlex.split(command, comments=True)
    program = words[0]
    if program == "snakemake":
        return shlex.join(["snakemake", "-n", "--quiet", "all", *words[1:]])
    if program == "make":
        return shlex.join(["make", "-n", *words[1:]])
    if program == "slq" and len(words) == 2:  # the name of a command in a sentence
        return shlex.join(["slq", words[1], "--help"])
    if program == "slq":
        return shlex.join([sys.executable, "-c", READ_ARGUMENTS, *words[1:]])
    return f"bash -n -c {shlex.quote(command)}"


def copy_finished(finished: Path, folder: Path) -> None:
    """Copy the non-ignored files of this checkout, and the outputs of `make reproduce` in a finished one."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    for name in MADE:
        if (finished / name).is_dir():
            shutil.copytree(finished / name, folder / name, symlinks=True, dirs_exist_ok=True)
        elif (finished / name).is_file():
            shutil.copy2(finished / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    subprocess.run(COMMIT, shell=True, cwd=folder, check=True)


def run_command(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as in a terminal without colours."""
    tools = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": tools, "COLUMNS": COLUMNS, "NO_COLOR": "1", "TERM": "dumb"}
    environment["PYTHONPATH"] = str(folder / "workflow")  # the installed package is that of another checkout
    for name in [name for name in environment if name.startswith(NOT_A_READERS)]:
        del environment[name]
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip


def run_block(block: Block, folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Run the commands of a block; yield each with its output in the page and its actual output."""
    for command in block.before:
        answer = run_command(command, folder)
        if answer.returncode:
            raise ValueError(f"{block.name}: before: {command}\n{answer.stdout}")
    steps = block.steps()
    for number, (command, shown) in enumerate(steps):
        typed = command
        if block.language == "python":
            typed = f"{shlex.quote(sys.executable)} -c {shlex.quote(command)}"
        elif block.planned:
            typed = plan_of(command)
        answer = run_command(typed, folder)
        expected = block.exits if number == len(steps) - 1 else 0
        if answer.returncode != expected:
            raise ValueError(
                f"{block.name}: {command}\nended with {answer.returncode}, expected {expected}:\n{answer.stdout}"
            )
        if block.language == "console" and not block.planned:
            printed = NOISE.sub("", answer.stdout.replace(str(folder), "/home/you/slq"))
            yield command, shown, printed.rstrip("\n").splitlines()


def check_page(page: str, finished: Path, write: bool = False) -> list[str]:
    """Run a page and return the mismatches; with `write`, replace the outputs in the page by the actual ones."""
    path = ROOT / page
    text = path.read_text()
    blocks = [block for block in read_blocks(page, text) if block.language in RUN_LANGUAGES]
    faults, lines = [], text.splitlines()
    with tempfile.TemporaryDirectory(prefix="slq-docs-") as name:
        folder = Path(name) / "slq"
        folder.mkdir()
        copy_finished(finished, folder)
        rewritten: dict[int, list[str]] = {}
        for block in blocks:
            try:
                outcome = list(run_block(block, folder))
            except (ValueError, subprocess.TimeoutExpired) as error:
                faults.append(str(error))
                continue
            new_lines: list[str] = []
            for command, shown, printed in outcome:
                kept = shown
                if not same_output(*(masked(lines, folder, bool(block.varies)) for lines in (shown, printed))):
                    faults.append("\n".join([f"{block.name}: $ {command}", "shown:", *shown, "printed:", *printed]))
                    kept = printed
                new_lines += [*f"$ {command}".splitlines(), *kept]
            if outcome:
                rewritten[block.first_line] = new_lines
        for command in inline_commands(text):
            answer = run_command(plan_of(command), folder)
            if answer.returncode:
                faults.append(f"{page}: `{command}` is no command:\n{answer.stdout}")
        if write:
            for block in reversed(blocks):
                if block.first_line in rewritten:
                    start = block.first_line - 1
                    lines[start : start + len(block.lines)] = rewritten[block.first_line]
            path.write_text("\n".join(lines) + "\n")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="such as docs/methods.md; all if none is named")
    parser.add_argument("--write", action="store_true", help="put what was printed into the pages")
    parser.add_argument("--finished", type=Path, default=ROOT, metavar="DIR", help="checkout after `make reproduce`")
    args = parser.parse_args()
    if not (args.finished / "paper_tables/mini/cells.csv").is_file():
        parser.error(f"{args.finished}: holds no tables of the mini preset; run `make reproduce` there first")
    faults = []
    for page in args.pages or [page for page in PAGES if page not in NOT_RUN]:
        faults += (found := check_page(page, args.finished, args.write))
        print(f"{page}: {f'{len(found)} differ' if found else 'as it says'}", flush=True)
        print(*found, sep="\n\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
