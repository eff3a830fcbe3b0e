"""What a preset's runs spent, over all attempts: a line per run and stage, and one for what runs share."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from slq.common.attempts import Attempt, Step, is_number, read_account
from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.config.runs import BASE_SEED
from slq.cost.architecture import is_known, read_architecture
from slq.cost.flops import SPARED, Plan, Work, keep_flops, total, train_flops

STAGES = ("train", "retrieve", "retain", "prove", "blind")
STORED = "prefixes"  # the stage that keeps what the runs of all seeds read
SHOWN = 3  # of what is odd about the events of a stage
# -X: jobs and not their steps, which would count twice; -D: what was requeued too.
SACCT = ("sacct", "-X", "-D", "-P", "-n", "--format=JobIDRaw,State,ElapsedRaw,AllocTRES")
ROWS = "rows"  # of the systems of Table 1 that are no runs: all that each does is one stage


@dataclass(frozen=True)
class Line:
    """What one stage of a run spent; docs/hours.md says what each column means and in which unit."""

    backbone: str
    method: str
    seed: int
    stage: str
    device: str
    devices: float
    attempts: int
    train_hours: float | None
    lost_hours: float | None
    total_hours: float | None
    pflop: float | None
    pflop_two_pass: float | None
    pflop_released: float | None
    mfu: float | None
    kwh: float | None
    memory_gb: float | None
    cost: float | None
    reused: str
    slurm_jobs: str
    sacct_hours: float | None
    sacct_difference: float | None
    source: str
    flags: str


COLUMNS = tuple(field.name for field in fields(Line))


def read_ledger(settings: Mapping[str, Any], results: Path) -> list[Line]:
    """The lines of every run of the preset that left events, runs in the order of Table 3, and of every row after them.

    Args:
        settings: of `cost_settings.account_settings`.
        results: the folder that holds one folder per preset.

    Raises:
        SlqError: as `stage_line`.
    """
    lines: list[Line] = []
    folder = results / settings["preset"]

    def add(backbone: Mapping[str, Any], of_run: tuple[str, str, int], stage: str, path: Path) -> None:
        if path.exists() and path.stat().st_size:  # an empty file tells of nothing that was spent
            lines.append(stage_line(settings, backbone, of_run, stage, path))

    for backbone in settings["backbones"]:
        for method in settings["methods"]:
            for seed in settings["seeds"][method]:
                events = folder / backbone["name"] / method / f"seed{seed}" / "events"
                for stage in STAGES:
                    add(backbone, (backbone["name"], method, seed), stage, events / f"{stage}.jsonl")
            lines += shared_lines(settings, backbone, method, results)
    for row in settings["rows"]:  # nothing of which is training: `method` is the row; a comparator has no backbone
        path = folder / "rows" / row["name"] / "events" / "retrieve.jsonl"
        add({"architecture": {}}, (row["backbone"], row["name"], BASE_SEED), ROWS, path)
    return lines


def stage_line(
    settings: Mapping[str, Any], backbone: Mapping[str, Any], of_run: tuple[str, str, int], stage: str, path: Path
) -> Line:
    """What the attempts at one stage of a run spent together; what is odd about their events is a flag of the line.

    Raises:
        SlqError: attempts on several devices, whose hours are different units.
    """
    found = read_account(path)
    attempts, odd = found.attempts, list(found.odd)
    devices = [attempt.device for attempt in attempts if attempt.device]
    if len({(device["kind"], device["name"]) for device in devices}) > 1:
        names = sorted({device["name"] for device in devices})
        raise SlqError(f"{path}: attempts on {names}; expected one kind, whose hours can be added")
    if not devices:
        odd.append("no event names a device: hours are not known")
    name = devices[0]["name"] if devices else ""
    hours = spent_hours(attempts, devices[0]["count"]) if devices else dict.fromkeys(("train", "lost", "total"))
    flops, two_pass, released = spent_flops(backbone, settings["tuning"], of_run[1], stage, attempts)
    spans = [span.fields for attempt in attempts for span in attempt.spans]
    joules = [span["joules"] for span in spans if is_number(span.get("joules"))]
    reused = sum(span["reused"] for span in spans if is_number(span.get("reused")))
    jobs = list(dict.fromkeys(attempt.slurm_job for attempt in attempts if attempt.slurm_job))
    booked = booked_hours(jobs)
    return Line(
        *of_run,
        stage,
        name,
        max((one["count"] for one in devices), default=0),
        len(attempts),
        hours["train"],
        hours["lost"],
        hours["total"],
        flops and flops / 1e15,
        two_pass and two_pass / 1e15,
        released and released / 1e15,
        utilisation(flops, hours["train"], settings["devices"].get(name, {}).get("peak_tflops")),
        sum(joules) / 3.6e6 if joules else None,
        max((span["memory_gb"] for span in spans if is_number(span.get("memory_gb"))), default=None),
        cost_of(hours["total"], settings),
        f"{reused} answers of an earlier attempt" if reused else "",
        " ".join(jobs),
        booked,
        None if booked is None or hours["total"] is None else booked - hours["total"],
        path.as_posix(),
        flags(odd),
    )


def spent_hours(attempts: Iterable[Attempt], devices: float) -> dict[str, float | None]:
    """Hours of training, lost ones and all, times devices: `devices`, where an attempt does not say how many."""
    hours = dict.fromkeys(("train", "lost", "total"), 0.0)
    for attempt in attempts:
        seconds = attempt.seconds()
        count = (attempt.device["count"] if attempt.device else devices) / 3600
        hours["train"] += seconds.get("train", 0.0) * count
        hours["lost"] += seconds.get("lost", 0.0) * count
        hours["total"] += sum(seconds.values()) * count
    return dict(hours)


def utilisation(flops: float | None, hours: float | None, peak: float | None) -> float | None:
    """FLOPs over what the device could have computed in these hours; None where one of them is not known."""
    return flops / (hours * 3600 * peak * 1e12) if flops and hours and peak else None


def cost_of(hours: float | None, settings: Mapping[str, Any]) -> float | None:
    """Hours at the price of one, if there is one."""
    price = settings["price"]["device_hour"]
    return hours * price if price and hours is not None else None


def flags(odd: Sequence[str]) -> str:
    """What is odd, the first few of it, and how much more."""
    more = [f"and {len(odd) - SHOWN} more"] if len(odd) > SHOWN else []
    return "; ".join([*odd[:SHOWN], *more])


def shared_lines(settings: Mapping[str, Any], backbone: Mapping[str, Any], method: str, results: Path) -> list[Line]:
    """What all runs of a method use and one made: the search for its rate, and what is kept of images.

    Their hours are counted here, once. To a run that reuses them, they cost nothing; the line says how many share it.
    """
    lines = []
    folder, seeds = results / settings["preset"] / backbone["name"] / method, settings["seeds"][method]
    users = len(seeds)
    reused = f"shared by {users} runs, counted once" if users > 1 else ""
    kept = folder / f"{STORED}.jsonl"
    if kept.exists():
        line = stage_line(settings, backbone, (backbone["name"], method, seeds[0]), STORED, kept)
        lines.append(replace(line, reused=reused))
    for seed in seeds:
        path = folder / f"seed{seed}" / "selection.json"
        if path.exists():
            found = read_json(path)
            device = found["device"]
            hours = sum(found["seconds"].values()) * device["count"] / 3600
            cost = cost_of(hours, settings)
            of_run = (backbone["name"], method, seed, "select", device["name"], device["count"], 1)
            unknown = (None, None, None, None, None, None)
            lines.append(Line(*of_run, 0.0, 0.0, hours, *unknown, cost, reused, "", None, None, path.as_posix(), ""))
    return lines


def spent_flops(
    backbone: Mapping[str, Any], tuning: Mapping[str, Any], method: str, stage: str, attempts: Iterable[Attempt]
) -> tuple[float | None, ...]:
    """FLOPs of the steps that the finished stage is made of; None where steps, or the closed form, say nothing.

    Beside them what the same steps take in two passes, which save memory alone, and with SLQ as released, which keeps
    nothing of images.
    """
    works = added_works(step for attempt in attempts for step in attempt.kept_steps())
    if not works or not is_known(backbone["architecture"]):
        return None, None, None
    architecture = read_architecture(backbone["architecture"])
    if stage == STORED:
        return sum(total(keep_flops(architecture, work, state)) for state, work in works.items()), None, None

    def flops(spared: Mapping[str, Mapping[str, float]] = SPARED, **changes: Any) -> float:
        plans = {state: Plan.of(method, tuning.get(method, {}), **changes, **spared.get(state, {})) for state in works}
        return sum(total(train_flops(architecture, plans[state], work)) for state, work in works.items())

    return flops(), flops(passes=2), flops({}, whole_sequence=True) if method == "slq" else None


def added_works(steps: Iterable[Step]) -> dict[str, Work]:
    """What steps asked of a model: of captions (`text`), and of images by what was there of them (models/prefix.py)."""
    sums: dict[str, Work] = {}
    for step in steps:
        for state, work in (step.work or {}).items():
            sums[state] = sums.get(state, Work()) + Work(**work)
    return sums


def booked_hours(jobs: Sequence[str]) -> float | None:
    """Add up the hours that Slurm booked for jobs, all their attempts; None without accounting, as one line says."""
    if not jobs or shutil.which(SACCT[0]) is None:
        return None
    answer = subprocess.run([*SACCT, "-j", ",".join(jobs)], capture_output=True, text=True)
    why = answer.stderr.strip() if answer.returncode else ""
    try:
        if not answer.returncode:
            return sum(_device_seconds(line) for line in answer.stdout.splitlines()) / 3600
    except ValueError:
        why = f"answers in another form: {answer.stdout.strip()[:100]!r}"
    print(f"sacct: {why}: hours are not compared with Slurm's", file=sys.stderr)
    return None


def _device_seconds(line: str) -> float:
    """Seconds times GPUs or, of a job without, CPUs."""
    _, _, seconds, allocated = line.split("|")
    counts: dict[str, str] = dict(re.findall(r"(?:^|,)(gres/gpu|cpu)=(\d+)", allocated))
    return int(seconds) * int(counts.get("gres/gpu") or counts.get("cpu") or 0)


def ledger_csv(lines: Iterable[Line]) -> str:
    """The ledger as it is stored; numbers with six significant digits, what is not known empty."""
    found = pd.DataFrame([asdict(line) for line in lines], columns=list(COLUMNS))
    return found.to_csv(index=False, lineterminator="\n", float_format="%.6g")
