"""Copies of this repository as in a fresh clone, and calls of Snakemake in them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CONTENT = (
    "Snakefile",
    "config.yaml",
    ".gitignore",
    "workflow",
    "slurm",
    "profiles",
    "envs",
    "paper_tables",
    "tests/slice.yaml",
)
KEPT = ("reference", "templates")  # folders of paper_tables that are committed; all others are generated
MADE = shutil.ignore_patterns("__pycache__", "*.egg-info")
SLICE = ["--cores", "2", "--configfile", "tests/slice.yaml"]
# Outputs of the slice: the same bytes wherever it runs.
RUNS = "results/mini/mini-internvl"
METRICS = (*(f"{RUNS}/*/*/{kind}/*" for kind in ("retrieval", "retention", "blind")), "results/mini/audit.json")
TABLES = ("paper_tables/mini/table1.tex", "paper_tables/mini/table1.html")


def copy_repository(folder: Path) -> Path:
    """Copy the files that the workflow needs to `folder`, without outputs of runs."""
    for name in CONTENT:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=MADE)
        else:
            shutil.copy2(source, target)
    for made in (folder / "paper_tables").iterdir():
        if made.is_file():
            made.unlink()
        elif made.name not in KEPT:
            shutil.rmtree(made)
    return folder


def snakemake(
    folder: Path, *arguments: str, timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Call Snakemake in the environment of the tests; stdout and stderr are returned as one text."""
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": tools, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    """Read the files that match the patterns, and return their bytes by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }


def require(absent: str, variable: str) -> None:
    """Skip a test because of a missing program; fail it instead if the environment variable is set."""
    if absent and os.environ.get(variable):
        pytest.fail(f"{absent}, and {variable} says that it must be")
    if absent:
        pytest.skip(absent)


def processor_seconds() -> float:
    """Return the processor time of all finished child processes, which does not depend on the load of the machine."""
    times = os.times()
    return times.children_user + times.children_system


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Return the number of jobs per rule in a dry run; empty if nothing is to be done."""
    answer = snakemake(folder, "-n", *arguments)
    assert answer.returncode == 0, answer.stdout
    table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)^total", answer.stdout, re.MULTILINE | re.DOTALL)
    if table is None:
        assert "Nothing to be done" in answer.stdout, answer.stdout
        return {}
    return {rule: int(count) for rule, count in (line.split() for line in table[1].splitlines())}


def listed_jobs(folder: Path, preset: str, *targets: str) -> list[dict[str, Any]]:
    """List every job of Snakemake's graph for these targets, due or not: its rule, files, and call of slq.jobs."""
    script = [sys.executable, str(ROOT / "tests" / "jobs.py"), preset, *targets]
    answer = subprocess.run(script, cwd=folder, capture_output=True, text=True, timeout=600)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def for_this_machine(plan: dict[str, int]) -> dict[str, int]:
    """Remove the PDF from a plan on a machine without pdflatex."""
    return {rule: count for rule, count in plan.items() if rule != "compile_pdf" or shutil.which("pdflatex")}


def change_training(folder: Path, training: dict[str, Any], minutes: float = 60) -> None:
    """Write tests/more.yaml, an overlay on the slice with other training settings and another time limit."""
    mini = {"training": training, "resources": {"train": {"hours": minutes / 60}}}
    (folder / "tests/more.yaml").write_text(json.dumps({"presets": {"mini": mini}}))


def place(folder: Path, *files: str) -> None:
    """Create empty files in place of the outputs of earlier jobs."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
