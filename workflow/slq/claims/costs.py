"""What Table 3 says that training costs, against the sizes of the models: parameters and GPU hours."""

from collections.abc import Sequence
from math import ceil, floor

from slq.cost.architecture import is_known
from slq.cost.flops import Plan, total, train_flops
from slq.cost.forecast import Sizes
from slq.cost.sizes import missing_size
from slq.results.cells import UNITS, decimals, printed_number
from slq.results.checks import CheckResult, about, asked, found
from slq.results.layout import METHODS
from slq.results.paper import Number, Paper


def sizes(paper: Paper, backbone: str) -> Sizes | None:
    """The sizes of one of the paper's models and of its training set, if config.yaml has them."""
    entries = [one for one in paper.settings.get("backbones", ()) if one["name"] == backbone]
    if not entries or not is_known(entries[0]["architecture"]) or missing_size(paper.settings["train_set"], "train"):
        return None
    return Sizes(paper.settings, entries[0])


# ---- parameters ------------------------------------------------------------------------------------------------------


def parameters(paper: Paper) -> CheckResult:
    """Whether one number of queries gives every printed count of the parameters that SLQ trains."""
    queries = [(cell, _queries(cell)) for cell in paper.cells("slq", "parameters")]
    fits = sorted(set.intersection(*(set(fit) for _, fit in queries))) if queries else []
    evidence = [about(cell, _queries_line(cell, fit), "supported" if fits else "contradicted") for cell, fit in queries]
    statement = (
        f"No one number of queries gives the {len(queries)} printed counts of SLQ, as N times the width, rounded."
        if queries and not fits
        else f"SLQ's printed counts are those of N = {_listed(fits)} queries."
    )
    return CheckResult(statement, tuple(evidence))


def _queries(cell: Number) -> list[int]:
    """Every N whose N x width prints as the cell, halves either way."""
    half = _unit(cell.value) / 2
    value = printed_number(cell.value)
    return list(range(ceil((value - half) / cell.width), floor((value + half) / cell.width) + 1))


def _queries_line(cell: Number, fit: Sequence[int]) -> str:
    near = printed_number(cell.value) / cell.width
    text = f"{cell.row}: {cell.value} / {cell.width} = {near:.2f}; "
    if fit:
        return text + f"N = {_listed(fit)}"
    low, high = floor(near), ceil(near)
    return text + f"no N: {low} of them are {low * cell.width:,} numbers, {high} are {high * cell.width:,}"


def _unit(printed: str) -> float:
    """The size of a printed number's last digit: a thousand of `36k`, a hundred thousand of `4.4M`."""
    digits = printed.rstrip("".join(UNITS))
    return UNITS[printed[len(digits) :]] / 10 ** decimals(digits)


def _listed(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers)) or "none"


# ---- hours -----------------------------------------------------------------------------------------------------------


def hours(paper: Paper) -> CheckResult:
    """Which hours of other methods are further from the own one's than FLOPs are.

    Of SLQ it is the released algorithm, whose gradient runs through the whole sequence; the tuned methods may compute
    their activations again, which is what they compute at most.
    """
    evidence = []
    for cell in paper.cells("slq", "gpu_hours"):
        known = sizes(paper, cell.backbone)
        if known is None:
            continue
        released, shared = (_flops(paper, known, "slq", whole_sequence=whole) for whole in (True, False))
        for other in paper.others(cell):
            ratio = float(other.value) / float(cell.value)
            once, again = (_flops(paper, known, other.method, checkpointing=option) for option in (False, True))
            line = (
                f"{cell.backbone}: {METHODS[other.method]} {other.value} h / SLQ {cell.value} h = {ratio:.2f}; FLOPs "
                f"{once / released:.2f}, activations computed again {again / released:.2f}; if SLQ's gradient stops at "
                f"the queries {once / shared:.2f} and {again / shared:.2f}"
            )
            evidence.append(about(other, line, "contradicted" if ratio > again / released else "supported"))
    statement = (
        f"{found(evidence)} of {asked(evidence)} printed ratios of GPU hours to SLQ's are above those of FLOPs with "
        "the algorithm as released, even if the others computed all activations twice. What is left is not the "
        "methods' arithmetic: batch sizes, memory, waiting, or devices that the table does not tell."
    )
    return CheckResult(statement, tuple(evidence))


def _flops(paper: Paper, known: Sizes, method: str, **options: bool) -> float:
    """Of training on one pair, an image and a caption of the training set's mean size."""
    plan = Plan.of(method, paper.settings["tuning"].get(method, {}), **options)
    return sum(total(train_flops(known.architecture, plan, message)) for message in (known.image, known.text))
