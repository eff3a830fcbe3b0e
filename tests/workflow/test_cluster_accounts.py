"""Tests of the workflow on a real Slurm with accounting: accounts and events agree. Run by make test-slurm."""

import csv
import time

import pytest

from checkout import change_training, require, snakemake
from slq.common.attempts import read_attempts
from slq.common.files import read_jsonl
from slurm import cluster
from slurm.submission import MANY, MINUTES_ON_END, QUICK, RUN, SLURM, job_ids, learned, learned_at_home

pytestmark = pytest.mark.slurm
STARTING = 60  # seconds of an allocation before its first event: Snakemake starts twice, then Python (6 to 20 s)
OUTAGE = 60
DIGITS = 1e-5  # the ledger has six significant digits


@pytest.fixture(scope="module")
def slurm():
    require(cluster.missing(accounting=True), "SLQ_NEEDS_SLURM")
    with cluster.running(accounting=True) as started:
        yield started


@pytest.fixture(autouse=True)
def seconds(monkeypatch):
    """The time format of sacct set to seconds, as in events."""
    monkeypatch.setenv("SLURM_TIME_FORMAT", "%s")


def booked(slurm, jobs):
    """Read state, start, end, seconds and GPUs of every allocation of these jobs, in order, including requeued ones."""
    asked = ["sacct", "-X", "-P", "-n", "--duplicates", "--format=State,Start,End,ElapsedRaw,AllocTRES"]
    rows = [line.split("|") for job in jobs for line in slurm.ask(*asked, "-j", job).splitlines()]
    return [
        (state, int(start), int(end), int(elapsed), "gres/gpu=1" in allocated.split(","))
        for state, start, end, elapsed, allocated in rows
    ]


def check_attempts(slurm, path, untold=STARTING):
    """Assert that each attempt lies within its own allocation; return the states and hours of the allocations."""
    lines = read_jsonl(path)
    allocations = booked(slurm, dict.fromkeys(job_ids(lines)))
    attempts = read_attempts(path).attempts
    assert len(allocations) == len(attempts)
    for attempt, (_, start, end, elapsed, gpu) in zip(attempts, allocations, strict=True):
        times = [line["time"] for line in lines if line["attempt"] == attempt.number]
        assert start <= min(times) and max(times) <= end + 1, "whole seconds"
        assert elapsed == end - start
        assert 0 < elapsed - (max(times) - min(times)) < untold
        assert gpu
    return [state for state, *_ in allocations], sum(elapsed for *_, elapsed, _ in allocations) / 3600


def test_the_ledger_has_the_hours_that_slurm_booked_for_every_attempt_of_every_stage(slurm, checkout):
    """The slice is run in full, with a training that needs several allocations of one job."""
    change_training(checkout, MINUTES_ON_END, minutes=30)
    answer = snakemake(checkout, *SLURM, "tests/more.yaml", *QUICK, timeout=1800)
    assert answer.returncode == 0, answer.stdout
    with open(checkout / "results/mini/gpu_hours.csv", newline="") as file:
        ledger = list(csv.DictReader(file))
    assert {line["stage"] for line in ledger} == {"train", "retrieval", "retention", "equivalence", "blind"}
    for line in ledger:
        states, hours = check_attempts(slurm, checkout / line["source"])
        again = len(states) - 1
        assert states == ["REQUEUED"] * again + ["COMPLETED"] and (again > 0) == (line["stage"] == "train")
        shown = {name: float(line[name]) for name in ("total_hours", "sacct_hours", "sacct_difference")}
        assert shown["sacct_hours"] == pytest.approx(hours, rel=DIGITS)
        assert shown["total_hours"] + shown["sacct_difference"] == pytest.approx(hours, rel=DIGITS)
        assert shown["total_hours"] < hours


def test_a_job_that_was_cancelled_is_booked_beside_its_successor(slurm, submission):
    slurm.ask("scancel", submission.jobs[-1].id)
    submission.end_well()
    states, _ = check_attempts(slurm, submission.folder / RUN / "events/train.jsonl")
    assert states == ["CANCELLED by 0", "COMPLETED"]


def test_a_minute_without_the_controller_is_waited_for(slurm, submission, learner):
    slurm.kill("slurmctld")
    time.sleep(OUTAGE)
    slurm.start_controller()
    submission.end_well()
    # Slurm books an allocation until its controller learns of the end.
    (state,), _ = check_attempts(slurm, submission.folder / RUN / "events/train.jsonl", STARTING + OUTAGE)
    assert state == "COMPLETED"
    assert learned(submission.folder) == learned_at_home(learner("home", MANY))
