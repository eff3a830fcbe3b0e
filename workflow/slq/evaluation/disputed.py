"""Items whose accepted answers were disputed: counted apart, and the score if each was missed, and if each was hit."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.evaluation.scores import COUNTED, judge
from slq.files import read_json, write_json

Lines = Sequence[dict[str, Any]]


def require_disputed(entry: Mapping[str, Any], items: Lines) -> None:
    """Raise SlqError if a set has no item of an id that config.yaml calls disputed; before anything is asked."""
    ids = {item["id"] for item in items}
    for one in entry.get("disputed", []):
        if one not in ids:
            raise SlqError(
                f"config: sets.{entry['name']}.disputed has '{one}', and the set's test split has no such item; "
                f"its ids are like '{items[0]['id']}'"
            )


def set_apart(path: Path, entry: Mapping[str, Any], origin: Sequence[Mapping[str, str]], answered: Lines) -> None:
    """Add to a metrics file where its set was fetched from, if it was, and the score for either disputed answer."""
    content = read_json(path)
    content |= {"origin": list(origin)} if origin else {}
    write_json(path, content | either_answer(content, entry.get("disputed", []), answered))


def again(stored: Mapping[str, Any], now: Mapping[str, Any], answered: Lines) -> dict[str, Any]:
    """Score the disputed items of a stored metrics file again, by the scorer that prints now; nothing without any."""
    return either_answer(now, [item["id"] for item in stored.get("disputed", {}).get("items", [])], answered)


def either_answer(content: Mapping[str, Any], ids: Iterable[str], answered: Lines) -> dict[str, Any]:
    """Make the part `disputed` of a metrics file: each item as it is scored, and the score between its two bounds.

    Args:
        content: of the file, its `benchmark` and the `scorer` that prints.
        ids: of the disputed items; without any there is no such part.
    """
    apart = set(ids)
    if not apart:
        return {}
    verdicts = judge(content["benchmark"], content["scorer"], answered)[content["scorer"]]
    hits = {line["id"]: verdict.hit for line, verdict in zip(answered, verdicts, strict=True)}
    sure = sum(hit for name, hit in hits.items() if name not in apart)
    unit = 1.0 if content["benchmark"] in COUNTED else 100.0 / len(hits)
    items = [
        {"id": line["id"], "reply": line["answer"], "answers": line["answers"], "hit": hits[line["id"]]}
        for line in answered
        if line["id"] in apart
    ]
    return {"disputed": {"items": items, "missed": unit * sure, "hit": unit * (sure + len(apart))}}
