"""Table 3's counts of trained parameters, against what so many queries, a LoRA of such a rank, or all weights have."""

from collections.abc import Sequence
from math import ceil, floor

from slq.paper_audit.paper import Asked, Paper, Printed
from slq.reporting.cells import UNITS, decimals, parameters, printed_number

RANKS = range(1, 257)


def of_table3(paper: Paper) -> Asked:
    """Whether one number of queries, and one rank, give every printed count."""
    queries = [(cell, _queries(cell, paper.width[cell.backbone])) for cell in paper.cells("slq", "parameters")]
    ranks = []
    for cell in paper.cells("lora", "parameters"):
        if sizes := paper.sizes(cell.backbone):
            text = sizes.architecture.text
            each = text.layers * text.map_ends
            ranks.append((cell, each, [rank for rank in RANKS if _prints(rank * each, cell)]))
    lines = [_queries_line(cell, fit, paper.width[cell.backbone]) for cell, fit in queries]
    lines += [
        f"{cell.row}: {cell.value}; one rank on all seven maps of every layer is {each:,} numbers; rank {_listed(fit)}"
        + "".join(f", {rank * each:,}" for rank in fit)
        for cell, each, fit in ranks
    ]
    fits = _common([fit for _, fit in queries])
    apart = [cell for cell, _ in queries] if queries and not fits else []
    both = _common([fit for _, _, fit in ranks])
    whole, heads = _full(paper)
    statement = (
        f"No one number of queries gives the {len(queries)} printed counts of SLQ, as N times the width, rounded."
        if apart
        else f"SLQ's printed counts are those of N = {_listed(fits)} queries."
    )
    if both:
        statement += f" LoRA's are those of rank {_listed(both)} on q, k, v, o, gate, up and down of every layer."
    if heads:
        statement += (
            f" Full FT's of {' and '.join(heads)} are those of the language model with its LM head, on which no vector "
            "depends; ours are without it."
        )
    return Asked(len(queries) + len(ranks), len(apart), statement, (*lines, *whole), tuple(apart))


def _full(paper: Paper) -> tuple[list[str], list[str]]:
    """Of full fine-tuning a line a backbone, and the backbones whose printed count is one with the LM head alone."""
    lines, heads = [], []
    for cell in paper.cells("full_ft", "parameters"):
        if sizes := paper.sizes(cell.backbone):
            text, head = sizes.architecture.text.weights, sizes.architecture.head
            own = f", with its LM head {text + head:,}" if head else ", its LM head among them"
            lines.append(f"{cell.row}: {cell.value}; the language model is {text:,} numbers{own}")
            if _rounds(text + head, cell) and not _rounds(text, cell):
                heads.append(cell.backbone)
    return lines, heads


def _queries(cell: Printed, width: int) -> list[int]:
    """Every N whose N x width prints as the cell, halves either way."""
    half = _unit(cell.value) / 2
    value = printed_number(cell.value)
    return list(range(ceil((value - half) / width), floor((value + half) / width) + 1))


def _queries_line(cell: Printed, fit: Sequence[int], width: int) -> str:
    near = printed_number(cell.value) / width
    text = f"{cell.row}: {cell.value} / {width} = {near:.2f}; "
    if fit:
        return text + f"N = {_listed(fit)}"
    low, high = floor(near), ceil(near)
    return text + f"no N: {low} of them are {low * width:,} numbers, {high} are {high * width:,}"


def _unit(printed: str) -> float:
    """The size of a printed number's last digit: a thousand of `36k`, a hundred thousand of `4.4M`."""
    digits = printed.rstrip("".join(UNITS))
    return UNITS[printed[len(digits) :]] / 10 ** decimals(digits)


def _rounds(count: int, cell: Printed) -> bool:
    return abs(count - printed_number(cell.value)) <= _unit(cell.value) / 2


def _prints(count: int, cell: Printed) -> bool:
    return parameters(count) == cell.value


def _common(fits: Sequence[Sequence[int]]) -> list[int]:
    return sorted(set.intersection(*map(set, fits))) if fits else []


def _listed(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers)) or "none"
