"""The top of the page: what the claims came to, on which backbones, and how many cells agree with the paper's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slq.claims.check import VERDICTS

Json = Mapping[str, Any]
SIGNS = {"supported": "✓", "contradicted": "✗", "undecided": "?", "not tested": "\u2013"}
# Of a comparison's cells, the verdicts that the claims' colours suit; the others are grey.
LIKE = {"agrees": "supported", "differs": "contradicted", "inside noise": "undecided"}


@dataclass(frozen=True)
class Row:
    """A sentence of the paper with its verdicts: one for all of its backbones, or one each."""

    sentence: str
    where: str
    claims: tuple[Json, ...]
    each: bool


@dataclass(frozen=True)
class Count:
    """How many claims, or cells, have a verdict; `kind` is the colour's name, `share` percent of all."""

    verdict: str
    kind: str
    number: int
    share: float


def headline(claims: Json) -> str:
    """The answer in a sentence."""
    found = Counter(claim["verdict"] for claim in claims["claims"])
    tested = found.total() - found["not tested"]
    if not tested:
        return f"Not run yet: none of {found.total()} claims is tested."
    said = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS[:3])
    if claims["drawn"]:
        return f"On drawn data, which says nothing about the paper: of {tested} tested claims {said}."
    return f"Of {tested} tested claims {said}; {found['not tested']} not tested."


def claim_counts(claims: Json) -> list[Count]:
    """The claims by verdict."""
    found = Counter(claim["verdict"] for claim in claims["claims"])
    return [_count(verdict, verdict, found[verdict], found.total()) for verdict in VERDICTS]


def cell_counts(compared: Json) -> list[Count]:
    """The cells of the comparison by verdict, those that tell something first."""
    counts: dict[str, int] = compared["counts"]
    order = [*LIKE, *sorted(set(counts) - set(LIKE))]
    total = sum(counts.values())
    return [_count(one, LIKE.get(one, "not tested"), counts[one], total) for one in order if one in counts]


def _count(verdict: str, kind: str, number: int, total: int) -> Count:
    return Count(verdict, kind, number, 100 * number / total if total else 0.0)


def by_backbone(compared: Json) -> dict[str, list[Json]]:
    """The cells of the comparison, in its own order."""
    grouped: dict[str, list[Json]] = {}
    for cell in compared["cells"]:
        grouped.setdefault(cell["backbone"], []).append(cell)
    return grouped


def rows(claims: Json) -> list[Row]:
    """A row a sentence; what is claimed on each backbone stands side by side."""
    grouped: dict[str, list[Json]] = {}
    for claim in claims["claims"]:
        grouped.setdefault(claim["id"].partition("/")[0], []).append(claim)
    return [
        Row(found[0]["sentence"], found[0]["where"], tuple(found), "/" in found[0]["id"]) for found in grouped.values()
    ]


def backbones(rows_: Sequence[Row]) -> list[str]:
    """The paper's backbones that have verdicts of their own, in order."""
    return list(dict.fromkeys(name for row in rows_ if row.each for claim in row.claims for name in claim["backbones"]))
