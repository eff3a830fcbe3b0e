"""Metrics of a retention dataset, computed from its stored answers only.

An answered item is a line of an answers file (docs/results.md): the question, the accepted answers, and the raw reply.
This module needs neither the dataset nor a model nor torch.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_json
from slq.evaluation.answer_matching import Judgement, normalise_text
from slq.evaluation.reply import ITEM_FIELDS
from slq.evaluation.scorers import Item, find_scorers, guess_probability

SCHEMA = 4  # of a retention metrics file
HIT_COUNT_BENCHMARKS = ("ocrbench",)  # benchmarks whose score is a number of hits
GUESSING_SCORER = "mmmu-official-1"  # its original, used for published scores, guesses if it cannot parse an option
JudgementsByScorer = dict[str, list[Judgement]]
JsonLines = list[dict[str, Any]]


def questions_hash(answered_items: Sequence[Item]) -> str:
    """Hash the questions and accepted answers of items, in the given order."""
    return hash_json([[item[field] for field in ITEM_FIELDS] for item in answered_items])


def judge_with_all_scorers(benchmark: str, primary_scorer: str, answered_items: Sequence[Item]) -> JudgementsByScorer:
    """Judge answers with every scorer that applies to a benchmark.

    Returns:
        the judgements by scorer name, each in the order of the items.
    """
    scorers = find_scorers(benchmark, primary_scorer)
    return {scorer.name: [scorer(item, item["answer"]) for item in answered_items] for scorer in scorers}


def score_answers(
    benchmark: str, primary_scorer: str, answered_items: Sequence[Item], disputed_ids: Collection[str] = ()
) -> tuple[dict[str, Any], JsonLines]:
    """Compute the part of a metrics file that answers determine, and the items on which scorers disagree.

    Args:
        benchmark: benchmark that the dataset is scored as; all scorers that apply to it judge the answers.
        primary_scorer: name of the scorer whose score the tables print; it must apply to the benchmark.
        disputed_ids: ids of items whose ground truth is disputed. Bounds on the score are added: all of them wrong, and
            all of them correct.
    """
    judgements = judge_with_all_scorers(benchmark, primary_scorer, answered_items)
    hits = {name: [verdict.is_correct for verdict in given] for name, given in judgements.items()}
    chances = compute_chance_levels(answered_items)
    scores = {
        name: float(sum(found)) if benchmark in HIT_COUNT_BENCHMARKS else percent_correct(found)
        for name, found in hits.items()
    }
    disagreements = find_disagreements(answered_items, judgements)
    content = {
        "benchmark": benchmark,
        "scorer": primary_scorer,
        "metrics": {"score": scores[primary_scorer], "accuracy": percent_correct(hits[primary_scorer])},
        "scores": scores,
        "chance": sum(chances) / len(chances),
        "types": scores_by_type(answered_items, hits[primary_scorer], chances),
        "random_guess": random_guess_gain(answered_items, judgements[GUESSING_SCORER])
        if GUESSING_SCORER in judgements
        else None,
        "disagreements": len(disagreements),
        "truncated": sum(not item["ended"] for item in answered_items),
        "n": {"items": len(answered_items)},
    }
    if disputed_ids:
        hit_value = 1.0 if benchmark in HIT_COUNT_BENCHMARKS else 100.0 / len(answered_items)
        content["disputed"] = score_disputed_items(answered_items, hits[primary_scorer], disputed_ids, hit_value)
    return content, disagreements


def score_disputed_items(
    answered_items: Sequence[Item], hits: Sequence[bool], disputed_ids: Collection[str], hit_value: float
) -> dict[str, Any]:
    """List the disputed items with their judgements; compute the score if all were wrong and if all were correct.

    Args:
        hit_value: contribution of one hit to the score.
    """
    disputed_items = [(item, hit) for item, hit in zip(answered_items, hits, strict=True) if item["id"] in disputed_ids]
    undisputed_hits = sum(hits) - sum(hit for _, hit in disputed_items)
    items = [
        {"id": item["id"], "reply": item["answer"], "answers": item["answers"], "is_correct": hit}
        for item, hit in disputed_items
    ]
    return {
        "items": items,
        "score_if_wrong": hit_value * undisputed_hits,
        "score_if_correct": hit_value * (undisputed_hits + len(disputed_items)),
    }


def require_disputed_items(entry: Mapping[str, Any], items: Sequence[Item]) -> None:
    """Check, before any generation, that the dataset has every item that config.yaml lists as disputed."""
    ids = {item["id"] for item in items}
    for disputed_id in entry.get("disputed", []):
        if disputed_id not in ids:
            raise SlqError(
                f"config: datasets.{entry['name']}.disputed lists '{disputed_id}', but the dataset's test split has no "
                f"such item; its ids look like '{items[0]['id']}'"
            )


def percent_correct(hits: Sequence[bool]) -> float:
    """Compute the percentage of hits."""
    return 100.0 * sum(hits) / len(hits)


def scores_by_type(
    items: Sequence[Item], hits: Sequence[bool], chances: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Compute, for each type of item, the number of items, the percentage of hits, and the chance level in percent."""
    indices_by_type = defaultdict(list)
    for index, item in enumerate(items):
        indices_by_type[item["type"]].append(index)
    return {
        type_: {
            "n": len(own),
            "score": percent_correct([hits[place] for place in own]),
            "chance": sum(chances[place] for place in own) / len(own),
        }
        for type_, own in indices_by_type.items()
    }


def compute_chance_levels(items: Sequence[Item]) -> list[float]:
    """Compute the chance level of each item in percent: the expected accuracy of a guess without image and question.

    For a multiple-choice question, the guess is a random option. For an open question, it is the most frequent accepted
    answer among the open questions of the same type, and the chance level is this answer's frequency.
    """
    accepted: dict[str, Counter[str]] = defaultdict(Counter)
    num_open: Counter[str] = Counter()
    for item in items:
        if not item["options"]:
            num_open[item["type"]] += 1
            accepted[item["type"]].update({normalise_text(answer) for answer in item["answers"]})
    shares = {type_: max(accepted[type_].values(), default=0) / count for type_, count in num_open.items()}
    return [100.0 * (guess_probability(item) if item["options"] else shares[item["type"]]) for item in items]


def random_guess_gain(items: Sequence[Item], judgements: Sequence[Judgement]) -> float:
    """Compute the expected gain, in percentage points, if every unparsed reply were replaced by a random option."""
    unparsed = [item for item, verdict in zip(items, judgements, strict=True) if verdict.parsed is None]
    return 100.0 * sum(guess_probability(item) for item in unparsed) / len(items)


def find_disagreements(answered_items: Sequence[Item], judgements: JudgementsByScorer) -> JsonLines:
    """Find the items that some scorers judge correct and others wrong: id, reply, and judgements by scorer name."""
    found = []
    for index, item in enumerate(answered_items):
        by_scorer = {name: of_all[index] for name, of_all in judgements.items()}
        if len({verdict.is_correct for verdict in by_scorer.values()}) > 1:
            written = {name: asdict(verdict) for name, verdict in by_scorer.items()}
            found.append({"id": item["id"], "reply": item["answer"], "judgements": written})
    return found
