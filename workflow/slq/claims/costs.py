"""Checks of the training costs in Table 3 (parameters and GPU hours) against the sizes of the models."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor
from typing import Any

from slq.claims.consistency import other_methods
from slq.cost.architecture import is_known_architecture
from slq.cost.dataset_sizes import find_missing_size
from slq.cost.flops import method_plan, total_flops, train_flops
from slq.cost.forecast import BackboneCostModel
from slq.methods.registry import find_method
from slq.results.cells import SUFFIX_FACTORS, count_decimals, parse_printed_number
from slq.results.checks import CheckResult, Verdict, count_contradicted, count_tested, number_evidence
from slq.results.paper import Paper


def build_cost_model(paper: Paper, backbone: str) -> BackboneCostModel | None:
    """Build the cost model of one of the paper's backbones; None if config.yaml lacks a size that the model needs."""
    entries = [one for one in paper.settings["backbones"] if one["name"] == backbone]
    if (
        not entries
        or not is_known_architecture(entries[0]["architecture"])
        or find_missing_size(paper.settings["train_dataset"], "train")
    ):
        return None
    return BackboneCostModel(paper.settings, entries[0])


# ---- parameters ------------------------------------------------------------------------------------------------------


def check_parameter_counts(paper: Paper) -> CheckResult:
    """Check whether one common number of queries N explains every printed parameter count of the proposed method."""
    method = paper.settings["proposed_method"]
    label, cells = find_method(method).label, paper.table("table3", method=method, column="parameters")
    query_counts = [(cell, _possible_query_counts(cell)) for cell in cells]
    common_counts = sorted(set.intersection(*(set(fit) for _, fit in query_counts))) if query_counts else []
    evidence = [
        number_evidence(cell, _query_count_text(cell, fit), "supported" if common_counts else "contradicted")
        for cell, fit in query_counts
    ]
    statement = (
        f"No single number of queries N explains the {len(query_counts)} printed parameter counts of {label} as N "
        "times the width, rounded."
        if query_counts and not common_counts
        else f"The printed parameter counts of {label} are those of N = {_join_numbers(common_counts)} queries."
    )
    return CheckResult(statement, tuple(evidence))


def _possible_query_counts(cell: Any) -> list[int]:
    """List every N for which N x width prints as the cell; halves may be rounded up or down."""
    half = _last_digit_size(cell.printed) / 2
    value = parse_printed_number(cell.printed)
    return list(range(ceil((value - half) / cell.hidden_size), floor((value + half) / cell.hidden_size) + 1))


def _query_count_text(cell: Any, counts: Sequence[int]) -> str:
    """Show the division of a printed count by the width, and the N that fit it."""
    exact_count = parse_printed_number(cell.printed) / cell.hidden_size
    text = f"{cell.row}: {cell.printed} / {cell.hidden_size} = {exact_count:.2f}; "
    if counts:
        return text + f"N = {_join_numbers(counts)}"
    low, high = floor(exact_count), ceil(exact_count)
    few, many = low * cell.hidden_size, high * cell.hidden_size
    return text + f"no N fits: N = {low} gives {few:,} parameters, N = {high} gives {many:,}"


def _last_digit_size(printed: str) -> float:
    """Return the place value of a printed number's last digit: a thousand for `36k`, a hundred thousand for `4.4M`."""
    digits = printed.rstrip("".join(SUFFIX_FACTORS))
    return SUFFIX_FACTORS[printed[len(digits) :]] / 10 ** count_decimals(digits)


def _join_numbers(numbers: Sequence[int]) -> str:
    """Join numbers with `or`; return `none` for an empty list."""
    return " or ".join(map(str, numbers)) or "none"


# ---- hours -----------------------------------------------------------------------------------------------------------


def check_training_hours(paper: Paper) -> CheckResult:
    """Check which ratios of other methods' hours to the proposed method's hours exceed the ratios of their FLOPs.

    The proposed method is counted as released, with the gradient through the whole sequence. The other methods are
    counted without and with recomputation of all activations, which is an upper bound on what they compute.
    """
    proposed, evidence = paper.settings["proposed_method"], []
    own_label = find_method(proposed).label
    for cell in paper.table("table3", method=proposed, column="gpu_hours"):
        cost_model = build_cost_model(paper, cell.backbone)
        if cost_model is None:
            continue
        full_gradient_flops, query_gradient_flops = (
            _pair_flops(paper, cost_model, proposed, whole_sequence=whole) for whole in (True, False)
        )
        for other in other_methods(paper, cell):
            ratio, label = float(other.printed) / float(cell.printed), find_method(other.method).label
            plain_flops, recompute_flops = (
                _pair_flops(paper, cost_model, other.method, checkpointing=option) for option in (False, True)
            )
            line = (
                f"{cell.backbone}: {label} {other.printed} h / {own_label} {cell.printed} h = {ratio:.2f}; "
                f"ratio of FLOPs {plain_flops / full_gradient_flops:.2f}, with recomputed activations "
                f"{recompute_flops / full_gradient_flops:.2f}; if {own_label}'s gradient stops at the queries "
                f"{plain_flops / query_gradient_flops:.2f} and {recompute_flops / query_gradient_flops:.2f}"
            )
            verdict: Verdict = "contradicted" if ratio > recompute_flops / full_gradient_flops else "supported"
            evidence.append(number_evidence(other, line, verdict))
    statement = (
        f"{count_contradicted(evidence)} of {count_tested(evidence)} printed ratios of GPU hours to {own_label}'s "
        "exceed the ratios of FLOPs with the released algorithm, even if the other methods recomputed all activations. "
        "The arithmetic of the methods does not explain the rest. Batch sizes, memory, waiting or devices could, but "
        "the table does not state them."
    )
    return CheckResult(statement, tuple(evidence))


def _pair_flops(paper: Paper, cost_model: BackboneCostModel, method: str, **options: bool) -> float:
    """Compute the FLOPs of training on one pair: an image and a caption of the training set's mean size.

    Args:
        options: fields of the `ComputePlan` to change
    """
    plan = replace(method_plan(paper.settings, method, cost_model.architecture), **options)
    return sum(
        total_flops(train_flops(cost_model.architecture, plan, message))
        for message in (cost_model.image_totals, cost_model.text_totals)
    )
