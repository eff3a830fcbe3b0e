"""The workflow on a real Slurm that keeps accounts. make test-slurm"""

import time

import pytest

from checkout import require
from kills import MANY_STEPS
from slq.accounting.sacct import booked_hours
from slq.attempts import read_attempts
from slq.files import read_lines
from slurm import cluster
from slurm.submission import ONE_STEP_EACH, RUN, Submission, job_ids, learned, learned_at_home, submit

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def slurm():
    require(cluster.missing(accounting=True), "SLQ_NEEDS_SLURM")
    with cluster.running(accounting=True) as started:
        yield started


def test_what_slurm_booked_holds_what_the_events_say(slurm, learner, monkeypatch):
    """Three allocations of one job: an attempt's events lie within one, and the ledger's second count is their sum."""
    monkeypatch.setenv("SLURM_TIME_FORMAT", "%s")
    folder = learner("cluster", ONE_STEP_EACH, minutes=30)
    submit(folder)
    path = folder / RUN / "events/train.jsonl"
    lines = read_lines(path)
    (job,) = set(job_ids(lines))
    asked = ["sacct", "-X", "-D", "-P", "-n", "--format=State,Start,End,AllocTRES", "-j", job]
    booked = [line.split("|") for line in slurm.ask(*asked).splitlines()]
    assert [state for state, *_ in booked] == ["REQUEUED", "REQUEUED", "COMPLETED"]
    for number, (_, start, end, allocated) in enumerate(booked, start=1):
        times = [line["time"] for line in lines if line["attempt"] == number]
        assert int(start) <= min(times) and max(times) <= int(end) + 1
        assert "gres/gpu=1" in allocated.split(",")
    hours = sum(int(end) - int(start) for _, start, end, _ in booked) / 3600
    assert booked_hours([job]) == pytest.approx(hours)
    assert sum(sum(attempt.seconds().values()) for attempt in read_attempts(path)) / 3600 < hours


def test_a_minute_without_the_controller_is_waited_for(slurm, learner):
    many = MANY_STEPS | {"epochs": 6}
    submission = Submission(learner("cluster", many))
    submission.reach(5)
    slurm.kill("slurmctld")
    time.sleep(60)
    slurm.start_controller()
    assert submission.process.wait(timeout=1800) == 0, submission.log.read_text()
    assert learned(submission.folder) == learned_at_home(learner("home", many))
