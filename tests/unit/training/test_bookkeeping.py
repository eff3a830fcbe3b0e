"""Book-keeping: training and evaluation publish their results, whatever a clock or a file of events does."""

import json
import math
import shutil
import time

import pytest

from slq.common.attempts import read_attempts
from slq.config import job_settings
from slq.evaluation.retention import evaluate_retention
from slq.evaluation.retrieval import evaluate_retrieval
from slq.evaluation.validation import build_recall_validator
from slq.training.run import run_training

YEAR = 365 * 86400.0


class Clock:
    """Time of day that is set by `set_by` seconds after `after` readings; the monotonic clock continues."""

    def __init__(self, set_by: float, after: int) -> None:
        self.set_by, self.after, self.readings = set_by, after, 0
        self.perf_counter, self.monotonic = time.perf_counter, time.monotonic

    def time(self) -> float:
        self.readings += 1
        return time.time() + (self.set_by if self.readings > self.after else 0.0)


def published(folder):
    """The adapter's bytes, the content of run.json without times, and its times."""
    record = json.loads((folder / "run.json").read_text())
    kept = {key: record[key] for key in ("val", "weights", "inputs", "parameters")}
    return (folder / "adapter/adapter.safetensors").read_bytes(), kept, record["spans"]


@pytest.mark.parametrize(("set_by", "how"), [(-3.0, "steps back by 3."), (YEAR, "jumps ahead by 3153")])
def test_a_training_whose_clock_is_set_publishes_what_it_trained(slice_, monkeypatch, capsys, set_by, how):
    """The clock is set in the middle of fifteen steps; the deadline of an allocation does not move either."""
    name = f"clock{set_by:.0f}"
    clock = Clock(set_by, after=12)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 3600))
    monkeypatch.setattr("slq.common.events.time", clock)
    monkeypatch.setattr("slq.training.job.time", clock)
    started = time.perf_counter()
    slice_.train("slq", name)
    took = time.perf_counter() - started
    monkeypatch.undo()
    folder = slice_.root / name
    (bytes_, kept, spans), (expected, known, others) = published(folder), published(slice_.root / "slq")
    assert (bytes_, kept) == (expected, known) and spans.keys() == others.keys()
    assert 0 < sum(spans.values()) < took
    assert how in capsys.readouterr().err
    found = read_attempts(folder / "events.jsonl")
    assert found.seconds_by_span() == spans and len(found.anomalies) == 1 and how in found.anomalies[0]


def spoil(path):
    path.write_bytes(path.read_bytes()[:-20] + b"\xff")


@pytest.mark.parametrize("fault", [lambda path: path.unlink(), spoil], ids=["missing", "cut off"])
def test_a_trained_run_is_published_again_though_its_events_are_lost(slice_, fault):
    """Snakemake has removed the declared files; events were stored with the finished run."""
    name = "lost"
    shutil.rmtree(slice_.root / "work" / name, ignore_errors=True)
    shutil.rmtree(slice_.root / name, ignore_errors=True)
    slice_.train("slq", name)
    folder = slice_.root / name
    before, events_before = published(folder), (folder / "events.jsonl").read_bytes()
    for file in ("adapter/adapter.json", "run.json", "events.jsonl"):
        (folder / file).unlink()
    (events,) = (slice_.root / "work" / name).glob("*/events.jsonl")
    fault(events)
    slice_.train("slq", name)
    assert published(folder) == before and (folder / "events.jsonl").read_bytes() == events_before
    found = read_attempts(folder / "events.jsonl")
    assert found.seconds_by_span() == before[2] and found.anomalies == []
    assert found.attempts[0].device["kind"] in ("cpu", "cuda")


def test_a_run_of_another_preset_is_taken_and_not_trained(slice_, capsys, monkeypatch):
    """Neither the preset's name nor the way of computing defines a run; another epoch does."""
    work = slice_.root / "work" / "shared"
    shutil.rmtree(work, ignore_errors=True)

    def publish(preset, **training):
        folder = slice_.root / f"shared-{preset}"
        settings = slice_.settings("slq") | {"preset": preset}
        settings["training"] = settings["training"] | {"image_cache": "none"} | training
        paths = (slice_.snapshot, slice_.data, "mini-coco", work, folder / "adapter", folder / "run.json")
        validate = build_recall_validator(settings)
        run_training(settings, 1, *paths, folder / "events.jsonl", validate, "code", math.inf, None)
        return published(folder), json.loads((folder / "run.json").read_text())

    (first, record), (other, taken) = publish("mini"), publish("mine")
    assert "is already finished" in capsys.readouterr().err
    assert other == first and (record["preset"], taken["preset"]) == ("mini", "mine")
    assert taken == record | {"preset": "mine", "settings": record["settings"] | {"preset": "mine"}}
    shutil.rmtree(slice_.root / "shared-mini")  # and it stays when the first is gone
    assert publish("mine")[0] == first
    publish("longer", epochs=2)
    assert "is already finished" in capsys.readouterr().err and len(list(work.iterdir())) == 2


def test_a_run_goes_on_though_the_events_of_its_first_attempt_are_no_text(slice_, monkeypatch):
    name = "no text"
    slice_.train("slq", name)
    folder = slice_.root / name
    before = published(folder)
    (events,) = (slice_.root / "work" / name).glob("*/events.jsonl")
    shutil.rmtree(folder)
    events.write_bytes(b"\xff\xfe\x00\n")
    slice_.train("slq", name)
    assert published(folder)[:2] == before[:2]
    assert read_attempts(folder / "events.jsonl").anomalies == ["line 1: cut off, or no event; left out"]


@pytest.mark.parametrize("stage", ["retrieval", "retention"])
def test_an_evaluation_whose_clock_and_events_are_at_fault_publishes_its_numbers(slice_, tmp_path, monkeypatch, stage):
    how = getattr(job_settings, f"{stage}_settings")(slice_.config, "mini-internvl")
    how["datasets"] = how["datasets"][:1] if stage == "retention" else [
        entry | {"name": "mini-coco"} for entry in how["datasets"] if entry["name"] == "mini-coco"
    ]  # fmt: skip
    adapter = shutil.copytree(slice_.root / "slq/adapter", tmp_path / "adapter")
    (adapter / "events").mkdir(exist_ok=True)  # another test's evaluation of the same run may have left it
    (adapter / f"events/{stage}.jsonl").write_bytes(b"\xff\n{")
    data = slice_.tests
    out, events = tmp_path / "out", tmp_path / "events" / f"{stage}.jsonl"
    monkeypatch.setattr("slq.common.events.time", Clock(-3.0, after=3))
    if stage == "retention":
        evaluate_retention(how, "code", slice_.snapshot, adapter, data, tmp_path / "work", out, events)
    else:
        data = tmp_path / "data"
        shutil.copytree(slice_.data / "mini-coco/val", data / "mini-coco/test")
        evaluate_retrieval(how, slice_.snapshot, adapter, data, out, events)
    assert list(out.glob("*.json"))
    odd = read_attempts(events).anomalies
    assert odd[0].startswith("line 1: cut off") and any("steps back by 3." in one for one in odd)
