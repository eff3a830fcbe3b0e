"""What answers are worth: the content of a retention set's metrics file, from its answers alone.

An answered item is a line of an answers file (docs/results.md): what was asked, what is accepted, and the raw answer.
Nothing here needs the set, a model or torch.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import digest
from slq.evaluation.reply import ASKED
from slq.evaluation.scorers import Item, expected_guess, scorers_for
from slq.evaluation.text_scorers import Verdict, plain

SCHEMA = 3  # of a retention metrics file
COUNTED = ("ocrbench",)  # benchmarks whose score is a number of hits
GUESSER = "mmmu-official-1"  # its original draws an option where it reads none, and so do published scores
Verdicts = dict[str, list[Verdict]]
Lines = list[dict[str, Any]]


def questions_hash(answered: Sequence[Item]) -> str:
    """Identity of what was asked and what is accepted, in order."""
    return digest([[item[field] for field in ASKED] for item in answered])


def judge(benchmark: str, printed: str, answered: Sequence[Item]) -> Verdicts:
    """The verdicts of every scorer that applies to a benchmark, by its name, each in the order of the items.

    Raises:
        SlqError: no scorer applies to the benchmark, or the printed one does not.
    """
    scorers = scorers_for(benchmark, printed)
    return {scorer.name: [scorer(item, item["answer"]) for item in answered] for scorer in scorers}


def score_answers(
    benchmark: str, printed: str, answered: Sequence[Item], disputed: Collection[str] = ()
) -> tuple[dict[str, Any], Lines]:
    """Every number of a metrics file that answers decide, and the items on which scorers differ.

    Args:
        benchmark: what the set is scored as; every scorer that applies to it reads the answers.
        printed: the scorer whose score the tables print.
        disputed: ids of items whose accepted answers were disputed: the score is also given for either answer.

    Raises:
        SlqError: no scorer applies to the benchmark, or the printed one does not.
    """
    verdicts = judge(benchmark, printed, answered)
    hits = {name: [verdict.hit for verdict in given] for name, given in verdicts.items()}
    chances = chance_of_each(answered)
    scores = {name: float(sum(found)) if benchmark in COUNTED else percent(found) for name, found in hits.items()}
    differing = disagreements(answered, verdicts)
    content = {
        "benchmark": benchmark,
        "scorer": printed,
        "metrics": {"score": scores[printed], "accuracy": percent(hits[printed])},
        "scores": scores,
        "chance": sum(chances) / len(chances),
        "types": by_type(answered, hits[printed], chances),
        "random_guess": gained_by_guessing(answered, verdicts[GUESSER]) if GUESSER in verdicts else None,
        "disagreements": len(differing),
        "truncated": sum(not item["ended"] for item in answered),
        "n": {"items": len(answered)},
    }
    if disputed:
        unit = 1.0 if benchmark in COUNTED else 100.0 / len(answered)
        content["disputed"] = either_answer(answered, hits[printed], disputed, unit)
    return content, differing


def either_answer(
    answered: Sequence[Item], hits: Sequence[bool], disputed: Collection[str], unit: float
) -> dict[str, Any]:
    """Each disputed item as it is scored, and the score if all of them were missed, and if all were hit.

    Args:
        unit: what a hit adds to the score.
    """
    apart = [(item, hit) for item, hit in zip(answered, hits, strict=True) if item["id"] in disputed]
    sure = sum(hits) - sum(hit for _, hit in apart)
    items = [{"id": item["id"], "reply": item["answer"], "answers": item["answers"], "hit": hit} for item, hit in apart]
    return {"items": items, "missed": unit * sure, "hit": unit * (sure + len(apart))}


def require_disputed(entry: Mapping[str, Any], items: Sequence[Item]) -> None:
    """Raise SlqError if a set has no item of an id that config.yaml calls disputed; before anything is asked."""
    ids = {item["id"] for item in items}
    for one in entry.get("disputed", []):
        if one not in ids:
            raise SlqError(
                f"config: sets.{entry['name']}.disputed has '{one}', and the set's test split has no such item; "
                f"its ids are like '{items[0]['id']}'"
            )


def percent(hits: Sequence[bool]) -> float:
    """The share of hits."""
    return 100.0 * sum(hits) / len(hits)


def by_type(items: Sequence[Item], hits: Sequence[bool], chances: Sequence[float]) -> dict[str, dict[str, float]]:
    """Of each type: the number of items, the share of hits and the chance, both in percent."""
    places = defaultdict(list)
    for place, item in enumerate(items):
        places[item["type"]].append(place)
    return {
        type_: {
            "n": len(own),
            "score": percent([hits[place] for place in own]),
            "chance": sum(chances[place] for place in own) / len(own),
        }
        for type_, own in places.items()
    }


def chance_of_each(items: Sequence[Item]) -> list[float]:
    """Of each item the best guess that sees neither picture nor question, in percent.

    Multiple choice: any option. Open: the answer that most open items of its type accept, by their share.
    """
    accepted: dict[str, Counter[str]] = defaultdict(Counter)
    opened: Counter[str] = Counter()
    for item in items:
        if not item["options"]:
            opened[item["type"]] += 1
            accepted[item["type"]].update({plain(answer) for answer in item["answers"]})
    shares = {type_: max(accepted[type_].values(), default=0) / count for type_, count in opened.items()}
    return [100.0 * (expected_guess(item) if item["options"] else shares[item["type"]]) for item in items]


def gained_by_guessing(items: Sequence[Item], verdicts: Sequence[Verdict]) -> float:
    """What a random option for every unparsed reply would add on average, in points of percent."""
    unparsed = [item for item, verdict in zip(items, verdicts, strict=True) if verdict.parsed is None]
    return 100.0 * sum(expected_guess(item) for item in unparsed) / len(items)


def disagreements(answered: Sequence[Item], verdicts: Verdicts) -> Lines:
    """The items on which scorers differ about the hit: id, reply, and each scorer's verdict by its name."""
    found = []
    for place, item in enumerate(answered):
        given = {name: of_all[place] for name, of_all in verdicts.items()}
        if len({verdict.hit for verdict in given.values()}) > 1:
            written = {name: asdict(verdict) for name, verdict in given.items()}
            found.append({"id": item["id"], "reply": item["answer"], "verdicts": written})
    return found
