"""What a stage's attempts spent, read from their events: the time that counts, and what was lost.

Seconds are differences of one process's monotonic clock. What a clock, a torn line or a number that is none makes
doubtful stops nothing, as no result depends on it: it is returned beside the hours, and the ledger says it.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

SLACK = 1.0  # seconds that a clock may be corrected by while it runs
DRIFT = 1e-3  # and this share of the time since: twice what a clock is slewed by at most


@dataclass(frozen=True)
class Event:
    """A line of events that can be counted.

    Attributes:
        line: its number in the file.
        at: seconds of its process's monotonic clock; of an older file, which has none, seconds since 1970.
        time: seconds since 1970.
        process: who wrote it; `None` in an older file.
    """

    line: int
    content: Mapping[str, Any]
    at: float
    time: float
    attempt: int
    process: str

    @property
    def monotonic(self) -> bool:
        return is_number(self.content.get("clock"))


@dataclass(frozen=True)
class Span:
    """A stretch of work, from `start` (as `Event.at`)."""

    name: str
    start: float
    seconds: float
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """An optimizer step: its number, when it was done, and the sums of work in it, if they are recorded."""

    number: int
    at: float
    work: Mapping[str, Mapping[str, float]] | None


@dataclass
class Attempt:
    """One process's stay at a stage.

    Attributes:
        from_step: where training went on; 0 if from the beginning.
        kept_step: the last step that the finished run is made of; None before that is known, and of other stages.
    """

    number: int
    device: Mapping[str, Any] | None = None
    slurm_job: str | None = None
    spans: list[Span] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    from_step: int = 0
    kept_step: float = float("inf")

    def seconds(self) -> dict[str, float]:
        """By kind of span; `lost` is training whose steps a later attempt did again."""
        found: dict[str, float] = defaultdict(float)
        for span in self.spans:
            kept = self._kept_of(span) if span.name == "train" else span.seconds
            found[span.name] += kept
            if kept < span.seconds:
                found["lost"] += span.seconds - kept
        return dict(found)

    def kept_steps(self) -> list[Step]:
        return [step for step in self.steps if step.number <= self.kept_step]

    def _kept_of(self, span: Span) -> float:
        """Seconds until the last step that the finished run is made of."""
        if self.kept_step == float("inf"):
            return span.seconds
        until = max((step.at for step in self.kept_steps()), default=span.start)
        return min(span.seconds, max(0.0, until - span.start))


@dataclass(frozen=True)
class Account:
    """The attempts at a stage, in order, and in words what is odd about their events, by number of the line."""

    attempts: list[Attempt]
    odd: list[str]

    def spent(self) -> dict[str, float]:
        """Seconds by kind of span over all attempts, with what was `lost` if anything was."""
        sums: dict[str, float] = defaultdict(float)
        for attempt in self.attempts:
            for name, seconds in attempt.seconds().items():
                sums[name] += seconds
        return dict(sums)


def read_account(path: Path) -> Account:
    """The account of a file of events; of one that cannot be read, no attempts and why."""
    try:
        return account(path.read_bytes())
    except OSError as error:
        return Account([], [f"cannot be read: {error.strerror}"])


def account(data: bytes) -> Account:
    """The attempts that events tell of, in order.

    An attempt after another goes on from the step that its `resumed` event names, or from the beginning; what the
    earlier one did behind that step is lost.
    """
    odd: list[str] = []
    events = list(_events(data, odd))
    odd += _odd_clocks(events)
    of_process: dict[tuple[int, str], list[Event]] = defaultdict(list)
    for event in events:
        of_process[event.attempt, event.process].append(event)
    in_order = sorted(of_process.values(), key=lambda own: own[0].attempt)
    attempts = [_attempt(own) for own in in_order]
    odd += _odd_attempts(in_order)
    for earlier, later in pairwise(attempts):
        earlier.kept_step = later.from_step
    for at in range(len(attempts) - 2, -1, -1):  # a later attempt may fall behind where an earlier one went on from
        attempts[at].kept_step = min(attempts[at].kept_step, attempts[at + 1].kept_step)
    return Account(attempts, odd)


def readable_lines(data: bytes) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The lines of a file of events by number: JSON objects; None for one that is none, e.g. cut off or torn."""
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        try:
            content = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            content = None
        yield number, content if isinstance(content, dict) else None


def _events(data: bytes, odd: list[str]) -> Iterator[Event]:
    """Those that can be counted."""
    for number, content in readable_lines(data):
        if content is None:
            odd.append(f"line {number}: cut off, or no event; left out")
        elif content.get("event") == "odd":
            odd.append(str(content.get("what")))
        elif unsound := _unsound(content):
            odd.append(f"line {number}: {unsound} is {content.get(unsound)!r}; expected numbers from 0; left out")
        else:
            time = content.get("time", math.nan)
            process = str(content.get("process"))
            yield Event(number, content, content.get("clock", time), time, content.get("attempt", 1), process)


def _unsound(content: Mapping[str, Any]) -> str | None:
    """Name the first key of an event whose value cannot be counted."""
    needed = {"span": ["seconds"], "step": ["step"], "resumed": ["step"]}.get(str(content.get("event")), [])
    for key in ("clock", "time", "attempt", *needed):
        value = content.get(key)
        if not (is_number(value) and value >= 0) and (key in content or key in needed):
            return key
    if "clock" not in content and "time" not in content:
        return "time"
    sums = content.get("work") or {}
    sound = isinstance(sums, Mapping) and all(isinstance(one, Mapping) for one in sums.values())
    return None if sound and all(is_number(value) for one in sums.values() for value in one.values()) else "work"


def _attempt(own: Sequence[Event]) -> Attempt:
    """What one process did. A span that was begun and never ended lasts until the process's last event."""
    found, begun = Attempt(own[0].attempt), list[Event]()
    for event in own:
        content = event.content
        found.device = _device(content.get("device")) or found.device
        match content.get("event"):
            case "attempt":
                job = content.get("slurm_job")
                found.slurm_job = None if job is None else str(job)
            case "begin":
                begun.append(event)
            case "span":
                begin, seconds = _begin_of(event, begun), content["seconds"]
                found.spans.append(Span(_name(event), begin.at if begin else event.at - seconds, seconds, content))
            case "step":
                found.steps.append(Step(int(content["step"]), event.at, content.get("work")))
            case "resumed":
                found.from_step = int(content["step"])
    for begin in begun:
        seconds = max(0.0, own[-1].at - begin.at)
        found.spans.append(Span(_name(begin), begin.at, seconds, begin.content))
    return found


def _begin_of(event: Event, begun: list[Event]) -> Event | None:
    """The event that began a span, taken from those that are open; None where it was not written."""
    for place in range(len(begun) - 1, -1, -1):
        if _name(begun[place]) == _name(event):
            return begun.pop(place)
    return None


def _odd_clocks(events: Sequence[Event]) -> Iterator[str]:
    """Where the time of day goes on in another way than the monotonic clock, or between processes steps back."""
    latest: Event | None = None
    of_process: dict[tuple[int, str], Event] = {}
    for event in (event for event in events if math.isfinite(event.time)):
        before, allowed, error = of_process.get((event.attempt, event.process)), SLACK, 0.0
        if before and before.monotonic and event.monotonic:
            passed = event.at - before.at
            error, allowed = event.time - before.time - passed, max(SLACK, DRIFT * passed)
        elif latest:
            error = min(0.0, event.time - latest.time)
        if abs(error) > allowed:
            how = "steps back" if error < 0 else "jumps ahead"
            asleep = ", or the machine slept" if error > 0 else ""
            yield f"line {event.line}: the clock {how} by {abs(error):.1f} seconds{asleep}"
        latest = of_process[event.attempt, event.process] = event


def _odd_attempts(in_order: Sequence[Sequence[Event]]) -> Iterator[str]:
    """Processes that worked at the same time, each of whose time is counted, and attempts that nothing tells of."""
    for number, (earlier, later) in enumerate(pairwise(in_order), start=1):
        if later[0].line < earlier[-1].line:
            yield f"line {later[0].line}: process {number + 1} begins before {number} has ended; both are counted"
    there = {own[0].attempt for own in in_order}
    lacking = [str(number) for number in range(1, max(there, default=0)) if number not in there]
    if lacking:
        yield f"no events of attempt {', '.join(lacking)}"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a number that can be added: no NaN, no infinity, no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(event: Event) -> str:
    return str(event.content.get("name"))


def _device(told: Any) -> Mapping[str, Any] | None:
    """A device of which kind, name and count are known."""
    known = isinstance(told, Mapping) and {"kind", "name"} <= told.keys() and is_number(told.get("count"))
    return told if known else None
