"""Verdicts on the two numbers of a cell: they agree, differ, or differ by no more than noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from slq.reporting.comparison.metric_values import CellKey, ComparisonSettings, MetricValue, reason_not_comparable
from slq.reporting.comparison.significance import ROUND_OFF, SignificanceResult, compute_significance, holm_correction
from slq.results.cells import format_p_value
from slq.results.checks import THIS_RUN_ONLY

CellVerdict = Literal[
    "agrees", "inside noise", "differs", "this run only", "not comparable", "stale", "missing", "extra"
]

SAME_INPUTS_REASON = (
    "the same adapter, backbone and dataset give another number: other code or another device, or a file was edited"
)

ABOUT_RUNS = "about these runs only"


@dataclass(frozen=True)
class CellJudgement:
    """The judgement on the two numbers of a cell; `delta` is A minus B."""

    delta: float
    tolerance: float
    verdict: CellVerdict
    reason: str
    interval: tuple[float, float] | None = None


def judge_cells(
    pairs: Mapping[CellKey, tuple[MetricValue, MetricValue]], settings: ComparisonSettings, preset: str
) -> dict[CellKey, CellJudgement]:
    """Judge every cell that both sides have.

    The first rule that applies decides:

    1. `stale` if a number does not match its ranks or answers, and `not comparable` if the conditions differ.
    2. `differs` if both numbers come from the same inputs but are not equal.
    3. `agrees` if the difference is within the tolerance.
    4. `differs` if the difference cannot be tested.
    5. `differs` if the p-value, corrected for the number of tested cells (Holm 1979), is below the significance level;
       `inside noise` otherwise. Holm's correction bounds the probability that chance makes any cell of the comparison
       differ.

    Rules 3 to 5 on a trained method with few seeds are about its runs alone. Beside a number of the paper, the verdict
    is then `this run only`, and theirs is in the reason. Between two results of ours it is theirs: it tells whether
    these runs differ, and its reason says so.
    """
    untested = {key: judged for key, (a, b) in pairs.items() if (judged := _judge_without_test(a, b))}
    tests = {
        key: compute_significance(a, b, settings.seed_sd(preset, key.method, a.kind))
        for key, (a, b) in pairs.items()
        if key not in untested
    }
    corrected = holm_correction({key: found.p_value for key, found in tests.items() if found})
    judgements = {}
    for key, (a, b) in pairs.items():
        found, delta, tolerance = tests.get(key), a.value - b.value, _tolerance(a, b, settings)
        interval = (found.low, found.high) if found else None
        verdict: CellVerdict
        if key in untested:
            verdict, reason = untested[key]
        elif abs(delta) <= tolerance + ROUND_OFF:
            verdict, reason = "agrees", _inherited_note(a, b)
        elif found is None:
            verdict, reason = "differs", _untested_reason(a, b)
        else:
            verdict = "differs" if corrected[key] < settings.significance_level else "inside noise"
            reason = _tested_reason(a, b, found, corrected[key])
        if key not in untested and (a.quoted or b.quoted) and (a.has_few_seeds or b.has_few_seeds):
            verdict, reason = THIS_RUN_ONLY, "; ".join(filter(None, (f"{THIS_RUN_ONLY}: {verdict}", reason)))
        judgements[key] = CellJudgement(delta, tolerance, verdict, reason, interval)
    return judgements


def _judge_without_test(a: MetricValue, b: MetricValue) -> tuple[CellVerdict, str] | None:
    """Return the verdict and reason for two numbers to which neither tolerance nor test applies; None otherwise."""
    if stale_reason := "; ".join(filter(None, (a.stale_reason, b.stale_reason))):
        return "stale", stale_reason
    if reason := reason_not_comparable(a, b):
        return "not comparable", reason
    if a.inputs_hash and a.inputs_hash == b.inputs_hash and a.values != b.values:
        return "differs", SAME_INPUTS_REASON
    return None


def _tolerance(a: MetricValue, b: MetricValue, settings: ComparisonSettings) -> float:
    """Return the tolerance in the printed unit.

    For hours, it is a share of the larger number. For parameters, it is only the rounding error of a printed number.
    """
    if a.kind == "hours":
        return settings.tolerances["hours"] * max(abs(a.value), abs(b.value))
    points = 0.0 if a.kind == "parameters" else settings.tolerances[a.kind] * a.units_per_point
    return max(points, a.rounding_error, b.rounding_error)


def _tested_reason(a: MetricValue, b: MetricValue, significance: SignificanceResult, corrected_p: float) -> str:
    values = (
        f"p {format_p_value(significance.p_value)}, corrected {format_p_value(corrected_p)}: {significance.test_name}"
    )
    about_runs = ABOUT_RUNS if a.has_few_seeds or b.has_few_seeds else ""
    return "; ".join(filter(None, [values, about_runs, _inherited_note(a, b)]))


def _inherited_note(a: MetricValue, b: MetricValue) -> str:
    sides = " and ".join(side for side, number in (("A", a), ("B", b)) if number.inherited)
    return f"inherited from base in {sides}" if sides else ""


def _untested_reason(a: MetricValue, b: MetricValue) -> str:
    """Explain why a difference beyond the tolerance is not tested."""
    untested = "beyond its tolerance, and nothing to test it by"
    return "; ".join(dict.fromkeys(filter(None, (untested, a.note, b.note))))
