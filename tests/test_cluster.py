"""The workflow on a real Slurm (tests/slurm/cluster.py). pytest tests/test_cluster.py; all of it: make test-slurm"""

import os
import re
import signal

import pytest

from checkout import METRICS, RUNS, TABLES, contents, snakemake
from kills import MANY_STEPS
from slq.files import read_lines
from slurm.cluster import wait_until
from slurm.submission import (
    ADAPTER,
    ONE_STEP_EACH,
    QUICK,
    RUN,
    SLURM,
    Submission,
    job_ids,
    learned,
    learned_at_home,
    submit,
)


def events(folder):
    """The events of every stage of every run, by file."""
    return {path: read_lines(path) for path in sorted(folder.glob(f"{RUNS}/*/*/events/*.jsonl"))}


def most_at_once(jobs):
    """GPUs in use at most; a job's last second is not its own, as Slurm writes whole ones."""
    return max(sum(other.gpus for other in jobs if other.start <= job.start < other.end) for job in jobs)


def test_the_command_as_it_is_typed_gives_the_local_runs_results(slurm, finished, checkout):
    answer = snakemake(checkout, *SLURM, *QUICK, timeout=1800)
    assert answer.returncode == 0, answer.stdout
    assert len(contents(finished, *METRICS)) > 30
    for what in (METRICS, TABLES, [ADAPTER]):
        assert contents(checkout, *what) == contents(finished, *what)
    rules = {job.id: re.match(r"rule_(.+?)_wildcards", job.comment)[1] for job in slurm.jobs()}
    written = events(checkout)
    assert written.keys() and [path.relative_to(checkout) for path in written] == [
        path.relative_to(finished) for path in events(finished)
    ]
    for path, lines in written.items():
        (job,) = job_ids(lines)
        assert rules[job] == path.stem
        assert len(list((checkout / f"logs/slurm/rule_{path.stem}").glob(f"*/{job}.log"))) == 1
    assert {job.state for job in slurm.jobs()} == {"COMPLETED"}
    assert {rules[job.id] for job in slurm.jobs() if job.gpus} == {"train", "retrieve", "retain", "prove", "blind"}
    assert 0 < most_at_once(slurm.jobs()) <= 2


@pytest.mark.slurm
def test_a_training_longer_than_its_allocation_asks_for_the_next_by_itself(slurm, learner):
    """Two steps, and after each the time is up: three allocations of one job, with no retry of Snakemake's."""
    folder = learner("cluster", ONE_STEP_EACH, minutes=30)
    answer = submit(folder, "--retries", "0")
    lines = read_lines(folder / RUN / "events/train.jsonl")
    (job,) = re.findall(r"submitted with SLURM jobid (\d+)", answer.stdout)
    assert job_ids(lines) == [job] * 3
    assert "Restarts=2" in slurm.ask("scontrol", "show", "job", job)
    assert [(line["attempt"], line["step"]) for line in lines if line["event"] == "step"] == [(1, 1), (2, 2)]
    assert [(line["attempt"], line["step"]) for line in lines if line["event"] == "resumed"] == [(2, 1), (3, 2)]
    (log,) = (folder / "logs/slurm/rule_train").glob(f"*/{job}.log")
    assert log.read_text().count(f"slq: job {job} is requeued, to go on") == 2
    assert learned(folder) == learned_at_home(learner("home", ONE_STEP_EACH))


def cancelled(slurm, submission, job):
    slurm.ask("scancel", job)
    return ["CANCELLED", "COMPLETED"]


def node_restarted(slurm, submission, job):
    slurm.kill("slurmd")
    slurm.start_node()
    return ["COMPLETED"]


def out_of_memory(slurm, submission, job):
    (owner,) = (submission.folder / "scratch/work").glob("*/owner")
    os.kill(int(owner.read_text().split()[1]), signal.SIGKILL)  # status 137, as if by the kernel
    return ["FAILED", "COMPLETED"]


def submitter_killed(slurm, submission, job):
    submission.process.kill()
    submission.process.wait()
    submission.start("--nolock", "--rerun-incomplete")
    return ["COMPLETED", "COMPLETED"]


@pytest.mark.slurm
@pytest.mark.parametrize("fault", [cancelled, node_restarted, out_of_memory, submitter_killed])
def test_a_fault_ends_in_the_same_bytes(slurm, learner, fault):
    """With no hand, or after the submitter's own death with its command again."""
    many = MANY_STEPS | {"epochs": 6}
    before = len(slurm.jobs())
    submission = Submission(learner("cluster", many))
    submission.reach(5)
    states = fault(slurm, submission, slurm.jobs()[-1].id)
    assert submission.process.wait(timeout=1800) == 0, submission.log.read_text()
    wait_until(lambda: all(job.ended for job in slurm.jobs()), "every job has ended")
    jobs = slurm.jobs()[before:]
    assert [job.state for job in jobs] == states
    if fault is out_of_memory:
        assert [job.memory for job in jobs] == ["3000M", "6000M"]
    lines = read_lines(submission.folder / RUN / "events/train.jsonl")
    attempts = [line["attempt"] for line in lines if line["event"] == "step"]
    assert attempts == sorted(attempts), "never two trainers at once"
    assert learned(submission.folder) == learned_at_home(learner("home", many))
