"""A copy of this repository as a clone would have it, and calls of Snakemake in it."""

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
KEPT = ("reference", "templates")  # of paper_tables; all else there is made
MADE = shutil.ignore_patterns("__pycache__", "*.egg-info")
SLICE = ["--cores", "2", "--configfile", "tests/slice.yaml"]
# What the slice leaves: the same bytes wherever it runs.
RUNS = "results/mini/mini-internvl"
METRICS = (*(f"{RUNS}/*/*/{kind}/*" for kind in ("retrieval", "retention", "blind")), "results/mini/audit.json")
TABLES = ("paper_tables/mini/table1.tex", "paper_tables/mini/table1.html")


def copy_repository(folder: Path) -> Path:
    """Copy what the workflow needs into `folder`; nothing that a run makes."""
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
    """Call Snakemake of the environment that runs the tests; stdout and stderr come back as one text."""
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
    """Bytes of the files that match, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }


def require(absent: str, variable: str) -> None:
    """Skip a test, and say what is absent for it; fail it instead where a variable says that nothing may be."""
    if absent and os.environ.get(variable):
        pytest.fail(f"{absent}, and {variable} says that it must be")
    if absent:
        pytest.skip(absent)


def processor_seconds() -> float:
    """Of all commands that have ended: a limit on it holds whatever else the machine does."""
    times = os.times()
    return times.children_user + times.children_system


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs by rule of a dry run; empty if there is nothing to do."""
    answer = snakemake(folder, "-n", *arguments)
    assert answer.returncode == 0, answer.stdout
    table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)^total", answer.stdout, re.MULTILINE | re.DOTALL)
    if table is None:
        assert "Nothing to be done" in answer.stdout, answer.stdout
        return {}
    return {rule: int(count) for rule, count in (line.split() for line in table[1].splitlines())}


def listed_jobs(folder: Path, preset: str, *targets: str) -> list[dict[str, Any]]:
    """Every job of Snakemake's graph for these targets, due or not: its rule, its files, and its call of slq.jobs."""
    script = [sys.executable, str(ROOT / "tests" / "jobs.py"), preset, *targets]
    answer = subprocess.run(script, cwd=folder, capture_output=True, text=True, timeout=600)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def for_this_machine(plan: dict[str, int]) -> dict[str, int]:
    """A plan without the PDF where there is no pdflatex to make it."""
    return {rule: count for rule, count in plan.items() if rule != "compile_pdf" or shutil.which("pdflatex")}


def change_training(folder: Path, training: dict[str, Any], minutes: float = 60) -> None:
    """Write tests/more.yaml, to be laid over the slice: other settings of training, and what its job may take."""
    mini = {"training": training, "resources": {"train": {"hours": minutes / 60}}}
    (folder / "tests/more.yaml").write_text(json.dumps({"presets": {"mini": mini}}))


def place(folder: Path, *files: str) -> None:
    """Put files there, empty: what an earlier job left."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
