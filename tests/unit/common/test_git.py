"""Results in git: they can be committed and diffed, and do not change the commit that a run records."""

import shutil
import subprocess

import pytest

from checkout import ROOT, place
from slq.common.events import git_state
from slq.common.files import write_json

METRICS = "results/paper/InternVL3-1B/slq/seed1/retrieval/coco.json"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Repository with one commit and our .gitignore, as working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    (tmp_path / "code.py").write_text("one = 1\n")
    git("init", "--quiet")
    commit("code")
    return tmp_path


def git(*arguments):
    person = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *person, *arguments], check=True, capture_output=True, text=True).stdout


def commit(message):
    git("add", "--all")
    git("commit", "--quiet", "--message", message)


def test_git_takes_results_but_those_of_mini_and_nothing_large(repository):
    results = [METRICS, METRICS.replace(".json", ".ranks.parquet"), "results/paper/gpu_hours.csv"]
    made = [
        "results/mini/audit.json",
        "scratch/data/coco/a.jpg",
        "logs/paper/train.log",
        "paper_tables/paper/cells.csv",
    ]
    place(repository, *results, *made, "results/paper/.audit.json.123.tmp")
    git("add", "--all")
    assert git("diff", "--cached", "--name-only").split() == sorted(results)


def test_results_of_two_people_differ_in_the_lines_of_what_moved(repository):
    write_json(repository / METRICS, {"metrics": {"R@1": 50.0, "R@5": 75.25}})
    commit("results of one")
    write_json(repository / METRICS, {"metrics": {"R@1": 50.0, "R@5": 75.5}})
    commit("results of another")
    changed = [line for line in git("diff", "--unified=0", "HEAD~1").splitlines() if line[0] in "+-"]
    assert changed[2:] == ['-    "R@5": 75.25', '+    "R@5": 75.5']


def test_results_change_nothing_about_the_commit_of_a_run(repository, monkeypatch):
    clean = {"commit": git("rev-parse", "HEAD").strip(), "dirty": False}
    place(repository, METRICS)
    assert git_state() == clean
    commit("results")
    (repository / METRICS).write_text("{}")
    monkeypatch.chdir(repository / "results")
    assert git_state() == {"commit": git("rev-parse", "HEAD").strip(), "dirty": False}
    (repository / "code.py").write_text("one = 2\n")
    assert git_state()["dirty"] is True
