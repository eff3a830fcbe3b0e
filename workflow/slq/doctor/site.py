"""What jobs ask for, held against what Slurm offers."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from slq.doctor.finding import FIRST, NOTE, OK, Finding
from slq.doctor.plan import Job, Plan
from slq.doctor.slurm import UNLIMITED, Cluster, Nodes, Partition
from slq.runs import training_of

HALF = 0.5  # of an allocation: a training that stops earlier spends more on loading than on steps
CHECKS_UNTIL_GONE = 3  # the executor trusts squeue where a finished job is known for so many of its intervals
CHOOSE = "--default-resources slurm_partition=NAME, or a second --profile (docs/cluster.md)"
ASK_LESS = "another partition (slurm_partition), or less under presets.<preset>.resources"


def site_findings(cluster: Cluster, plan: Plan, memory_gb: float) -> Iterator[Finding]:
    """What there is to say about submitting a plan to a cluster.

    Args:
        memory_gb: that a job holds on each GPU, at most.
    """
    earlier = sorted(name for name in cluster.queued if plan.prefix and name.startswith(plan.prefix))
    if earlier:
        text = f"{len(earlier)} job(s) of an earlier call wait or run: a new call would start their work once more"
        advice = f"let that call end; if it was killed, end them first: scancel --name {earlier[0]}"
        yield Finding(NOTE, "queue", text, advice)
    yield accounting(cluster)
    yield job_age(cluster, plan)
    yield from stop_margin(plan)
    asked: dict[str, list[Job]] = {}
    for job in plan.submitted:
        asked.setdefault(job.partition, []).append(job)
    for names, jobs in asked.items():
        yield from partition_findings(cluster, names, jobs, memory_gb)
    if asked:
        accounts = sorted({job.account or "the site's default" for job in plan.submitted})
        yield Finding(OK, "account", ", ".join(accounts))


def accounting(cluster: Cluster) -> Finding:
    """Whether Slurm keeps books."""
    if cluster.accounting:
        return Finding(OK, "accounting", "slurmdbd: hours are compared with Slurm's own (sacct)")
    text = "none: hours come from our own events alone, and after a controller's absence the call may wait for ever"
    return Finding(NOTE, "accounting", text, "if it does: docs/cluster.md, Without accounting")


def job_age(cluster: Cluster, plan: Plan) -> Finding:
    """Whether squeue knows a finished job long enough for the executor to see it."""
    age, needed = cluster.min_job_age, CHECKS_UNTIL_GONE * plan.init_seconds
    if age is not None and age >= needed:
        return Finding(OK, "MinJobAge", f"{age} s, of {needed} s that the executor needs")
    text = f"{'not told' if age is None else f'{age} s'}, and the executor needs {needed} s to see jobs end"
    if cluster.accounting:
        return Finding(NOTE, "MinJobAge", f"{text}; it asks sacct instead")
    advice = "ask for more in slurm.conf"
    if age:
        advice += f", or give --slurm-init-seconds-before-status-checks {max(age // CHECKS_UNTIL_GONE, 1)}"
    return Finding(FIRST, "MinJobAge", f"{text}; without accounting the call would wait for ever", advice)


def stop_margin(plan: Plan) -> Iterator[Finding]:
    """Whether the allocation of each training is longer than the minutes before its end at which it stops."""
    margins = [(margin_of(plan, job) / job.minutes, job) for job in plan.submitted if job.rule == "train"]
    if not margins:
        return
    share, job = max(margins, key=lambda found: found[0])
    text = f"training.stop_minutes: {margin_of(plan, job):g} of {job.minutes} minutes that {_told(job)} asks for"
    advice = "lower training.stop_minutes, or raise hours under resources.train (docs/cluster.md, Short limits)"
    if share >= 1:
        yield Finding(FIRST, "margin", f"{text}: that leaves no time for a step", advice)
    elif share > HALF:
        yield Finding(NOTE, "margin", f"{text}: loading and a step must fit in the rest", advice)
    else:
        yield Finding(OK, "margin", text)


def margin_of(plan: Plan, job: Job) -> float:
    """Minutes before the end of its allocation at which a training stops."""
    preset = plan.config["presets"][plan.config["preset"]]
    return float(training_of(preset, plan.config["backbones"][job.backbone], job.method)["stop_minutes"])


def partition_findings(cluster: Cluster, names: str, jobs: Sequence[Job], memory_gb: float) -> Iterator[Finding]:
    """Of the jobs for one partition, or for the best of several with commas between them."""
    wanted = names.split(",") if names else [cluster.default]
    there = ", ".join(cluster.partitions)
    found = [cluster.partitions[name] for name in wanted if name in cluster.partitions]
    if wanted == [""]:
        yield Finding(FIRST, "partition", f"none given, and no default among {there}", CHOOSE)
    elif len(found) < len(wanted):
        lost = ", ".join(name for name in wanted if name not in cluster.partitions)
        yield Finding(FIRST, "partition", f"{lost}: no such partition; there are {there}", CHOOSE)
    elif not any(partition.up for partition in found):
        yield Finding(FIRST, "partition", f"{', '.join(wanted)}: takes no jobs now", CHOOSE)
    else:
        yield Finding(OK, "partition", f"{', '.join(wanted)}, {'as given' if names else 'the default of the site'}")
        nodes = [kind for partition in found for kind in partition.nodes]
        yield from gpus(found, nodes, [job for job in jobs if job.gpus], memory_gb)
        yield cores_and_memory(nodes, jobs)
        yield time_limit(found, jobs)


def gpus(found: Sequence[Partition], nodes: Sequence[Nodes], jobs: Sequence[Job], memory_gb: float) -> list[Finding]:
    """Whether one node has each job's GPUs, of the type that it asks for; nothing of jobs without."""
    if not jobs:
        return []
    offered: Counter[str] = Counter()
    for partition in found:
        offered.update(partition.gpus)
    there = ", ".join(f"{count} x {model or 'no type'}" for model, count in offered.items()) or "none"
    misfits = [job for job in jobs if not _with_gpus(nodes, job)]
    if misfits:
        most = max(misfits, key=lambda job: job.gpus)
        asked = f"{most.gpus}{f' x {most.gpu_model}' if most.gpu_model else ''}"
        text = f"{there}; {len(misfits)} of {len(jobs)} jobs find no node: {_told(most)} asks for {asked} in one"
        return [Finding(FIRST, "GPUs", text, ASK_LESS)]
    most = max(jobs, key=lambda job: job.gpus)
    text = f"{there}; jobs ask for up to {most.gpus} in a node, and fill up to {math.ceil(memory_gb)} GB of each"
    if len(offered) > 1 and not all(job.gpu_model for job in jobs):
        return [Finding(NOTE, "GPUs", text, "hours mean most where all are of one type: gpu_model, docs/cluster.md")]
    return [Finding(OK, "GPUs", text)]


def cores_and_memory(nodes: Sequence[Nodes], jobs: Sequence[Job]) -> Finding:
    """Whether each job finds a node with its cores and memory, among those with its GPUs."""
    largest = _size(max(kind.cpus for kind in nodes), max(kind.mem_mb for kind in nodes))
    misfits = [job for job in jobs if not any(_holds(kind, job) for kind in _with_gpus(nodes, job) or nodes)]
    if misfits:
        most = max(misfits, key=lambda job: (job.mem_mb, job.cpus))
        text = f"up to {largest}; {len(misfits)} of {len(jobs)} jobs find no room: {_told(most)} asks for"
        return Finding(FIRST, "nodes", f"{text} {_size(most.cpus, most.mem_mb)}", ASK_LESS)
    asked = _size(max(job.cpus for job in jobs), max(job.mem_mb for job in jobs))
    return Finding(OK, "nodes", f"up to {largest}; jobs ask for up to {asked}")


def time_limit(partitions: Sequence[Partition], jobs: Sequence[Job]) -> Finding:
    """Whether every job may run as long as it asks for."""
    longest = max(partition.minutes for partition in partitions)
    most = max(jobs, key=lambda job: job.minutes)
    limit = "no limit" if longest == UNLIMITED else f"at most {longest / 60:,.1f} h"
    text = f"{limit}; jobs ask for up to {most.minutes / 60:,.1f} h ({_told(most)})"
    again = max(job.minutes_again for job in jobs)
    if most.minutes <= longest < again:
        text += f"; a second attempt asks for {again / 60:,.1f} h, and is refused or waits for ever"
        return Finding(NOTE, "time", text, "--retries 0, and the same command again after a failure")
    if most.minutes <= longest:
        return Finding(OK, "time", text)
    advice = f"another partition, or `hours: {longest / 60:.3g}` in a file of yours (docs/cluster.md, Short limits)"
    return Finding(FIRST, "time", text, advice)


def _told(job: Job) -> str:
    return " ".join(filter(None, (job.rule, job.backbone, job.method)))


def _size(cpus: int, mem_mb: int) -> str:
    return f"{cpus} cores, {mem_mb / 1000:,.0f} GB"


def _with_gpus(nodes: Sequence[Nodes], job: Job) -> list[Nodes]:
    """Nodes that have a job's GPUs; of its type, if it asks for one."""
    model = job.gpu_model
    return [kind for kind in nodes if (kind.gpus.get(model, 0) if model else sum(kind.gpus.values())) >= job.gpus]


def _holds(kind: Nodes, job: Job) -> bool:
    return kind.cpus >= job.cpus and kind.mem_mb >= job.mem_mb
