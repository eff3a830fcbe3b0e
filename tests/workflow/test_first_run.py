"""Tests that docs/first-run.md leads to Table 3: its commands as they are typed, on a real Slurm with stand-ins."""

import csv
import shutil

import pytest

from checkout import ROOT, contents
from doc_commands import masked, read_blocks, run_command, same_output
from standins import make_small_clone, put_photos, served

PAGE = "docs/first-run.md"
TEXT = (ROOT / PAGE).read_text()
STAND_INS = "the stand-ins"  # reason in the directive of a block whose output is compared here
# Beginnings of commands that are not run here, each with what replaces it.
ELSEWHERE = {
    "git clone": "a copy of the repository",
    "make install": "the environment of the tests",
    "source": "the environment of the tests",
    "slq doctor --preset mini": "test_cluster.py",
    "snakemake --cores all --profile slurm --config preset=mini": "test_cluster.py",
    "slq fetch --small": "tests/snapshots/test_fetch_small.py, with the released models' small files",
}


def steps():
    """List the page's blocks below its summary."""
    first = TEXT[: TEXT.index("\n## ")].count("\n")
    return [block for block in read_blocks(PAGE, TEXT) if block.first_line > first and block.language == "console"]


def test_the_list_of_commands_is_that_of_the_sections():
    listed = [command.partition("  #")[0].strip() for command, _ in read_blocks(PAGE, TEXT)[0].steps()]
    assert listed == [command.partition(" | ")[0] for block in steps() for command, _ in block.steps()]


def test_what_is_not_run_here_is_on_the_page():
    commands = [command for block in steps() for command, _ in block.steps()]
    assert all(any(command.startswith(beginning) for command in commands) for beginning in ELSEWHERE)


@pytest.fixture
def clones(tmp_path, monkeypatch):
    """A user's clone on the cluster, and one on a laptop."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    cluster, laptop = (make_small_clone(tmp_path / name) for name in ("cluster", "laptop"))
    put_photos(cluster)
    return cluster, laptop


def bring_home(cluster, laptop):
    """Copy the results as rsync does, which needs a second host."""
    shutil.copytree(cluster / "results/paper", laptop / "results/paper")


@pytest.mark.slurm
def test_the_commands_of_the_page_lead_to_table_3(slurm, clones, tmp_path, monkeypatch):
    cluster, laptop = clones
    folder, before = cluster, len(slurm.jobs())
    with served(tmp_path / "hub") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for block in steps():
            for command, shown in block.steps():
                if command.startswith(tuple(ELSEWHERE)):
                    continue
                if command.startswith("rsync"):
                    bring_home(cluster, laptop)
                    folder = laptop
                    continue
                answer = run_command(command, folder)
                assert answer.returncode == 0, f"{block.name}: {command}\n{answer.stdout}"
                printed = answer.stdout.rstrip("\n").splitlines()
                alike = same_output(*(masked(lines, folder, varies=True) for lines in (shown, printed)))
                assert alike or block.planned != STAND_INS, f"{block.name}: {command}\n{answer.stdout}"
    assert {job.state for job in slurm.jobs()[before:]} == {"COMPLETED"}
    assert any(job.gpus for job in slurm.jobs()[before:])
    with open(cluster / "paper_tables/paper/cells.csv") as file:
        cells = [row for row in csv.DictReader(file) if row["table"] == "table3" and row["state"] != "quoted"]
    assert {row["state"] for row in cells} == {"measured", "inherited"}
    tables = [contents(clone, "paper_tables/paper/table*.tex") for clone in clones]
    assert len(tables[0]) > 2 and tables[0] == tables[1]
    assert (laptop / "paper_tables/paper/report.html").is_file()
