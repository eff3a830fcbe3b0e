"""Table 3's GPU hours in ratios, against the ratios of what the methods compute."""

from slq.accounting.flops import Plan, total, train_flops
from slq.accounting.forecast import Sizes
from slq.paper_audit.paper import Asked, Paper
from slq.reporting.layout import METHODS


def of_table3(paper: Paper) -> Asked:
    """Which hours of other methods are further from the own one's than FLOPs are.

    Of SLQ it is the released algorithm, whose gradient runs through the whole sequence; the tuned methods may compute
    their activations again, which is what they compute at most.
    """
    asked, beyond, lines = 0, [], []
    for cell in paper.cells("slq", "gpu_hours"):
        sizes = paper.sizes(cell.backbone)
        if sizes is None:
            continue
        released, shared = (_flops(paper, sizes, "slq", whole_sequence=whole) for whole in (True, False))
        for other in paper.others(cell):
            asked += 1
            ratio = float(other.value) / float(cell.value)
            once, again = (_flops(paper, sizes, other.method, checkpointing=option) for option in (False, True))
            if ratio > again / released:
                beyond.append(other)
            lines.append(
                f"{cell.backbone}: {METHODS[other.method]} {other.value} h / SLQ {cell.value} h = {ratio:.2f}; FLOPs "
                f"{once / released:.2f}, activations computed again {again / released:.2f}; if SLQ's gradient stops at "
                f"the queries {once / shared:.2f} and {again / shared:.2f}"
            )
    statement = (
        f"{len(beyond)} of {asked} printed ratios of GPU hours to SLQ's are above those of FLOPs with the algorithm as "
        "released, even if the others computed all activations twice. What is left is not the methods' arithmetic: "
        "batch sizes, memory, waiting, or devices that the table does not tell."
    )
    return Asked(asked, len(beyond), statement, tuple(lines), tuple(beyond))


def _flops(paper: Paper, sizes: Sizes, method: str, **options: bool) -> float:
    """Of training on one pair, an image and a caption of the training set's mean size."""
    plan = Plan.of(method, paper.settings["tuning"].get(method, {}), **options)
    return sum(total(train_flops(sizes.architecture, plan, message)) for message in (sizes.image, sizes.text))
