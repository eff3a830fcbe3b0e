"""Verdicts on the paper's claims, from the results of one preset and the tests in claims.yaml."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slq.claims.claim import Claim, read_claims
from slq.claims.claim_judge import ClaimJudge
from slq.common.files import write_json
from slq.evaluation.seed_differences import MIN_SEEDS
from slq.results.base_check import BaseScore, compare_base_scores, relative_note
from slq.results.checks import VERDICTS, CheckResult, describe_this_run
from slq.results.layout import ReportLayout, parse_layout
from slq.results.load import Results, print_warnings
from slq.results.paper import Paper

SCHEMA = 2


def judge_claims(settings: Mapping[str, Any], results: Path, reference: Path, out: Path) -> None:
    """Judge every claim of `reference`/claims.yaml on a preset's results; write and print the verdicts.

    Args:
        settings: the keys that `parse_layout` reads, and `synthetic`, the labels of the synthetic datasets
        results: the results folder, which has one folder per preset
        reference: the folder of the paper's values
        out: the JSON file for the verdicts; not written if there is an error
    """
    layout, paper, synthetic_labels = parse_layout(settings), Paper(reference, results), settings["synthetic"]
    paper_claims = read_claims(reference / "claims.yaml", paper)
    read = replace(layout, knowledge_datasets=(), baselines=())  # no claim uses these
    judge = ClaimJudge(Results(results, read), paper, synthetic_labels)
    scores = compare_base_scores(judge.results, paper)
    answers = [(one, _add_base_note(judge.judge_claim(one), one, scores, layout)) for one in paper_claims]
    claims = []
    for one, result in answers:
        claim: dict[str, Any] = {"id": one.id, "sentence": one.sentence, "where": one.location, "test": dict(one.test)}
        claim |= {"backbones": list(one.backbones), "verdict": result.verdict, "reason": result.reason}
        claim["this_run"] = result.this_run
        keys = {"what": "subject", "value": "value", "file": "files", "verdict": "verdict", "this_run": "this_run"}
        claim["evidence"] = [{key: getattr(line, name) for key, name in keys.items()} for line in result.evidence]
        claims.append(claim)
    about, labels = describe_scope(layout, synthetic_labels), list(synthetic_labels)
    content = {"schema": SCHEMA, "preset": layout.preset, "about": about, "synthetic": labels, "claims": claims}
    write_json(out, content)
    print(f"{about}\n\n{format_verdict_table(answers)}")
    print_warnings(judge.results.files)


def _add_base_note(result: CheckResult, claim: Claim, scores: Sequence[BaseScore], layout: ReportLayout) -> CheckResult:
    """Add to a verdict on scores that it is relative to our base only, if base did not meet published scores."""
    benchmarks = {dataset.paper_name for dataset in layout.retention_datasets}
    labels = [one.label for one in layout.backbones if one.paper_name in claim.backbones]
    about_scores = benchmarks.intersection(claim.test.get("datasets", ()))
    note = relative_note(scores, labels) if about_scores and labels and result.verdict != "not tested" else ""
    return replace(result, reason=f"{result.reason} {note}") if note else result


def describe_scope(layout: ReportLayout, synthetic_labels: Sequence[str]) -> str:
    """Describe the scope of the verdicts: the paper's claims or, on synthetic data, only the tests themselves."""
    preset_text = f"Preset {layout.preset}, {layout.which_seeds}"
    if not synthetic_labels:
        return (
            f"{preset_text}. Recalls and scores are compared at equal seed, on the same images and questions; fewer "
            f"than {MIN_SEEDS} seeds decide nothing."
        )
    names = [f"{entry.label} for {entry.paper_name}" for entry in layout.backbones if entry.paper_name]
    stand_in_text = f"{', '.join(names)} stand{'s' * (len(names) == 1)}" if names else "no backbone stands"
    return (
        f"{preset_text}: {', '.join(synthetic_labels)} are synthetic, and {stand_in_text} for the paper's backbones. "
        "The verdicts say that the machinery decides; about the paper's claims they say nothing."
    )


def format_verdict_table(answers: Sequence[tuple[Claim, CheckResult]]) -> str:
    """Format the verdicts as one aligned line per claim, followed by the count of each verdict."""
    verdicts = [result.verdict for _, result in answers]
    verdict_width, id_width = max(map(len, verdicts)), max(len(one.id) for one, _ in answers)
    lines = [f"{result.verdict:<{verdict_width}}  {one.id:<{id_width}}  {result.reason}" for one, result in answers]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
    this_run = describe_this_run((result.verdict, result.this_run) for _, result in answers)
    return "\n".join([*lines, "", f"{len(verdicts)} claims: {counts}{this_run}"])
