"""What Table 3 says that training costs, against the sizes of the models: parameters and GPU hours."""

from collections.abc import Sequence
from math import ceil, floor

from slq.accounting.architecture import is_known
from slq.accounting.flops import Plan, total, train_flops
from slq.accounting.forecast import Sizes
from slq.accounting.sizes import missing_size
from slq.claims.check import CheckResult, Evidence, about, asked, found
from slq.claims.paper import Number, Paper
from slq.reporting.cells import UNITS, decimals, printed_number
from slq.reporting.cells import parameters as parameters_form
from slq.reporting.layout import METHODS

RANKS = range(1, 257)


def sizes(paper: Paper, backbone: str) -> Sizes | None:
    """The sizes of one of the paper's models and of its training set, if config.yaml has them."""
    entries = [one for one in paper.settings.get("backbones", ()) if one["name"] == backbone]
    if not entries or not is_known(entries[0]["architecture"]) or missing_size(paper.settings["train_set"], "train"):
        return None
    return Sizes(paper.settings, entries[0])


# ---- parameters ------------------------------------------------------------------------------------------------------


def parameters(paper: Paper) -> CheckResult:
    """Whether one number of queries, and one rank, give every printed count of trained parameters."""
    queries = [(cell, _queries(cell)) for cell in paper.cells("slq", "parameters")]
    fits = _common([fit for _, fit in queries])
    evidence = [about(cell, _queries_line(cell, fit), "supported" if fits else "contradicted") for cell, fit in queries]
    ranks = []
    for cell in paper.cells("lora", "parameters"):
        if known := sizes(paper, cell.backbone):
            text = known.architecture.text
            each = text.layers * text.map_ends
            ranks.append([rank for rank in RANKS if parameters_form(rank * each) == cell.value])
            line = f"{cell.row}: {cell.value}; one rank on all seven maps of every layer is {each:,} numbers; rank "
            line += _listed(ranks[-1]) + "".join(f", {rank * each:,}" for rank in ranks[-1])
            evidence.append(about(cell, line, "supported" if ranks[-1] else "undecided"))
    whole, heads = _full(paper)
    statement = (
        f"No one number of queries gives the {len(queries)} printed counts of SLQ, as N times the width, rounded."
        if queries and not fits
        else f"SLQ's printed counts are those of N = {_listed(fits)} queries."
    )
    if both := _common(ranks):
        statement += f" LoRA's are those of rank {_listed(both)} on q, k, v, o, gate, up and down of every layer."
    if heads:
        statement += (
            f" Full FT's of {' and '.join(heads)} are those of the language model with its LM head, on which no vector "
            "depends; ours are without it."
        )
    return CheckResult(statement, (*evidence, *whole))


def _full(paper: Paper) -> tuple[list[Evidence], list[str]]:
    """Of full fine-tuning a line a backbone, and the backbones whose printed count is one with the LM head alone."""
    lines, heads = [], []
    for cell in paper.cells("full_ft", "parameters"):
        if known := sizes(paper, cell.backbone):
            text, head = known.architecture.text.weights, known.architecture.head
            own = f", with its LM head {text + head:,}" if head else ", its LM head among them"
            line = f"{cell.row}: {cell.value}; the language model is {text:,} numbers{own}"
            lines.append(about(cell, line, "not tested"))
            if _rounds(text + head, cell) and not _rounds(text, cell):
                heads.append(cell.backbone)
    return lines, heads


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


def _rounds(count: int, cell: Number) -> bool:
    return abs(count - printed_number(cell.value)) <= _unit(cell.value) / 2


def _common(fits: Sequence[Sequence[int]]) -> list[int]:
    return sorted(set.intersection(*map(set, fits))) if fits else []


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
