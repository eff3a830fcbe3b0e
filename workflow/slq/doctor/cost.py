"""What the jobs that are due will take, by the forecast: hours, memory of a GPU, disk."""

from collections.abc import Sequence
from dataclasses import dataclass

from slq.accounting.forecast import Cell, Range
from slq.doctor.plan import Job

EVALUATING = ("retrieve", "retain", "blind", "prove")


@dataclass(frozen=True)
class Cost:
    """`train`, `evaluate`: GPU hours, None where the forecast does not know them; `unknown`: rows that are due and not
    in them. `one_gb`, `all_gb`: disk of the largest training that is due, and of all. `reason`: why none is forecast.
    """

    train: Range | None
    evaluate: Range | None
    memory_gb: float
    one_gb: float
    all_gb: float
    unknown: tuple[str, ...] = ()
    reason: str = ""


def cost(cells: Sequence[Cell], jobs: Sequence[Job]) -> Cost:
    """Of the jobs that are due; an evaluation that is due in part counts whole. Rows that are no runs are unknown."""
    by_run = {(cell.backbone, cell.method): cell for cell in cells}
    training = [by_run[job.backbone, job.method] for job in jobs if job.rule == "train"]
    runs = {(job.backbone, job.method, job.seed) for job in jobs if job.rule in EVALUATING}
    evaluating = [by_run[backbone, method] for backbone, method, _ in sorted(runs)]
    disks = [cell.disk for cell in training]
    return Cost(
        _sum([cell.train for cell in training]),
        _sum([cell.evaluate for cell in evaluating]),
        max((cell.memory[0] for cell in [*training, *evaluating]), default=0.0),
        max(disks, default=0.0),
        sum(disks),
        tuple(job.row for job in jobs if job.row),
    )


def _sum(found: Sequence[Range | None]) -> Range | None:
    known = [one for one in found if one is not None]
    return sum(known, Range(0.0, 0.0)) if len(known) == len(found) else None
