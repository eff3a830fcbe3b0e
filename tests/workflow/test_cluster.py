"""Tests of the workflow on a real Slurm (tests/slurm/cluster.py)."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from checkout import METRICS, ROOT, TABLES, contents, planned, snakemake
from slq.common.files import read_jsonl
from slurm.cluster import wait_until
from slurm.submission import (
    ADAPTER,
    MANY,
    MINUTES_ON_END,
    QUICK,
    RUN,
    SLURM,
    job_ids,
    learned,
    learned_at_home,
    submit,
)
from terminal import COLUMNS, every_line, last_lines, run_on_a_terminal

EVERY_METRIC = [f"results/mini/*/*/*/{kind}/*" for kind in ("retrieval", "retention", "blind")]


def events(folder):
    """Read the events of every stage of every run, by file."""
    return {path: read_jsonl(path) for path in sorted(folder.glob("results/mini/*/*/*/events/*.jsonl"))}


def most_at_once(jobs):
    """Return the maximum number of GPUs in use; a job's last second is excluded, as Slurm records whole seconds."""
    return max(sum(other.gpus for other in jobs if other.start <= job.start < other.end) for job in jobs)


# The rule of each stage whose events file has another name.
RULES = {"retrieval": "evaluate_retrieval", "retention": "evaluate_retention", "equivalence": "check_equivalence"}
RULES |= {"blind": "evaluate_blind"}


def check_jobs(jobs, folder):
    """Assert for each job its completion, events and log (as in docs/cluster.md), and at most two GPUs in use."""
    rules = {job.id: re.match(r"rule_(.+?)_wildcards", job.comment)[1] for job in jobs}
    for path, lines in events(folder).items():
        (job,) = job_ids(lines)
        rule = RULES.get(path.stem, path.stem)
        assert rules[job] == rule
        assert len(list((folder / f"logs/slurm/rule_{rule}").glob(f"*/{job}.log"))) == 1
        name = ".".join(path.relative_to(folder / "results/mini").parts[:3])
        assert (folder / f"logs/mini/{rule}/{name}.log").is_file()
        assert (folder / f"benchmarks/mini/{rule}/{name}.jsonl").stat().st_size
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert {rules[job.id] for job in jobs if job.gpus} == {
        "cache_features",
        "train",
        "evaluate_retrieval",
        "evaluate_retention",
        "check_equivalence",
        "evaluate_blind",
    }
    assert 0 < most_at_once(jobs) <= 2


def on_a_terminal(folder, *arguments):
    """Call Snakemake on a terminal; return the exit status and the output."""
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return run_on_a_terminal([sys.executable, "-m", "snakemake", *arguments], folder, PATH=tools)


def check_screen(screen):
    """Assert one coloured line per finished job with its number and time, and no line wider than the terminal."""
    assert max(map(len, every_line(screen))) <= COLUMNS
    shown = last_lines(screen)
    finished = [line for line in shown if re.match(r"\x1b\[32m\[ *\d+/\d+\] ", line)]
    words = "\n".join(every_line("\n".join(shown)))
    total = int(re.search(r"^Jobs to run: (\d+)\.", words, re.MULTILINE)[1])
    assert len(finished) == total - 1, "`all` has no line"
    seconds = r"\d+(\.\d)? s"
    for line in (
        rf"Training SLQ on InternVL-mini, seed 1: validation T2I R@1 \d+\.\d, {seconds}",
        rf"Retrieving with SLQ on InternVL-mini, seed 1: T2I R@5 mini-Flickr30K \d+\.\d, mini-COCO \d+\.\d, {seconds}",
    ):
        assert re.search(rf"^\[ *\d+/{total}\] {line}$", words, re.MULTILINE), line
    assert re.search(r"^Page: +paper_tables/mini/report.html$", words, re.MULTILINE)


@pytest.mark.slow
def test_the_command_as_it_is_typed_gives_the_local_runs_results(slurm, finished, checkout):
    before = len(slurm.jobs())
    status, screen = on_a_terminal(checkout, *SLURM, *QUICK)
    assert status == 0, screen
    check_screen(screen)
    assert len(contents(finished, *METRICS)) > 30
    for what in (METRICS, TABLES, [ADAPTER]):
        assert contents(checkout, *what) == contents(finished, *what)
    written = [{path.relative_to(folder) for path in events(folder)} for folder in (checkout, finished)]
    assert written[0] == written[1] != set()
    check_jobs(slurm.jobs()[before:], checkout)


FAILS = """
rule fail:
    output: "never.out"
    log: "logs/fail.log"
    message: "Training what fails"
    shell: "(echo loading; echo 'slq: error: seed is 1.5'; exit 1) 2>&1 | tee {log} >&2"
"""


@pytest.mark.slow
def test_a_job_that_fails_there_shows_its_message_and_its_logs_once(slurm, checkout):
    (checkout / "Snakefile").write_text(FAILS)
    options = ["--executor", "slurm", "--jobs", "1", "--slurm-status-command", "squeue", *QUICK, "--logger", "slq"]
    options += ["--slurm-logdir", "logs/slurm", "--default-resources", "mem_mb=100", "runtime=5"]
    status, screen = on_a_terminal(checkout, *options, "--", "never.out")
    assert status == 1
    shown = "\n".join(last_lines(screen))
    assert "\x1b[31m    slq: error: seed is 1.5\x1b[0m\n    log: logs/fail.log\n    log: logs/slurm/rule_fail/" in shown
    assert shown.count("seed is 1.5") == 1 and "loading" not in shown and "Shutting down" not in shown


@pytest.fixture
def reproduced():
    """This checkout with the outputs of `make reproduce`."""
    due = planned(ROOT, "--rerun-triggers", "mtime", "--", "results/mini/gpu_hours.csv", "results/mini/audit.json")
    if due:
        pytest.fail(f"results/mini of this checkout is not complete, {due} to do: `make reproduce` comes first")
    return ROOT


@pytest.mark.slurm
def test_the_mini_preset_as_it_is_typed_gives_the_local_runs_metrics(slurm, reproduced, checkout):
    """It takes 12 minutes on 2 slow cores. If numbers differ, check that results/mini is of this code and machine."""
    before = len(slurm.jobs())
    answer = snakemake(
        checkout, "--cores", "all", "--profile", "slurm", "--config", "preset=mini", *QUICK, timeout=7200
    )
    assert answer.returncode == 0, answer.stdout
    local, ours = (contents(folder, *EVERY_METRIC, "results/mini/audit.json") for folder in (reproduced, checkout))
    assert len(local) > 100
    assert local.keys() == ours.keys()
    assert [name for name in local if local[name] != ours[name]] == []
    check_jobs(slurm.jobs()[before:], checkout)


@pytest.mark.slurm
def test_a_training_longer_than_its_allocation_asks_for_the_next_by_itself(slurm, learner):
    """Each of several allocations of one job trains for a minute, without retries of Snakemake."""
    folder, before = learner("cluster", MINUTES_ON_END, minutes=30), len(slurm.jobs())
    submit(folder, "--retries", "0")
    lines = read_jsonl(folder / RUN / "events/train.jsonl")
    (submitted,) = slurm.jobs()[before:]
    job, again = submitted.id, int(submitted.restarts)
    assert again > 0 and job_ids(lines) == [job] * (again + 1)
    steps = [line["step"] for line in lines if line["event"] == "step"]
    assert steps == list(range(1, len(steps) + 1)), "no step is taken twice"
    last = [max(line["step"] for line in lines if line["event"] == "step" and line["attempt"] == number)
            for number in range(1, again + 1)]  # fmt: skip
    assert [line["step"] for line in lines if line["event"] == "resumed"] == last
    (log,) = (folder / "logs/slurm/rule_train").glob(f"*/{job}.log")
    assert log.read_text().count(f"slq: job {job} is requeued and will resume from its checkpoint") == again
    assert learned(folder) == learned_at_home(learner("home", MINUTES_ON_END))


# Each function causes a fault in a training job, and returns the final state and number of requeues of every job.


def cancelled(slurm, submission):
    slurm.ask("scancel", submission.jobs[-1].id)
    return [("CANCELLED", "0"), ("COMPLETED", "0")]


def slurmd_restarted(slurm, submission):
    slurm.kill("slurmd")
    slurm.start_node()
    return [("COMPLETED", "0")]


def node_lost(slurm, submission):
    slurm.kill_node()
    wait_until(lambda: submission.jobs[-1].state == "PENDING", "Slurm has requeued the job", seconds=120)
    slurm.start_node()
    return [("COMPLETED", "1")]


def node_taken_down(slurm, submission):
    slurm.ask("scontrol", "update", "nodename=localhost", "state=down", "reason=test")
    wait_until(lambda: submission.jobs[-1].state == "PENDING", "Slurm has requeued the job", seconds=120)
    slurm.ask("scontrol", "update", "nodename=localhost", "state=resume")
    return [("COMPLETED", "1")]


def out_of_memory(slurm, submission):
    (owner,) = (submission.folder / "scratch/work").glob("*/owner")
    os.kill(int(owner.read_text().split()[1]), signal.SIGKILL)  # status 137, as if by the kernel
    return [("FAILED", "0"), ("COMPLETED", "0")]


def submitter_killed(slurm, submission):
    submission.process.kill()
    submission.process.wait()
    submission.start("--nolock", "--rerun-incomplete")
    return [("COMPLETED", "0"), ("COMPLETED", "0")]


ONE_ATTEMPT = (slurmd_restarted, submitter_killed)


@pytest.mark.slurm
@pytest.mark.parametrize("fault", [cancelled, node_lost, node_taken_down, out_of_memory, *ONE_ATTEMPT])
def test_a_fault_ends_in_the_same_bytes(slurm, submission, learner, fault):
    """The call recovers by itself, or, if the submitting process was killed, by the same command again."""
    expected = fault(slurm, submission)
    submission.end_well()
    assert [(job.state, job.restarts) for job in submission.jobs] == expected
    if fault is out_of_memory:
        assert [job.memory for job in submission.jobs] == ["3000M", "6000M"]
    attempts = submission.steps()
    assert attempts == sorted(attempts), "never two trainers at once"
    assert fault not in ONE_ATTEMPT or set(attempts) == {1}, "nothing is trained twice"
    assert learned(submission.folder) == learned_at_home(learner("home", MANY))


@pytest.mark.slurm
def test_without_accounting_a_controller_that_was_away_may_take_the_command_again(slurm, submission, learner):
    """docs/cluster.md gives the remedy: Ctrl-C if the call has not ended and no job runs, then the same command."""
    slurm.kill("slurmctld")
    time.sleep(60)
    slurm.start_controller()
    submission.wait_for_jobs()
    with contextlib.suppress(subprocess.TimeoutExpired):
        submission.process.wait(timeout=60)
    submission.process.send_signal(signal.SIGINT)
    submission.process.wait(timeout=60)
    submission.start()
    submission.end_well()
    assert set(submission.steps()) == {1}, "nothing is trained twice"
    assert learned(submission.folder) == learned_at_home(learner("home", MANY))
