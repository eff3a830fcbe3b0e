"""Tests of the workflow on unusual sites: folder names with special characters, users without a name or home."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from checkout import METRICS, ROOT, SLICE, contents, copy_repository, snakemake
from nobody import SETPRIV, call_as_nobody, give_away, require_other_user

ODD = "anna's a&b (1)"
TARGET = "data/mini-mmmu/test/manifest.json"
STAND_INS = str(ROOT / "tests/slurm/stand_ins")
QUICK = ["--retries", "0", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "1"]


@pytest.fixture
def odd_checkout(tmp_path):
    """A copy of the repository in a folder with shell special characters in its name, and a scratch folder likewise."""
    folder = copy_repository(tmp_path / ODD / "main")
    (folder / "mine.yaml").write_text(json.dumps({"scratch": "$BIG/it's & (2)"}))
    return folder


def cluster_call(folder, *words):
    """Return Snakemake's arguments for the profile, and an environment in which stand-ins for Slurm run jobs."""
    jobs = folder / "jobs"
    jobs.mkdir()
    places = {"PATH": os.pathsep.join([STAND_INS, os.environ["PATH"]]), "STAND_IN_JOBS": str(jobs)}
    return ["--cores", "2", "--profile", "slurm", *QUICK, *words], places | {"STAND_IN_RUNS": "yes"}


@pytest.mark.parametrize("cluster", [False, True], ids=["here", "on a cluster"])
def test_names_that_shells_read_otherwise_are_names(odd_checkout, cluster):
    big = odd_checkout.parent / "big"
    target = str(big / "it's & (2)" / TARGET)
    words, places = cluster_call(odd_checkout, "--config", "preset=mini") if cluster else (SLICE[:2], {})
    configured = ["--configfile", "tests/slice.yaml", "mine.yaml"]
    answer = snakemake(odd_checkout, *words, *configured, "--", target, BIG=str(big), **places)
    logs = "".join(path.read_text() for path in odd_checkout.glob("logs/slurm/**/*.log"))
    assert answer.returncode == 0, answer.stdout + logs
    assert Path(target).is_file() and len([*odd_checkout.glob("jobs/*.json")]) == cluster
    assert not [path.name for path in odd_checkout.iterdir() if "$" in path.name or path.name == "scratch"]


@pytest.mark.slow
def test_the_slice_is_the_same_in_a_folder_of_such_a_name(finished, odd_checkout):
    """Training, evaluation, tables, the PDF and the page give the same bytes as elsewhere."""
    configured = ["--configfile", "tests/slice.yaml", "mine.yaml"]
    answer = snakemake(
        odd_checkout, "--cores", "2", *configured, "--", "all", "report", "compare", BIG=str(odd_checkout)
    )
    assert answer.returncode == 0, answer.stdout
    assert contents(odd_checkout, *METRICS) == contents(finished, *METRICS)
    made = {path.name for path in (odd_checkout / "paper_tables/mini").iterdir()}
    assert {"table3.html", "report.html"} <= made and ("tables.pdf" in made or not shutil.which("pdflatex"))


@pytest.mark.parametrize("name", ["clone {x}", "a:b", "$HOME"])
def test_a_clone_whose_name_no_job_could_use_is_refused(tmp_path, name):
    answer = snakemake(copy_repository(tmp_path / name), "-n", *SLICE)
    assert answer.returncode == 1 and "Traceback" not in answer.stdout
    assert f"{tmp_path / name}: jobs cannot use " in answer.stdout and "rename the folder" in answer.stdout


def test_a_variable_that_is_not_set_stops_before_anything_is_planned(odd_checkout):
    answer = snakemake(odd_checkout, "-n", *SLICE[:2], "--configfile", "mine.yaml", BIG="")
    assert answer.returncode == 1 and "Traceback" not in answer.stdout
    assert 'config: scratch is "$BIG/it\'s & (2)"; the environment variable BIG is not set or is empty' in answer.stdout
    assert not [*odd_checkout.glob("*BIG*")]


def test_a_python_that_a_cluster_could_not_start_stops_before_anything_is_submitted(checkout, tmp_path):
    venv.create(tmp_path / "a&b")
    (packages,) = (tmp_path / "a&b").glob("lib/python3*/site-packages")
    (packages / "all.pth").write_text("\n".join(path for path in sys.path if Path(path).is_dir()))
    words, places = cluster_call(checkout, "--configfile", "tests/slice.yaml", "--config", "preset=mini")
    command = [str(tmp_path / "a&b/bin/python"), "-m", "snakemake", *words, "--", f"scratch/{TARGET}"]
    answer = subprocess.run(command, cwd=checkout, env=os.environ | places, capture_output=True, text=True)
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    assert f"{tmp_path}/a&b/bin/python: cluster jobs would not find this Python" in answer.stderr
    assert not [*(checkout / "jobs").iterdir()] and not (checkout / "scratch" / TARGET).exists()


# ---- users ----------------------------------------------------------------------------------------------------------


def test_a_user_without_a_name_runs_with_a_cache_elsewhere_than_at_home(checkout, tmp_path):
    """HOME exists but is not writable, as in a container; caches are in XDG_CACHE_HOME."""
    require_other_user()
    shutil.copy(ROOT / "Makefile", checkout)
    give_away(checkout)
    cache = tmp_path / "cache"
    cache.mkdir()
    give_away(cache)
    words = ["snakemake", *SLICE, "--", f"scratch/{TARGET}"]
    answer = call_as_nobody(checkout, *words, HOME="/", XDG_CACHE_HOME=str(cache))
    assert answer.returncode == 0 and (checkout / "scratch" / TARGET).is_file(), answer.stdout
    for home in ({}, {"HOME": "/"}):
        path = {"PATH": os.environ["PATH"]}
        told = subprocess.run([*SETPRIV, "make", "home"], cwd=checkout, env=path | home, capture_output=True, text=True)
        assert told.returncode and "set HOME to a writable folder, or set XDG_CACHE_HOME" in told.stderr, told
    given = {"HOME": "/", "XDG_CACHE_HOME": str(cache / "deeper")}
    assert subprocess.run([*SETPRIV, "make", "home"], cwd=checkout, env=path | given).returncode == 0


def test_a_folder_of_results_that_cannot_be_written_is_one_message(checkout):
    require_other_user()
    words = ["slq.cli", "compare", "paper", "paper", "--text", "results/mini/difference.txt"]
    answer = call_as_nobody(checkout, *words, PYTHONPATH="workflow")
    assert answer.returncode == 1
    assert answer.stdout == "slq: error: results/mini/difference.txt: cannot be written: Permission denied\n"
