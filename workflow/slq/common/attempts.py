"""Job attempts of a stage, read from their events: the time that counts, and the time of work that was repeated.

Seconds are differences of one process's monotonic clock. Doubtful input (a clock that jumps, a torn line, a value that
is no number) raises no error, as no result depends on it: it is returned beside the hours as an anomaly, which the
ledger reports.
"""

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from slq.common.schema import EARLIER_VERSION

EVENT_SCHEMA = 2  # version of the keys of a line
CLOCK_TOLERANCE_SECONDS = 1.0  # seconds by which a running clock may be corrected
CLOCK_DRIFT = 1e-3  # or this share of the elapsed time: twice the largest slew rate of a clock


@dataclass(frozen=True)
class Event:
    """A line of an event file that can be counted.

    Attributes:
        line_number: the line's number in the file, from 1.
        content: the JSON object of the line.
        clock: seconds of the process's monotonic clock; in an older file, which has none, seconds since 1970.
        wall_time: seconds since 1970.
        attempt: the number of the attempt, from 1.
        process: identifier of the process that wrote the line; the text "None" in an older file.
    """

    line_number: int
    content: Mapping[str, Any]
    clock: float
    wall_time: float
    attempt: int
    process: str

    @property
    def has_monotonic_clock(self) -> bool:
        """Whether the line holds a time of the process's monotonic clock."""
        return is_finite_number(self.content.get("clock"))


@dataclass(frozen=True)
class Span:
    """A stretch of work, from `start` (in the clock of `Event.clock`)."""

    name: str
    start: float
    seconds: float
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """An optimizer step: its number, when it ended (as `Event.clock`), and its token counts, if they are recorded."""

    number: int
    clock: float
    token_counts: Mapping[str, Mapping[str, float]] | None


@dataclass
class JobAttempt:
    """The work of one process on a stage.

    Attributes:
        number: the number of the attempt, from 1.
        device: kind, name and count of the device, or None if no event records them.
        slurm_job: the id of the Slurm job, or None outside Slurm.
        start_step: the step from which training resumed; 0 if it started from the beginning.
        last_retained_step: the last step of this attempt that is part of the finished run; infinity for the last
            attempt.
    """

    number: int
    device: Mapping[str, Any] | None = None
    slurm_job: str | None = None
    spans: list[Span] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    start_step: int = 0
    last_retained_step: float = float("inf")

    def seconds_by_span(self) -> dict[str, float]:
        """Sum the seconds by kind of span; `repeated` is training time whose steps a later attempt did again."""
        sums: dict[str, float] = defaultdict(float)
        for span in self.spans:
            retained = self._retained_seconds(span) if span.name == "train" else span.seconds
            sums[span.name] += retained
            if retained < span.seconds:
                sums["repeated"] += span.seconds - retained
        return dict(sums)

    def retained_steps(self) -> list[Step]:
        """List the steps that are part of the finished run."""
        return [step for step in self.steps if step.number <= self.last_retained_step]

    def _retained_seconds(self, span: Span) -> float:
        """Return the seconds of a span until the last step that is part of the finished run."""
        if self.last_retained_step == float("inf"):
            return span.seconds
        last_clock = max((step.clock for step in self.retained_steps()), default=span.start)
        return min(span.seconds, max(0.0, last_clock - span.start))


@dataclass(frozen=True)
class StageAttempts:
    """The attempts of a stage in order, and a sentence for each anomaly of their events, by line number if known."""

    attempts: list[JobAttempt]
    anomalies: list[str]

    def seconds_by_span(self) -> dict[str, float]:
        """Sum the seconds by kind of span over all attempts; `repeated` is a key only if training was repeated."""
        sums: dict[str, float] = defaultdict(float)
        for attempt in self.attempts:
            for name, seconds in attempt.seconds_by_span().items():
                sums[name] += seconds
        return dict(sums)


def read_attempts(path: Path) -> StageAttempts:
    """Read the attempts in an event file; return no attempts, and the reason as an anomaly, if it cannot be read."""
    try:
        return parse_attempts(path.read_bytes())
    except OSError as error:
        return StageAttempts([], [f"cannot be read: {error.strerror}"])


def parse_attempts(data: bytes) -> StageAttempts:
    """Parse the lines of an event file into attempts, in order.

    A later attempt resumes from the step that its `resumed` event names, or else starts from the beginning; the steps
    of the earlier attempt after that step count as repeated.
    """
    anomalies: list[str] = []
    events = list(_parse_events(data, anomalies))
    anomalies += _find_clock_jumps(events)
    events_by_process: dict[tuple[int, str], list[Event]] = defaultdict(list)
    for event in events:
        events_by_process[event.attempt, event.process].append(event)
    ordered_processes = sorted(events_by_process.values(), key=lambda own: own[0].attempt)
    attempts = [_build_attempt(own) for own in ordered_processes]
    anomalies += _find_attempt_anomalies(ordered_processes)
    for earlier, later in pairwise(attempts):
        earlier.last_retained_step = later.start_step
    for index in range(len(attempts) - 2, -1, -1):  # a later attempt may resume before an earlier one
        attempts[index].last_retained_step = min(
            attempts[index].last_retained_step, attempts[index + 1].last_retained_step
        )
    return StageAttempts(attempts, anomalies)


def parse_event_lines(data: bytes) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield the number and JSON object of each line of an event file; None for a line that is none, e.g. a torn one."""
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        try:
            content = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            content = None
        yield number, content if isinstance(content, dict) else None


def _parse_events(data: bytes, anomalies: list[str]) -> Iterator[Event]:
    """Yield the events that can be counted, and append a sentence to `anomalies` for each line that cannot."""
    for number, content in parse_event_lines(data):
        if content is None:
            anomalies.append(f"line {number}: cut off, or no event; left out")
        elif content.get("event") == "anomaly":
            anomalies.append(str(content.get("message")))
        elif invalid_key := _find_invalid_key(content):
            anomalies.append(
                f"line {number}: {invalid_key} is {content.get(invalid_key)!r}; expected numbers from 0; left out"
            )
        else:
            if content.get("event") == "attempt" and content.get("schema") != EVENT_SCHEMA:
                found = f"line {number}: schema {content.get('schema')}, not {EVENT_SCHEMA}"
                anomalies.append(f"{found}: {EARLIER_VERSION}; tokens of its steps are not counted")
            time = content.get("time", math.nan)
            process = str(content.get("process"))
            yield Event(number, content, content.get("clock", time), time, content.get("attempt", 1), process)


def _find_invalid_key(content: Mapping[str, Any]) -> str | None:
    """Return the first key of an event whose value cannot be counted, or None if there is none."""
    required = {"span": ["seconds"], "step": ["step"], "resumed": ["step"]}.get(str(content.get("event")), [])
    for key in ("clock", "time", "attempt", *required):
        value = content.get(key)
        if not (is_finite_number(value) and value >= 0) and (key in content or key in required):
            return key
    if "clock" not in content and "time" not in content:
        return "time"
    sums = content.get("token_counts") or {}
    is_valid = isinstance(sums, Mapping) and all(isinstance(one, Mapping) for one in sums.values())
    return (
        None
        if is_valid and all(is_finite_number(value) for one in sums.values() for value in one.values())
        else "token_counts"
    )


def _build_attempt(events: Sequence[Event]) -> JobAttempt:
    """Build the attempt of one process from its events; a span that never ended lasts until its last event."""
    attempt, open_spans = JobAttempt(events[0].attempt), list[Event]()
    for event in events:
        content = event.content
        attempt.device = _complete_device(content.get("device")) or attempt.device
        match content.get("event"):
            case "attempt":
                job = content.get("slurm_job")
                attempt.slurm_job = None if job is None else str(job)
            case "begin":
                open_spans.append(event)
            case "span":
                begin, seconds = _pop_begin_event(event, open_spans), content["seconds"]
                attempt.spans.append(
                    Span(_span_name(event), begin.clock if begin else event.clock - seconds, seconds, content)
                )
            case "step":
                attempt.steps.append(Step(int(content["step"]), event.clock, content.get("token_counts")))
            case "resumed":
                attempt.start_step = int(content["step"])
    for begin in open_spans:
        seconds = max(0.0, events[-1].clock - begin.clock)
        attempt.spans.append(Span(_span_name(begin), begin.clock, seconds, begin.content))
    return attempt


def _pop_begin_event(event: Event, open_spans: list[Event]) -> Event | None:
    """Remove the event that began a span from the open spans and return it; None if no such event was written."""
    for index in range(len(open_spans) - 1, -1, -1):
        if _span_name(open_spans[index]) == _span_name(event):
            return open_spans.pop(index)
    return None


def _find_clock_jumps(events: Sequence[Event]) -> Iterator[str]:
    """Yield a sentence for each event at which the wall clock jumps.

    Within one process it jumps if it differs from the monotonic clock by more than the tolerance; between processes, if
    it steps back by more than the tolerance.
    """
    latest: Event | None = None
    last_by_process: dict[tuple[int, str], Event] = {}
    for event in (event for event in events if math.isfinite(event.wall_time)):
        previous, tolerance, error = last_by_process.get((event.attempt, event.process)), CLOCK_TOLERANCE_SECONDS, 0.0
        if previous and previous.has_monotonic_clock and event.has_monotonic_clock:
            elapsed = event.clock - previous.clock
            error, tolerance = (
                event.wall_time - previous.wall_time - elapsed,
                max(CLOCK_TOLERANCE_SECONDS, CLOCK_DRIFT * elapsed),
            )
        elif latest:
            error = min(0.0, event.wall_time - latest.wall_time)
        if abs(error) > tolerance:
            direction = "steps back" if error < 0 else "jumps ahead"
            sleep_note = ", or the machine slept" if error > 0 else ""
            yield f"line {event.line_number}: the clock {direction} by {abs(error):.1f} seconds{sleep_note}"
        latest = last_by_process[event.attempt, event.process] = event


def _find_attempt_anomalies(ordered_processes: Sequence[Sequence[Event]]) -> Iterator[str]:
    """Yield a sentence for processes that overlap in time, which are all counted, and for attempts without events."""
    for number, (earlier, later) in enumerate(pairwise(ordered_processes), start=1):
        if later[0].line_number < earlier[-1].line_number:
            line = later[0].line_number
            yield f"line {line}: process {number + 1} begins before {number} has ended; both are counted"
    present = {own[0].attempt for own in ordered_processes}
    missing = [str(number) for number in range(1, max(present, default=0)) if number not in present]
    if missing:
        yield f"no events of attempt {', '.join(missing)}"


def is_finite_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number that can be added: neither NaN, infinity nor a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _span_name(event: Event) -> str:
    """Return the name of the span that an event begins or ends."""
    return str(event.content.get("name"))


def _complete_device(device: Any) -> Mapping[str, Any] | None:
    """Return a device if its kind, name and count are known, else None."""
    is_complete = (
        isinstance(device, Mapping) and {"kind", "name"} <= device.keys() and is_finite_number(device.get("count"))
    )
    return device if is_complete else None
