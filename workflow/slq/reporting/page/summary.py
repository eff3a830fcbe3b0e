"""Summary at the top of the page: verdicts on the claims by backbone, and counts of the compared cells."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from slq.results.checks import VERDICTS, describe_this_run

Json = Mapping[str, Any]
VERDICT_SIGNS = {"supported": "✓", "contradicted": "✗", "undecided": "?", "not tested": "\u2013"}
# Verdicts on compared cells that have the colour of a verdict on claims; all other verdicts are grey.
CLAIM_VERDICT_BY_CELL_VERDICT = {"agrees": "supported", "differs": "contradicted", "inside noise": "undecided"}
SYNTHETIC_DATA = "on synthetic data, its numbers show that the machinery works, and nothing about the paper"
CSS_CLASSES = {verdict: verdict for verdict in VERDICTS} | CLAIM_VERDICT_BY_CELL_VERDICT


def answer(claims: Json, comparison: Json) -> tuple[str, str]:
    """Answer whether the paper reproduces: a plain sentence, and the counts of claims and cells behind it."""
    cells = [cell for cell in comparison["cells"] if cell["b"] is not None]
    measured = [cell["verdict"] for cell in cells if cell["a"] is not None and cell["verdict"] != "stale"]
    claims_text = ", ".join(f"{number} {verdict}" for verdict, number in count_claims(claims).items() if number)
    claims_text += describe_this_run((claim["verdict"], claim.get("this_run")) for claim in claims["claims"])
    cells_text = f"{len(measured)} measured" + f", {measured.count('agrees')} of these agree" * bool(measured)
    if claims["synthetic"]:
        cells_text = f"0 measured on the paper's own data, {len(measured)} with a counterpart here"
    text = f"{len(claims['claims'])} claims: {claims_text}. Of the {len(cells)} cells of its tables: {cells_text}."
    return _first_sentence(claims, comparison), f"Of the paper's {text}"


def _first_sentence(claims: Json, comparison: Json) -> str:
    counts = count_claims(claims)
    if claims["synthetic"]:
        return f"Preset {claims['preset']} cannot answer this: {SYNTHETIC_DATA}."
    if len(claims["claims"]) == counts["not tested"] and all(cell["a"] is None for cell in comparison["cells"]):
        return "Not run yet."
    if counts["supported"]:
        has_counterexample = counts["contradicted"] or comparison["counts"].get("differs")
        return "In part, as far as it is tested." if has_counterexample else "Yes, as far as it is tested."
    return "No, as far as it is tested." if counts["contradicted"] else "Undecided so far."


def headline(claims: Json) -> str:
    """Summarise the verdicts on the claims in one sentence."""
    counts = count_claims(claims)
    total = sum(counts.values())
    tested = total - counts["not tested"]
    if not tested:
        return f"Not run yet: none of {total} claims is tested."
    verdicts_text = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS[:3])
    verdicts_text += describe_this_run((claim["verdict"], claim.get("this_run")) for claim in claims["claims"])
    if claims["synthetic"]:
        return f"{tested} claims tested on synthetic data, which says nothing about the paper: {verdicts_text}."
    return f"{tested} claims tested: {verdicts_text}; {counts['not tested']} not tested."


def count_claims(claims: Json) -> dict[str, int]:
    """Count the claims by verdict."""
    counts = Counter(claim["verdict"] for claim in claims["claims"])
    return {verdict: counts[verdict] for verdict in VERDICTS}


def count_cells(comparison: Json) -> dict[str, int]:
    """Count the cells of the comparison by verdict, with the most informative verdicts first."""
    counts: dict[str, int] = comparison["counts"]
    return {
        verdict: counts[verdict]
        for verdict in [*CLAIM_VERDICT_BY_CELL_VERDICT, *sorted(set(counts) - set(CLAIM_VERDICT_BY_CELL_VERDICT))]
        if verdict in counts
    }


def cells_by_backbone(comparison: Json) -> dict[str, list[Json]]:
    """Group the cells of the comparison by backbone, in the order of the cells."""
    return _group_by(comparison["cells"], lambda cell: cell["backbone"])


def claims_by_sentence(claims: Json) -> list[list[Json]]:
    """Group the claims by sentence.

    A sentence has either one claim for all of its backbones, or one claim `<sentence>/<backbone>` per backbone.
    """
    return list(_group_by(claims["claims"], lambda claim: claim["id"].partition("/")[0]).values())


def claim_backbones(claims: Json) -> list[str]:
    """List the paper's backbones that have separate verdicts, in order."""
    each = (claim for claim in claims["claims"] if "/" in claim["id"])
    return list(dict.fromkeys(name for claim in each for name in claim["backbones"]))


def _group_by(items: Iterable[Json], key: Callable[[Json], str]) -> dict[str, list[Json]]:
    grouped: dict[str, list[Json]] = {}
    for item in items:
        grouped.setdefault(key(item), []).append(item)
    return grouped
