"""The top of the page: what the claims came to, on which backbones, and how many cells agree with the paper's."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from slq.results.checks import VERDICTS

Json = Mapping[str, Any]
SIGNS = {"supported": "✓", "contradicted": "✗", "undecided": "?", "not tested": "\u2013"}
# Of a comparison's cells, the verdicts that the claims' colours suit; the others are grey.
LIKE = {"agrees": "supported", "differs": "contradicted", "inside noise": "undecided"}
KINDS = {verdict: verdict for verdict in VERDICTS} | LIKE


def headline(claims: Json) -> str:
    """Say the answer in a sentence."""
    found = claim_counts(claims)
    total = sum(found.values())
    tested = total - found["not tested"]
    if not tested:
        return f"Not run yet: none of {total} claims is tested."
    said = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS[:3])
    if claims["drawn"]:
        return f"On drawn data, which says nothing about the paper: of {tested} tested claims {said}."
    return f"Of {tested} tested claims {said}; {found['not tested']} not tested."


def claim_counts(claims: Json) -> dict[str, int]:
    """Count the claims by verdict."""
    found = Counter(claim["verdict"] for claim in claims["claims"])
    return {verdict: found[verdict] for verdict in VERDICTS}


def cell_counts(compared: Json) -> dict[str, int]:
    """Count the cells of the comparison by verdict, those that tell something first."""
    counts: dict[str, int] = compared["counts"]
    return {verdict: counts[verdict] for verdict in [*LIKE, *sorted(set(counts) - set(LIKE))] if verdict in counts}


def by_backbone(compared: Json) -> dict[str, list[Json]]:
    """Group the cells of the comparison, in its own order."""
    return _grouped(compared["cells"], lambda cell: cell["backbone"])


def sentences(claims: Json) -> list[list[Json]]:
    """Group the claims by sentence of the paper: one for all of its backbones, or one each, `<sentence>/<backbone>`."""
    return list(_grouped(claims["claims"], lambda claim: claim["id"].partition("/")[0]).values())


def backbones(claims: Json) -> list[str]:
    """List the paper's backbones that have verdicts of their own, in order."""
    each = (claim for claim in claims["claims"] if "/" in claim["id"])
    return list(dict.fromkeys(name for claim in each for name in claim["backbones"]))


def _grouped(items: Iterable[Json], key: Callable[[Json], str]) -> dict[str, list[Json]]:
    grouped: dict[str, list[Json]] = {}
    for item in items:
        grouped.setdefault(key(item), []).append(item)
    return grouped
