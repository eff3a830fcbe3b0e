"""What a stage's attempts spent, read from their events: the time that counts, and what was lost."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.files import read_lines

SLACK = 1.0  # seconds that a clock may be corrected by while it runs


@dataclass(frozen=True)
class Span:
    """A stretch of work, in seconds since 1970; `open`: of a process that ended before its span did."""

    name: str
    start: float
    seconds: float
    open: bool
    place: str
    fields: Mapping[str, Any]

    @property
    def end(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True)
class Step:
    """An optimizer step: its number, when it was done, and the sums of work in it, if they are recorded."""

    number: int
    time: float
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
    gpus: list[Mapping[str, Any]] = field(default_factory=list)
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
        until = max((step.time for step in self.kept_steps()), default=span.start)
        return min(span.seconds, max(0.0, until - span.start))


def read_attempts(path: Path) -> list[Attempt]:
    """The attempts at a stage, in order.

    An attempt after another goes on from the step that its `resumed` event names, or from the beginning; what the
    earlier one did behind that step is lost.

    Raises:
        SlqError: spans overlap, or the clock steps back: hours would be counted twice, or not at all.
    """
    attempts: dict[int, Attempt] = {}
    lines = _lines(path)
    for place, line in lines:
        attempt = attempts.setdefault(line.get("attempt", 1), Attempt(line.get("attempt", 1)))
        attempt.device = line.get("device") or attempt.device
        match line.get("event"):
            case "attempt":
                attempt.slurm_job, attempt.gpus = line.get("slurm_job"), line.get("gpus", [])
            case "span":
                start, seconds = _number(place, line, "start"), _number(place, line, "seconds")
                attempt.spans.append(Span(line["name"], start, seconds, False, place, line))
            case "step":
                attempt.steps.append(Step(int(_number(place, line, "step")), line["time"], line.get("work")))
            case "resumed":
                attempt.from_step = int(_number(place, line, "step"))
    _close_open_spans(lines, attempts)
    _refuse_overlaps(attempts)
    ordered = [attempts[number] for number in sorted(attempts)]
    for earlier, later in pairwise(ordered):
        earlier.kept_step = later.from_step
    for at in range(len(ordered) - 2, -1, -1):  # a later attempt may fall behind where an earlier one went on from
        ordered[at].kept_step = min(ordered[at].kept_step, ordered[at + 1].kept_step)
    return ordered


def spent(path: Path) -> dict[str, float]:
    """Seconds by kind of span over all attempts, with what was `lost` if anything was; errors as `read_attempts`."""
    sums: dict[str, float] = defaultdict(float)
    for attempt in read_attempts(path):
        for name, seconds in attempt.seconds().items():
            sums[name] += seconds
    return dict(sums)


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each event with its place, `file:line`.

    Raises:
        SlqError: an event is older than the one before it.
    """
    lines = [(f"{path}:{number}", line) for number, line in enumerate(read_lines(path), start=1)]
    latest = float("-inf")
    for place, line in lines:
        time = _number(place, line, "time")
        if time < latest - SLACK:
            raise SlqError(f"{place}: the clock steps back by {latest - time:.1f} seconds; its hours cannot be counted")
        latest = max(latest, time)
    return lines


def _close_open_spans(lines: list[tuple[str, dict[str, Any]]], attempts: Mapping[int, Attempt]) -> None:
    """A span that was begun and never ended lasts until the last event of its attempt."""
    for number, attempt in attempts.items():
        own = [(place, line) for place, line in lines if line.get("attempt", 1) == number]
        ended = {(span.name, span.start) for span in attempt.spans}
        for place, line in own:
            if line.get("event") == "begin" and (line["name"], line["start"]) not in ended:
                seconds = max(0.0, own[-1][1]["time"] - line["start"])
                attempt.spans.append(Span(line["name"], line["start"], seconds, True, place, line))


def _refuse_overlaps(attempts: Mapping[int, Attempt]) -> None:
    spans = sorted((span for attempt in attempts.values() for span in attempt.spans), key=lambda span: span.start)
    for earlier, later in pairwise(spans):
        if later.start < earlier.end - SLACK:
            raise SlqError(
                f"{later.place}: span {later.name} begins {earlier.end - later.start:.1f} seconds before span "
                f"{earlier.name} ({earlier.place}) has ended; the same time cannot be counted twice"
            )


def _number(place: str, line: Mapping[str, Any], key: str) -> float:
    value = line.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SlqError(f"{place}: key {key} is {value!r}; expected a number")
    return value
