"""Time spent by attempts: known answers, and odd events and clocks, which must not stop the count."""

import errno
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import slq.common.events
from eventlog import DEVICE, Told
from slq.common.attempts import parse_attempts, parse_event_lines, read_attempts
from slq.common.errors import SlqError
from slq.common.events import EventLog, next_attempt_number
from slq.common.files import read_jsonl


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path / "events" / "train.jsonl")


def test_what_a_later_attempt_did_again_is_lost(told):
    """The first attempt runs ten minutes until a pre-emption; the second runs an hour from the beginning."""
    told.begin_attempt()
    told.train(1, 10, 60, killed=True)
    told.begin_attempt()
    told.train(1, 60, 60)
    assert read_attempts(told.path).seconds_by_span() == {"train": 3600, "repeated": 600}


def test_a_run_resumed_twice_adds_what_each_attempt_added(told):
    """100 steps of a minute are killed after 35 and 72, with checkpoints at 30 and 70: seven steps are repeated."""
    told.begin_attempt()
    told.span("init", 5)
    told.train(1, 35, 60, killed=True)
    told.begin_attempt(resumed=30)
    told.train(31, 72, 60, killed=True)
    told.begin_attempt(resumed=70)
    told.train(71, 100, 60)
    told.span("save", 2)
    assert read_attempts(told.path).seconds_by_span() == {"init": 5, "train": 100 * 60, "repeated": 7 * 60, "save": 2}
    assert [len(attempt.retained_steps()) for attempt in read_attempts(told.path).attempts] == [30, 40, 30]


def test_an_attempt_behind_an_older_checkpoint_loses_more(told):
    told.begin_attempt()
    told.train(1, 20, 1)
    told.begin_attempt(resumed=20)
    told.train(21, 40, 1, killed=True)
    told.begin_attempt(resumed=10)
    told.train(11, 50, 1)
    assert read_attempts(told.path).seconds_by_span() == {"train": 50, "repeated": 10 + 20}


def test_a_clock_that_steps_back_between_attempts_is_named(told):
    told.begin_attempt()
    told.train(1, 3, 60)
    told.begin_attempt(pause=-120)
    told.train(1, 3, 60)
    assert read_attempts(told.path).anomalies == ["line 7: the clock steps back by 120.0 seconds"]
    assert read_attempts(told.path).seconds_by_span() == {"train": 180, "repeated": 180}


def test_a_number_that_is_missing_is_named_and_stops_nothing(told):
    told.begin_attempt()
    start = told.clock
    told.write("begin", name="init", start=start)
    told.clock += 7
    told.write("span", name="init", start=start, seconds=None)
    for seconds in (float("nan"), float("inf"), "7", True, -7):
        told.write("span", name="init", start=told.clock, seconds=seconds)
    told.write("step", step="first")
    told.write("step", step=1, token_counts={"image": {"tokens": None}})
    told.write("resumed")
    told.write("span", name="init", start=None, seconds=1.0, time="now")
    told.write("step", step=1)
    found = read_attempts(told.path)
    assert found.seconds_by_span() == {"init": 7.0}
    assert [odd.partition(":")[0] for odd in found.anomalies] == [f"line {line}" for line in range(3, 13)]
    assert found.anomalies[0] == "line 3: seconds is None; expected numbers from 0; left out"


class Machine:
    """Writer of events with two clocks: the time of day, which may be set, and a monotonic one, which a boot resets."""

    def __init__(self, path, monkeypatch) -> None:
        self.path, self.day, self.up = path, 1e9, 50.0
        clocks = SimpleNamespace(time=lambda: self.day, perf_counter=lambda: self.up)
        monkeypatch.setattr("slq.common.events.time", clocks)

    def wait(self, seconds: float, set_by: float = 0.0) -> None:
        self.up += seconds
        self.day += seconds + set_by

    def train(self, steps, each: float, set_by: float = 0.0, resumed: int = 0) -> None:
        """Write an attempt of these steps; set the time of day by `set_by` seconds in its middle."""
        events = EventLog.for_next_attempt(self.path, device=DEVICE)
        if resumed:
            events.write("resumed", step=resumed)
        with events.span("init"):
            self.wait(5)
        with events.span("train"):
            for step in steps:
                self.wait(each, set_by if step == steps[len(steps) // 2] else 0.0)
                events.write("step", step=step)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path / "events.jsonl", monkeypatch)


YEAR = 365 * 86400.0


@pytest.mark.parametrize(
    ("set_by", "named"),
    [
        (0.0, None),
        (-3.0, "line 7: the clock steps back by 3.0 seconds"),
        (-30.0, "line 7: the clock steps back by 30.0 seconds"),
        (YEAR, "line 7: the clock jumps ahead by 31536000.0 seconds, or the machine slept"),
    ],
)
def test_a_clock_that_is_set_while_a_run_trains_changes_no_hours_and_is_named(machine, set_by, named):
    machine.train(range(1, 5), 10, set_by)
    found = read_attempts(machine.path)
    assert found.seconds_by_span() == {"init": 5, "train": 40}
    assert found.anomalies == ([named] if named else [])


def test_a_reboot_between_attempts_mixes_no_clocks(machine):
    """The boot resets the monotonic clock; repeated steps are counted by the first attempt's own clock."""
    machine.up = 1e6
    machine.train(range(1, 5), 10)
    machine.wait(300)
    machine.up = 3.0
    machine.train(range(3, 7), 20, resumed=2)
    found = read_attempts(machine.path)
    assert (found.seconds_by_span(), found.anomalies) == ({"init": 10, "train": 20 + 80, "repeated": 20}, [])


def test_a_process_that_was_killed_counts_until_its_last_event_though_the_clock_was_set(machine):
    events = EventLog.for_next_attempt(machine.path, device=DEVICE)
    with suppress(KeyboardInterrupt), events.span("train"):
        machine.wait(10, set_by=-3600)
        events.write("step", step=1)
        raise KeyboardInterrupt
    lines = machine.path.read_bytes().splitlines(keepends=True)
    machine.path.write_bytes(b"".join(lines[:-1]))
    assert read_attempts(machine.path).seconds_by_span() == {"train": 10}


def test_two_processes_at_once_are_both_counted_and_named(machine):
    first, second = (EventLog(machine.path, device=DEVICE, attempt=1) for _ in range(2))
    with first.span("init"), second.span("init"):
        machine.wait(10)
    with second.span("train"):
        machine.wait(5)
    first.write("step", step=1)
    found = read_attempts(machine.path)
    assert found.seconds_by_span() == {"init": 20, "train": 5}
    assert found.anomalies == ["line 2: process 2 begins before 1 has ended; both are counted"]


TORN = '{"attempt": 1, "event": "st'


def test_lines_that_are_cut_off_are_named_and_the_others_counted(told):
    told.begin_attempt()
    told.span("init", 5)
    with open(told.path, "ab") as file:
        file.write(TORN.encode() + b'{"event": "step", "time": 1}\n' + b"\xff\xfe\n[1]\n\n")
    told.train(1, 3, 60)
    with open(told.path, "a") as file:
        file.write(TORN)
    found = read_attempts(told.path)
    assert found.seconds_by_span() == {"init": 5, "train": 180}
    assert [odd.partition(":")[0] for odd in found.anomalies] == ["line 4", "line 5", "line 6", "line 7", "line 13"]
    assert {odd.partition(": ")[2] for odd in found.anomalies} == {"cut off, or no event; left out"}


def test_no_bytes_of_events_stop_the_count(told):
    """A file of two attempts is cut at every byte of its second half, and damaged at every 41st byte."""
    told.begin_attempt()
    told.train(1, 3, 60, killed=True)
    told.begin_attempt(resumed=2)
    told.train(3, 4, 60)
    data = told.path.read_bytes()
    for end in range(len(data) // 2, len(data)):
        assert parse_attempts(data[:end]).seconds_by_span()["train"] <= 120 + 120
    for place in range(0, len(data), 41):
        for byte in b'\x00"{9':
            parse_attempts(data[:place] + bytes([byte]) + data[place + 1 :]).seconds_by_span()
    missing = told.path.with_name("missing.jsonl")
    assert read_attempts(missing).anomalies == ["cannot be read: No such file or directory"]
    assert next_attempt_number(missing) == 1
    told.path.write_bytes(b"\xff\n" + data)
    assert next_attempt_number(told.path) == 3


def test_a_torn_line_that_a_full_disk_keeps_takes_no_line_with_it(tmp_path, monkeypatch):
    def full(path, data):
        raise SlqError(f"{path}: cannot be written: No space left on device")

    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "spa')
    monkeypatch.setattr(slq.common.events, "write_bytes", full)
    events = EventLog.for_next_attempt(path, device=DEVICE)
    for data in (events.content(), path.read_bytes()):
        assert [line and line["event"] for _, line in parse_event_lines(data)] == [None, "attempt"]


def test_earlier_events_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "events.jsonl").mkdir()
    found = parse_attempts(EventLog.for_next_attempt(tmp_path / "events.jsonl", device=DEVICE).content())
    told = "events.jsonl cannot be read (Is a directory): only events of its last attempt are known"
    assert found.anomalies == [told] and len(found.attempts) == 1


def unlink(events):
    events.path.unlink()


def damage(events):
    events.path.write_bytes(b"\xff\xfe\n" + TORN.encode())


def replace(events):
    events.path.unlink()
    events.path.mkdir()


@pytest.mark.parametrize("spoil", [unlink, damage, replace])
@pytest.mark.parametrize("last", [True, False])
def test_what_a_process_wrote_is_published_whatever_becomes_of_its_file(tmp_path, capsys, spoil, last):
    path, out = tmp_path / "work/events.jsonl", tmp_path / "results/train.jsonl"
    EventLog.for_next_attempt(path, device=DEVICE)
    events = EventLog.for_next_attempt(path, device=DEVICE)
    with events.span("train"):
        events.write("step", step=1)
        if not last:
            spoil(events)
    if last:
        spoil(events)
    events.publish(out)
    found, lines = read_attempts(out), read_jsonl(out)
    assert (found.seconds_by_span(), found.anomalies) == (pytest.approx({"train": events.seconds_by_span["train"]}), [])
    told = ["attempt", "attempt", "begin", "step", "span"]
    assert [(line["event"], line["attempt"]) for line in lines] == list(zip(told, [1, 2, 2, 2, 2], strict=True))
    said = capsys.readouterr().err
    assert said.count("slq: warning: events cannot be written") == (spoil is replace and not last)


def test_a_full_disk_stops_no_span_and_its_events_come_with_the_next(tmp_path, monkeypatch, capsys):
    events = EventLog.for_next_attempt(tmp_path / "events.jsonl", device=DEVICE)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with events.span("train"), monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        events.write("step", step=1)
        events.write("step", step=2)
    lines = read_jsonl(tmp_path / "events.jsonl")
    assert [line["event"] for line in lines] == ["attempt", "begin", "step", "step", "span"]
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_real_events_of_two_attempts_are_counted_together(tmp_path):
    path = tmp_path / "events.jsonl"
    first = EventLog.for_next_attempt(path, device=DEVICE)
    with first.span("init"):
        pass
    with pytest.raises(RuntimeError), first.span("train"):
        raise RuntimeError
    with open(path, "a") as file:
        file.write('{"event": "st')
    second = EventLog.for_next_attempt(path, device=DEVICE)
    with second.span("train", epoch=0):
        second.write("step", step=1)
    second.publish(tmp_path / "out" / "train.jsonl")
    lines = read_jsonl(tmp_path / "out" / "train.jsonl")
    assert {line["attempt"] for line in lines} == {1, 2} and next_attempt_number(path) == 3
    assert [line.get("failed") for line in lines if line["event"] == "span"] == [None, True, None]
    assert all(line["memory_gb"] > 0 for line in lines if line["event"] == "span")
    found = read_attempts(path).seconds_by_span()
    assert set(found) == {"init", "train", "repeated"}
    assert found["train"] == pytest.approx(second.seconds_by_span["train"])


def test_events_of_an_earlier_version_are_counted_but_for_their_tokens_and_named(told):
    told.begin_attempt()
    told.train(1, 2, each=1.0)
    text = told.path.read_text().replace('"schema": 2', '"schema": 1').replace("token_counts", "work")
    told.path.write_text(text)
    found = read_attempts(told.path)
    assert found.seconds_by_span() == {"train": 2.0}
    assert [step.token_counts for step in found.attempts[0].steps] == [None, None]
    assert found.anomalies == [
        "line 1: schema 1, not 2: written by a version before 0.2.0; tokens of its steps are not counted"
    ]
