"""What attempts spent: known answers, and events that cannot be counted."""

import json
from pathlib import Path

import pytest

from slq.attempts import read_attempts, spent
from slq.errors import SlqError
from slq.events import Events, next_attempt
from slq.files import read_lines

DEVICE = {"kind": "cuda", "name": "NVIDIA H200", "count": 2}


class Told:
    """Writes events as a process would, with a clock of its own."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock, self.attempt = path, 1_000_000.0, 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, event: str, **fields) -> None:
        line = {"event": event, "time": self.clock, "attempt": self.attempt, "device": DEVICE, **fields}
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def begin_attempt(self, resumed: int | None = None, pause: float = 60.0) -> None:
        self.clock += pause
        self.attempt += 1
        self.write("attempt", schema=1, gpus=[], slurm_job=str(40 + self.attempt))
        if resumed is not None:
            self.write("resumed", step=resumed)

    def span(self, name: str, seconds: float) -> None:
        start = self.clock
        self.write("begin", name=name, start=start)
        self.clock += seconds
        self.write("span", name=name, start=start, seconds=seconds)

    def train(self, first: int, last: int, each: float, killed: bool = False) -> None:
        """Steps of so many seconds in one span, which a kill leaves open."""
        start = self.clock
        self.write("begin", name="train", start=start)
        for step in range(first, last + 1):
            self.clock += each
            work = {"image": {"messages": 4, "tokens": 40, "squares": 400, "visual": 36, "visual_squares": 324}}
            work["text"] = {"messages": 4, "tokens": 40, "squares": 400, "visual": 0, "visual_squares": 0}
            self.write("step", step=step, work=work)
        if not killed:
            self.write("span", name="train", start=start, seconds=self.clock - start)


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path / "events" / "train.jsonl")


def test_what_a_later_attempt_did_again_is_lost(told):
    """Ten minutes before a pre-emption, then an hour from the beginning."""
    told.begin_attempt()
    told.train(1, 10, 60, killed=True)
    told.begin_attempt()
    told.train(1, 60, 60)
    assert spent(told.path) == {"train": 3600, "lost": 600}


def test_a_run_resumed_twice_adds_what_each_attempt_added(told):
    """100 steps of a minute, with kills after 35 and after 72, checkpoints at 30 and 70: seven steps are done again."""
    told.begin_attempt()
    told.span("init", 5)
    told.train(1, 35, 60, killed=True)
    told.begin_attempt(resumed=30)
    told.train(31, 72, 60, killed=True)
    told.begin_attempt(resumed=70)
    told.train(71, 100, 60)
    told.span("save", 2)
    assert spent(told.path) == {"init": 5, "train": 100 * 60, "lost": 7 * 60, "save": 2}
    assert [len(attempt.kept_steps()) for attempt in read_attempts(told.path)] == [30, 40, 30]


def test_an_attempt_behind_an_older_checkpoint_loses_more(told):
    told.begin_attempt()
    told.train(1, 20, 1)
    told.begin_attempt(resumed=20)
    told.train(21, 40, 1, killed=True)
    told.begin_attempt(resumed=10)
    told.train(11, 50, 1)
    assert spent(told.path) == {"train": 50, "lost": 10 + 20}


def test_overlapping_spans_are_refused_by_name(told):
    told.begin_attempt()
    told.span("init", 100)
    told.clock -= 50
    told.write("span", name="train", start=told.clock, seconds=50.0)
    told.path.write_text(told.path.read_text())
    lines = read_lines(told.path)
    lines[-1]["time"] = lines[-2]["time"]
    told.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SlqError, match=r"train\.jsonl:4: span train begins 50\.0 seconds before span init .*:3"):
        spent(told.path)


def test_a_clock_that_steps_back_is_refused_by_name(told):
    told.begin_attempt()
    told.train(1, 3, 60)
    told.begin_attempt(pause=-120)
    with pytest.raises(SlqError, match=r"train\.jsonl:7: the clock steps back by 120\.0 seconds"):
        spent(told.path)


def test_a_number_that_is_missing_is_named(told):
    told.begin_attempt()
    told.write("span", name="init", start=told.clock)
    with pytest.raises(SlqError, match=r"train\.jsonl:2: key seconds is None; expected a number"):
        spent(told.path)


def test_real_events_of_two_attempts_are_counted_together(tmp_path):
    path = tmp_path / "events.jsonl"
    first = Events.gathered(path, device=DEVICE)
    with first.span("init"):
        pass
    with pytest.raises(RuntimeError), first.span("train"):
        raise RuntimeError
    with open(path, "a") as file:
        file.write('{"event": "st')
    second = Events.gathered(path, device=DEVICE)
    with second.span("train", epoch=0):
        second.write("step", step=1)
    second.publish(tmp_path / "out" / "train.jsonl")
    lines = read_lines(tmp_path / "out" / "train.jsonl")
    assert {line["attempt"] for line in lines} == {1, 2} and next_attempt(path) == 3
    assert [line.get("failed") for line in lines if line["event"] == "span"] == [None, True, None]
    assert all(line["memory_gb"] > 0 for line in lines if line["event"] == "span")
    found = spent(path)
    assert set(found) == {"init", "train", "lost"}
    assert found["train"] == pytest.approx(second.seconds["train"])
