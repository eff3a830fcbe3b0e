"""The claims of the paper with their verdicts, as JSON and as a table to read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slq.claims.judge import Judge
from slq.claims.part import VERDICTS, Part, decide, summary
from slq.claims.statement import Statement, read_statements
from slq.files import write_json
from slq.plausibility.claims import Benchmarks
from slq.reporting.layout import Layout, parse_layout
from slq.reporting.records import Reference, Results

SCHEMA = 1


def judge_claims(settings: Mapping[str, Any], results: Path, reference: Path, out: Path) -> None:
    """Judge every claim of `reference`/claims.yaml on a preset's results; write the verdicts, and print them.

    Args:
        settings: what `parse_layout` reads; and, as `drawn`, the labels of the sets that are drawn here
        results: the folder that holds one folder per preset

    Raises:
        SlqError: a claim is not of its form, or a result file that exists cannot be used; nothing is written then.
    """
    layout, papers = parse_layout(settings), Reference(reference, results)
    statements = read_statements(reference / "claims.yaml", papers, Benchmarks(reference, results))
    judge, drawn = Judge(Results(results, layout), papers), settings["drawn"]
    claims = [_judged(statement, judge.parts(statement), drawn) for statement in statements]
    content = {"schema": SCHEMA, "preset": layout.preset, "about": about(layout, drawn), "drawn": list(drawn)}
    write_json(out, content | {"claims": claims})
    print(f"{about(layout, drawn)}\n\n{table(claims)}")
    judge.ours.standing.say()


def _judged(statement: Statement, parts: Sequence[Part], drawn: Sequence[str]) -> dict[str, Any]:
    if statement.kind == "none":
        verdict, reason = "not tested", f"It needs {statement.test['needs']}."
    else:
        verdict, reason = decide(parts), summary(parts)
        if drawn and verdict != "not tested":
            reason = f"On drawn data. {reason}"
    return {
        **{"id": statement.id, "sentence": statement.sentence, "where": statement.where, "test": dict(statement.test)},
        **{"backbones": list(statement.backbones), "verdict": verdict, "reason": reason},
        "evidence": [
            {"what": part.what, "value": part.value, "file": part.files, "verdict": part.verdict} for part in parts
        ],
    }


def about(layout: Layout, drawn: Sequence[str]) -> str:
    """What the verdicts are about: the paper's claims, or how the same tests read the same sentences on drawn data."""
    which = f"Preset {layout.preset}, {layout.which_seeds}"
    if not drawn:
        return f"{which}. Recalls and scores are compared on runs of the first seed, on the same images and questions."
    names = [f"{entry.label} for {entry.reference}" for entry in layout.backbones if entry.reference]
    who = f"{', '.join(names)} stand{'s' * (len(names) == 1)}" if names else "no backbone stands"
    return (
        f"{which}: {', '.join(drawn)} are drawn here, and {who} for the paper's backbones. The verdicts say that the "
        "machinery decides; about the paper's claims they say nothing."
    )


def table(claims: Sequence[Mapping[str, Any]]) -> str:
    """A line a claim, aligned, and the number of each verdict."""
    rows = [(claim["verdict"], claim["id"], claim["reason"]) for claim in claims]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [f"{verdict:{widths[0]}}  {name:{widths[1]}}  {reason}" for verdict, name, reason in rows]
    counts = [f"{sum(row[0] == verdict for row in rows)} {verdict}" for verdict in VERDICTS]
    return "\n".join([*lines, "", f"{len(rows)} claims: {', '.join(counts)}"])
