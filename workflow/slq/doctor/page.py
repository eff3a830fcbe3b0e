"""The page of `slq doctor`: a line for each check, then what would be submitted."""

import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from slq.accounting.forecast import Range
from slq.doctor.cost import Cost
from slq.doctor.finding import WIDTH, Finding
from slq.doctor.plan import Job, Plan

HEAD = ("rule", "jobs", "GPUs", "cores", "GB", "hours", "by backbone")
COLUMNS = "{:<18}{:>5}{:>6}{:>7}{:>6}{:>7}  {}"


def page(findings: Sequence[Finding], plan: Plan | None, call: Sequence[str], cost: Cost, device: str) -> str:
    """Text of at most 100 columns; without a plan, the checks alone.

    Args:
        call: options of the call of snakemake that was looked at.
    """
    lines = [line for finding in findings for line in finding.lines()]
    if plan is not None:
        lines += ["", *submission(plan), *hours(plan, cost, device), "", *command(call)]
    return "\n".join(lines)


def submission(plan: Plan) -> Iterator[str]:
    """Of each rule its jobs, what one asks for at most, and how many there are of each backbone."""
    if not plan.jobs:
        yield "Nothing would be submitted: all that this preset asks for is here."
        return
    yield "What would be submitted; each job asks for at most:"
    yield COLUMNS.format(*HEAD)
    by_rule: dict[str, list[Job]] = {}
    for job in plan.submitted:
        by_rule.setdefault(job.rule, []).append(job)
    for rule, jobs in by_rule.items():
        counts = Counter(job.backbone for job in jobs if job.backbone)
        named = ", ".join(f"{backbone} {count}" for backbone, count in counts.items())
        most = (max(job.gpus for job in jobs), max(job.cpus for job in jobs))
        memory, minutes = max(job.mem_mb for job in jobs), max(job.minutes for job in jobs)
        head = COLUMNS.format(rule, len(jobs), *most, f"{memory / 1000:.0f}", f"{minutes / 60:.1f}", "")
        yield from textwrap.wrap(head + named, WIDTH, subsequent_indent=" " * len(head), break_on_hyphens=False)
    here = Counter(job.rule for job in plan.jobs if job.local)
    told = ", ".join(f"{count} {rule}" for rule, count in here.items())
    queue = f"{len(plan.submitted)} jobs, at most {plan.at_once} in the queue at once"
    yield from textwrap.wrap(f"{queue}; on this host: {told or 'none'}.", WIDTH)


def hours(plan: Plan, cost: Cost, device: str) -> Iterator[str]:
    """GPU hours low to high, of jobs on processors core hours; what first attempts reserve of them; disk."""
    reserved = sum(job.gpus * job.minutes for job in plan.submitted) / 60
    if cost.reason:
        text = f"Hours, and disk of adapters and checkpoints: not forecast ({cost.reason})"
        yield from textwrap.wrap(f"{text}; the jobs reserve {reserved:,.0f} GPU hours at first.", WIDTH)
        return
    if not reserved:
        cores = sum(job.cpus * job.minutes for job in plan.submitted) / 60
        yield f"GPU hours: none; the jobs reserve {cores:,.0f} core hours at first."
    elif cost.train is None or cost.evaluate is None:
        yield f"GPU hours: not known before `snakemake --cores 1 bench`; the jobs reserve {reserved:,.0f} at first."
    else:
        parts = f"training {_range(cost.train)}, evaluation {_range(cost.evaluate)}"
        text = f"GPU hours of {device}: {_range(cost.train + cost.evaluate)} ({parts}); the jobs reserve"
        yield from textwrap.wrap(f"{text} {reserved:,.0f} at first.", WIDTH)
        if cost.unknown:
            yield from textwrap.wrap(f"Not forecast, and not in these hours: {', '.join(cost.unknown)}.", WIDTH)
    yield f"Disk of adapters and checkpoints: {cost.all_gb:,.1f} GB, {cost.one_gb:,.1f} of the largest training."


def command(call: Sequence[str]) -> list[str]:
    """What a person types, to be copied."""
    words = shlex.join(["snakemake", *call])
    return " \\\n".join(textwrap.wrap(words, WIDTH - 2, break_long_words=False, break_on_hyphens=False)).splitlines()


def _range(found: Range) -> str:
    return f"{found.low:,.1f}-{found.high:,.1f}"
