"""Checkpoints: a resumed run is the same run; what a checkpoint must be, who may write it, when training stops."""

import errno
import json
import math
import os
import shutil
import signal
import time
from types import SimpleNamespace

import pytest
import torch

from asjob import run_job
from kills import trainer
from slq import jobs
from slq.common.errors import SlqError
from slq.common.events import EventLog, next_attempt_number
from slq.methods.adapter import build_retriever
from slq.training import checkpoints as module
from slq.training.checkpoints import CheckpointManager
from slq.training.distributed import DistributedContext
from slq.training.job import TrainingInterrupted, listen_for_stop, minutes_left, requeue_if_interrupted, run_lock
from slq.training.loop import RunContext, train
from slq.training.run import EXECUTION_KEYS, explain_out_of_memory, run_key
from together import HYPERPARAMETERS, SEED, SETTINGS, drawn, pairs_of, tiny

SHORT = SETTINGS | {
    "epochs": 2,
    "batch_size": 12,
    "micro_batch_size": 12,
    "checkpoint_steps": 2,
    "checkpoint_selection": "best",
}
STEPS = 12  # of 80 pairs, twice


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("data"))


@pytest.fixture
def learn(split, tmp_path):
    """Function that trains a method, resuming from a folder's checkpoints; returns trained tensors and outcome."""

    def call(method="slq", folder=None, stop=lambda: None, dropout=0.0, **changes):
        hyperparameters = HYPERPARAMETERS[method] | ({"dropout": dropout} if method == "lora" else {})
        backbone = tiny(tmp_path / "backbone", "float32")
        retriever = build_retriever(method, backbone, hyperparameters, SEED)
        pairs = pairs_of(backbone, split, {"text": "", "image": ""})
        places = CheckpointManager(folder, "this run", DistributedContext()) if folder else None
        attempt = RunContext(EventLog(tmp_path / "events.jsonl"), DistributedContext(), places, stop)
        first = retriever.trainable_parameters()[0]
        validate = lambda _: {"t2i": {"R@1": first.abs().sum().item() % 7}}  # noqa: E731
        trained = train(retriever, pairs, SHORT | changes, hyperparameters, SEED, attempt, validate)
        return {name: tensor.detach().clone() for name, tensor in retriever.named_trainable_parameters()}, trained

    return call


def equal(one, other):
    (mine, known), (theirs, also) = one, other
    return (
        known == also and mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    )


@pytest.mark.parametrize(("method", "dropout"), [("slq", 0.0), ("full_ft", 0.0), ("lora", 0.0), ("lora", 0.3)])
def test_stopped_after_every_step_it_learns_the_same(learn, tmp_path, method, dropout):
    stops = 0
    while True:
        try:
            found = learn(method, tmp_path / "kept", lambda: "asked", dropout)
            break
        except TrainingInterrupted as error:
            stops += 1
            assert f"stopped after {stops} of {STEPS} steps: asked; run the same command to resume" in str(error)
            assert len(list((tmp_path / "kept").iterdir())) <= module.MAX_CHECKPOINTS
    assert stops == STEPS
    assert equal(found, learn(method, dropout=dropout))


@pytest.fixture
def kept(learn, tmp_path):
    """Folder with the newest two checkpoints of a run that was stopped after five steps."""
    counted = iter(range(1, STEPS))
    with pytest.raises(TrainingInterrupted):
        learn(folder=tmp_path / "kept", stop=lambda: "now" if next(counted) == 5 else None)
    assert [path.name for path in sorted((tmp_path / "kept").iterdir())] == ["step-00000004", "step-00000005"]
    return tmp_path / "kept"


def truncate(newest):
    part = newest / "tensors.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    return "step-00000005/tensors.safetensors: truncated"


def tear(newest):
    text = (newest / "checkpoint.json").read_text()
    (newest / "checkpoint.json").write_text(text[: len(text) // 2])
    return "step-00000005/checkpoint.json: not valid JSON"


def lose(newest):
    (newest / "tensors.safetensors").unlink()
    return "tensors.safetensors"


def swap(newest):
    content = json.loads((newest / "checkpoint.json").read_text())
    (newest / "checkpoint.json").write_text(json.dumps(content | {"key": "another run"}))
    return "step-00000005: belongs to a run with another configuration (another run"


@pytest.mark.parametrize("spoil", [truncate, tear, lose, swap])
def test_a_checkpoint_that_is_none_of_this_run_is_named_and_the_one_before_used(learn, kept, capsys, spoil):
    named = spoil(kept / "step-00000005")
    assert equal(learn(folder=kept), learn())
    said = capsys.readouterr().err
    assert said.startswith("slq: checkpoint skipped, the previous one is used: ") and said.count("\n") == 1
    assert str(kept) in said and named in said


def test_without_any_whole_checkpoint_it_begins_anew(learn, kept, capsys):
    for folder in kept.iterdir():
        shutil.rmtree(folder)
        folder.mkdir()
    assert equal(learn(folder=kept), learn())
    assert capsys.readouterr().err.count("checkpoint skipped") == 2


def test_a_full_disk_stops_and_leaves_what_was_there(learn, kept, monkeypatch):
    def full(path, tensors):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(SlqError, match=r"step-00000006\.tmp: cannot be written.*No space"),
    ):
        patch.setattr(module, "write_tensors", full)
        learn(folder=kept)
    assert CheckpointManager(kept, "this run", DistributedContext()).load_newest().step == 5
    assert equal(learn(folder=kept), learn())
    assert not list(kept.glob(".*")), "nothing half-written stays"


def test_the_key_is_of_what_is_learned_and_not_of_how():
    training = SHORT | {"image_cache": "none"}
    settings = {"method": "slq", "training": training}
    key = run_key(settings, 1, {"backbone": "b"}, "code")
    for name, value in training.items():
        changed = settings | {"training": training | {name: [value]}}
        assert (run_key(changed, 1, {"backbone": "b"}, "code") == key) == (name in EXECUTION_KEYS), name
    others = [(settings, 2, {"backbone": "b"}, "code"), (settings, 1, {"backbone": "c"}, "code")]
    others += [(settings | {"method": "lora"}, 1, {"backbone": "b"}, "code"), (settings, 1, {"backbone": "b"}, "new")]
    others += [(settings | {"training": training | {"image_cache": "batch"}}, 1, {"backbone": "b"}, "code")]
    assert key not in {run_key(*other) for other in others}


# ---- one owner -------------------------------------------------------------------------------------------------------


def test_a_second_trainer_stops_and_says_who_is_there(tmp_path):
    with run_lock(tmp_path / "run"):
        expected = rf"process {os.getpid()} on \S+ is already training this run; wait for it to finish, or end it"
        with pytest.raises(SlqError, match=expected), run_lock(tmp_path / "run", timeout=0.05):
            pytest.fail("two owners")
    with run_lock(tmp_path / "run", timeout=0.05):
        assert (tmp_path / "run/owner").is_file()


def test_a_second_trainer_that_waits_finds_the_run_finished(slice_):
    """The first is paused, so that the second must wait; both succeed, and the run is made once."""
    folder, work = slice_.root / "twice", slice_.root / "work" / "twice"
    first = trainer(slice_, "slq", "twice")
    wait_until(lambda: list(work.glob("*/checkpoints/step-*")))
    os.kill(first.pid, signal.SIGSTOP)
    second = trainer(slice_, "slq", "twice")
    wait_until(lambda: f"waiting: process {first.pid} on" in (slice_.root / "twice.log").read_text())
    os.kill(first.pid, signal.SIGCONT)
    assert (first.wait(), second.wait()) == (0, 0)
    assert next_attempt_number(folder / "events.jsonl") == 2
    assert (folder / "adapter" / "adapter.json").is_file()


DECLARED = ("adapter/adapter.json", "run.json", "events.jsonl")


def attempts(slice_, name):
    return next_attempt_number(slice_.root / name / "events.jsonl") - 1


@pytest.fixture
def finished(slice_):
    """Function that makes a run of the slice, once for each name."""

    def make(name):
        slice_.train("slq", name)
        return slice_.root / name

    return make


def test_a_finished_run_whose_declared_outputs_are_gone_is_not_trained_again(slice_, finished, capsys):
    """An orphan of a killed workflow may finish just before its successor, whose Snakemake removes declared files."""
    folder = finished("gone")
    left = {name: (folder / name).read_bytes() for name in DECLARED}
    for name in left:
        (folder / name).unlink()
    slice_.train("slq", "gone")
    assert {name: (folder / name).read_bytes() for name in left} == left
    (kept,) = (slice_.root / "work/gone").glob("*/finished.json")
    assert f"this run is already finished ({kept}) and is not trained again" in capsys.readouterr().err


def test_a_finished_run_is_not_trained_again_for_another_plan_and_keeps_its_own(slice_, finished, monkeypatch):
    monkeypatch.setenv("SLQ_PLAN", "before")
    run_file = finished("planned") / "run.json"
    run_file.unlink()
    monkeypatch.setenv("SLQ_PLAN", "after")
    slice_.train("slq", "planned")
    assert attempts(slice_, "planned") == 1 and json.loads(run_file.read_text())["plan"] == "before"
    monkeypatch.delenv("SLQ_PLAN")
    assert json.loads((finished("unplanned") / "run.json").read_text())["plan"] is None, "outside the workflow"


def test_a_finished_run_whose_tensors_are_not_its_own_is_trained_again(slice_, finished):
    folder = finished("overwritten")
    tensors = folder / "adapter/adapter.safetensors"
    learned = tensors.read_bytes()
    tensors.write_bytes(learned[:-1])
    slice_.train("slq", "overwritten")
    assert (tensors.read_bytes(), attempts(slice_, "overwritten")) == (learned, 2)
    shutil.rmtree(folder / "adapter")
    slice_.train("slq", "overwritten")
    assert (tensors.read_bytes(), attempts(slice_, "overwritten")) == (learned, 3)


def test_a_run_that_is_computed_in_another_manner_or_by_other_packages_is_trained_again(slice_, finished, monkeypatch):
    """The result is the same to rounding, but run.json would list settings and versions that were not requested."""
    folder = finished("manner")
    slice_.train("slq", "manner", {"micro_batch_size": 16})
    assert attempts(slice_, "manner") == 2
    assert json.loads((folder / "run.json").read_text())["settings"]["training"]["micro_batch_size"] == 16
    monkeypatch.setattr("slq.training.run.package_versions", lambda: {"torch": "another"})
    slice_.train("slq", "manner", {"micro_batch_size": 16})
    assert attempts(slice_, "manner") == 3


def wait_until(moment):
    while not moment():
        time.sleep(0.001)


def test_a_scratch_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "scratch").write_text("a file")
    expected = r"scratch/work/run: cannot be written: .*`scratch` in config\.yaml"
    with pytest.raises(SlqError, match=expected), run_lock(tmp_path / "scratch" / "work" / "run"):
        pytest.fail("owned")


# ---- when it stops ---------------------------------------------------------------------------------------------------


def test_the_end_of_an_allocation(monkeypatch):
    monkeypatch.setattr("slq.training.job.time", SimpleNamespace(time=lambda: 100.0))
    for name in ("SLURM_JOB_ID", "SLURM_JOB_END_TIME"):
        monkeypatch.delenv(name, raising=False)
    assert minutes_left(time_limit_minutes=5) == math.inf
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert minutes_left(time_limit_minutes=5) == 5
    monkeypatch.setenv("SLURM_JOB_END_TIME", "250")
    assert minutes_left(time_limit_minutes=5) == 2.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_asks_to_stop(number):
    before = signal.getsignal(number)
    with listen_for_stop(time_limit_minutes=60, margin=2) as asked:
        assert asked() is None
        os.kill(os.getpid(), number)
        assert asked() == number.name
    assert signal.getsignal(number) is before


@pytest.fixture
def requests(tmp_path, monkeypatch):
    """Function that returns the requests to scontrol in job 7; the shell text in `answer` is scontrol's answer."""
    script = f'#!/bin/sh\necho "$@" >> {tmp_path}/requests\n. {tmp_path}/answer\n'
    (tmp_path / "scontrol").write_text(script)
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "answer").touch()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return lambda: (tmp_path / "requests").read_text() if (tmp_path / "requests").exists() else ""


def interrupt(reason, main=True):
    with pytest.raises(TrainingInterrupted), requeue_if_interrupted(lambda: reason, main, ""):
        raise TrainingInterrupted("stopped", 9)


@pytest.mark.parametrize("reason", [None, "SIGUSR1", "the allocation ends in 2 minutes"])
def test_where_time_is_up_the_main_process_requeues_its_job(requests, capsys, reason):
    """With None, another process of the run was asked to stop."""
    interrupt(reason, main=False)
    assert requests() == ""
    interrupt(reason)
    assert requests() == "requeue 7\n"
    assert capsys.readouterr().err == "slq: job 7 is requeued and will resume from its checkpoint\n"


def test_a_job_that_is_being_ended_is_not_requeued_nor_is_what_is_no_job(requests, monkeypatch):
    interrupt("SIGTERM")
    monkeypatch.delenv("SLURM_JOB_ID")
    interrupt("SIGUSR1")
    assert requests() == ""


def test_a_cluster_that_does_not_requeue_is_named(requests, tmp_path, monkeypatch, capsys):
    (tmp_path / "answer").write_text("echo 'Requested operation is presently disabled' >&2; exit 1")
    interrupt("SIGUSR1")
    monkeypatch.setenv("PATH", "")
    interrupt("SIGUSR1")
    assert capsys.readouterr().err.splitlines() == [
        "slq: job 7 is not requeued: Requested operation is presently disabled",
        "slq: job 7 is not requeued: no scontrol on PATH of this node",
    ]


class Hours:
    """Replacement of the deadline's clocks: `seconds` pass between two readings of the monotonic one."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.passed = seconds, 0.0
        self.time = time.time

    def monotonic(self) -> float:
        self.passed += self.seconds
        return self.passed


@pytest.fixture
def allocated(slice_, monkeypatch):
    """Function that runs the job `train` on the slice, in an allocation of `minutes` with `each` seconds per step."""

    def call(name, minutes, each):
        with monkeypatch.context() as patch:
            patch.setattr(jobs, "run_job", lambda *_, **__: slice_.train("slq", name))
            patch.setenv("SLURM_JOB_END_TIME", str(time.time() + 60 * minutes))
            patch.setattr("slq.training.job.time", Hours(each))
            return run_job("train")

    return call


def test_before_its_allocation_ends_it_stops_with_a_status_of_its_own_and_goes_on(
    slice_, monkeypatch, capsys, allocated
):
    """Message and status are on the command line, events have both attempts, and bytes equal those of one attempt."""
    name, work = "allocated", slice_.root / "work" / "allocated"
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert allocated(name, 3, each=40) == 75  # and time_limit_margin_minutes is 2
    assert "slq: error: stopped after 2 of 15 steps: the allocation ends in 2 minutes" in capsys.readouterr().err
    assert not (slice_.root / name / "adapter").exists()
    assert allocated(name, 60, each=1) == 0
    for file in ("adapter.json", "adapter.safetensors"):
        assert (slice_.root / name / "adapter" / file).read_bytes() == (slice_.root / "slq/adapter" / file).read_bytes()
    lines = [json.loads(line) for line in (slice_.root / name / "events.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(1, 16))
    assert [(line["attempt"], line["event"]) for line in lines if line["event"] in ("stopped", "resumed")] == [
        (1, "stopped"),
        (2, "resumed"),
    ]
    assert {path.name for path in work.glob("*/*")} == {"events.jsonl", "finished.json", "owner"}


TOO_SHORT = "training.time_limit_margin_minutes, 2, are reserved at its end, so there is no time for a step"


def test_an_allocation_no_longer_than_stop_minutes_trains_nothing_and_is_not_requeued(
    slice_, requests, capsys, allocated
):
    """It would train one step per allocation and be requeued. A finished run is published in any allocation."""
    assert allocated("too short", 2, each=1) == 1
    said = capsys.readouterr().err
    assert (
        f"slq: error: the allocation has 2 minutes left, of which {TOO_SHORT}" in said
        and "resources.train.hours" in said
    )
    assert requests() == "" and not list((slice_.root / "work/too short").glob("*/events.jsonl"))
    assert allocated("too short", 60, each=1) == 0
    (slice_.root / "too short/run.json").unlink()
    assert allocated("too short", 1, each=1) == 0
    assert (slice_.root / "too short/run.json").is_file()


def test_an_allocation_whose_time_is_up_at_its_first_step_is_not_requeued_for_ever(slice_, requests, capsys, allocated):
    """Loading used up the time. The step is kept, and a longer allocation resumes from it."""
    assert allocated("one step", 3, each=90) == 1
    said = capsys.readouterr().err
    assert "slq: error: stopped after 1 of 15 steps: the allocation ends in 2 minutes" in said
    assert f"the allocation has 3 minutes left, of which {TOO_SHORT}" in said and requests() == ""
    assert allocated("one step", 60, each=1) == 0
    events = [json.loads(line) for line in (slice_.root / "one step/events.jsonl").read_text().splitlines()]
    assert [line["step"] for line in events if line["event"] == "resumed"] == [1]


def test_a_line_that_a_kill_tore_is_cut_off(tmp_path):
    events = tmp_path / "events.jsonl"
    assert next_attempt_number(events) == 1
    whole = '{"attempt": 1, "event": "step"}\n{"attempt": 2, "event": "step"}\n'
    for torn in ("", '{"attempt": 3, "ev', '{"attempt": 3, "event": "step"}'):
        events.write_text(whole + torn)
        assert next_attempt_number(events) == 3
        assert events.read_text() == whole


def test_out_of_memory_says_which_setting_to_lower():
    expected = r"lower training\.micro_batch_size, now 12, with training\.grad_cache on, now off"
    with pytest.raises(SlqError, match=expected), explain_out_of_memory(SHORT):
        raise torch.OutOfMemoryError("CUDA out of memory")
