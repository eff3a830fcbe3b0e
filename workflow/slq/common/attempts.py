"""Attempts of a stage's job, read from their events: the time of retained work, and the time of repeated work.

Durations are differences of one process's monotonic clock. Invalid input (a clock that jumps, a torn line, a value that
is not a number) raises no error, because no result depends on it. It is returned as an anomaly next to the hours, and
the ledger reports it.
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

EVENT_SCHEMA = 2  # schema version of a line's keys
# A difference between the clocks is tolerated up to the larger of these seconds and this share of the elapsed time. The
# share is twice the largest rate at which a system slews its clock.
CLOCK_TOLERANCE_SECONDS = 1.0
CLOCK_DRIFT = 1e-3


@dataclass(frozen=True)
class Event:
    """Valid line of an event file.

    Attributes:
        line_number: number of the line in the file, from 1.
        content: JSON object of the line.
        clock: seconds on the process's monotonic clock; an older file has none, and seconds since 1970 are used.
        wall_time: seconds since 1970.
        attempt: number of the attempt, from 1.
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
        """Whether the line has a time on the process's monotonic clock."""
        return is_finite_number(self.content.get("clock"))


@dataclass(frozen=True)
class Span:
    """Measured piece of work, which begins at `start` (on the clock of `Event.clock`)."""

    name: str
    start: float
    seconds: float
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """Optimiser step: its number, its end on the clock of `Event.clock`, and its token counts, if recorded."""

    number: int
    clock: float
    token_counts: Mapping[str, Mapping[str, float]] | None


@dataclass
class JobAttempt:
    """Work of one process on a stage.

    Attributes:
        number: number of the attempt, from 1.
        device: kind, name and count of the device, or None if no event records them.
        slurm_job: id of the Slurm job, or None outside Slurm.
        spans: measured pieces of work.
        steps: optimiser steps.
        start_step: step from which training resumed; 0 if it started from the beginning.
        last_retained_step: last step of this attempt that is part of the finished run; infinity for the last attempt.
    """

    number: int
    device: Mapping[str, Any] | None = None
    slurm_job: str | None = None
    spans: list[Span] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    start_step: int = 0
    last_retained_step: float = float("inf")

    def seconds_by_span(self) -> dict[str, float]:
        """Sum the seconds by name of span; `repeated` is the time of training steps that a later attempt repeated."""
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
    """Attempts of a stage in order, and a sentence about each anomaly in their events, with its line if known."""

    attempts: list[JobAttempt]
    anomalies: list[str]

    def seconds_by_span(self) -> dict[str, float]:
        """Sum the seconds by name of span over all attempts; `repeated` is missing if no training was repeated."""
        sums: dict[str, float] = defaultdict(float)
        for attempt in self.attempts:
            for name, seconds in attempt.seconds_by_span().items():
                sums[name] += seconds
        return dict(sums)


def read_attempts(path: Path) -> StageAttempts:
    """Read the attempts in an event file; if it cannot be read, return no attempts, and the reason as an anomaly."""
    try:
        return parse_attempts(path.read_bytes())
    except OSError as error:
        return StageAttempts([], [f"cannot be read: {error.strerror}"])


def parse_attempts(data: bytes) -> StageAttempts:
    """Parse the lines of an event file into attempts, in order.

    A later attempt resumes from the step in its `resumed` event, or else starts from the beginning. The earlier
    attempt's steps after that step are repeated work.
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
    for index in range(len(attempts) - 2, -1, -1):  # a later attempt may resume from an earlier step
        attempts[index].last_retained_step = min(
            attempts[index].last_retained_step, attempts[index + 1].last_retained_step
        )
    return StageAttempts(attempts, anomalies)


def parse_event_lines(data: bytes) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield the number and JSON object of each line of an event file; None for an invalid line, such as a torn one."""
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        try:
            content = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            content = None
        yield number, content if isinstance(content, dict) else None


def _parse_events(data: bytes, anomalies: list[str]) -> Iterator[Event]:
    """Yield the valid events, and append a sentence to `anomalies` for each invalid line."""
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
    """Return the first key of an event that has an invalid value, or None if all values are valid."""
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
    """Build the attempt of one process from its events; a span without an end lasts until the process's last event."""
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
    """Remove the `begin` event of a span from the open spans and return it; return None if there is no such event."""
    for index in range(len(open_spans) - 1, -1, -1):
        if _span_name(open_spans[index]) == _span_name(event):
            return open_spans.pop(index)
    return None


def _find_clock_jumps(events: Sequence[Event]) -> Iterator[str]:
    """Yield a sentence for each event at which the wall clock jumps.

    Within one process, the wall clock is compared with the monotonic clock. Between processes, only a step back can be
    detected.
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
    """Yield a sentence for each pair of processes that overlap in time, and for attempts without events."""
    for number, (earlier, later) in enumerate(pairwise(ordered_processes), start=1):
        if later[0].line_number < earlier[-1].line_number:
            line = later[0].line_number
            yield f"line {line}: process {number + 1} begins before {number} has ended; both are counted"
    present = {own[0].attempt for own in ordered_processes}
    missing = [str(number) for number in range(1, max(present, default=0)) if number not in present]
    if missing:
        yield f"no events of attempt {', '.join(missing)}"


def is_finite_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number, and not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _span_name(event: Event) -> str:
    """Return the name of the span that an event begins or ends."""
    return str(event.content.get("name"))


def _complete_device(device: Any) -> Mapping[str, Any] | None:
    """Return a device if it has a kind, a name and a count, else None."""
    is_complete = (
        isinstance(device, Mapping) and {"kind", "name"} <= device.keys() and is_finite_number(device.get("count"))
    )
    return device if is_complete else None
