"""Whether a metrics file still follows from the ranks or answers beside it: asked by everything that reads one.

It names the hash of what it was made from; where that is the same, its numbers are counted again. Intervals are not
drawn again, which would take seconds for a large set: `slq score` does.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json, sha256
from slq.common.inherited import equals
from slq.evaluation.retrieval_metrics import tally
from slq.evaluation.stored_metrics import (
    ANSWERS,
    FOLDERS,
    RANKED,
    RETRIEVAL,
    beside,
    parts_of,
    read_answers,
    read_ranked,
)

MEASURED = (RETRIEVAL, *FOLDERS)  # folders of metrics files
SCORED = ("benchmark", "scorer", "metrics", "chance", "types", "n", "disputed")  # what is printed of a file of answers
SAME = 1e-7  # points: numbers that are equal but for the order of their sums
KEPT = 4096  # files whose answer is remembered, while neither they nor what lies beside them change

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Followed:
    """What is known of a metrics file; either text goes behind the file's name.

    path: the file, of a proof perhaps that which it refers to
    stale: why its numbers are not what its ranks or answers give, "" where they are
    unchecked: why nothing is known of that, "" where it is
    """

    path: Path
    stale: str = ""
    unchecked: str = ""


def followed(path: Path, content: Mapping[str, Any]) -> Followed:
    """Whether the metrics file at `path` follows from what lies beside it; other files are not asked.

    Of a proof, whether the answers that it was proved for are still base's, and base's numbers follow from them.

    Raises:
        SlqError: the file has no hashes, or is incomplete.
    """
    if path.parent.name not in MEASURED:
        return Followed(path)
    if not isinstance(content.get("inputs", {}), Mapping):
        raise SlqError(f"{path}: key inputs is {content['inputs']!r}; expected hashes by name: make the file again")
    if adapter := _adapter_of_others(path, content):
        return Followed(path, f"is not of this run: it is of another adapter (inputs.adapter) than {adapter}")
    other = equals(path, content)
    if other is None:
        evidence = beside(path, RANKED if path.parent.name == RETRIEVAL else ANSWERS)
        return _followed(path, evidence, _stamp(path), _stamp(evidence))
    answers, proved = beside(other, ANSWERS), content.get("inputs", {}).get("answers")
    if proved and answers.is_file() and sha256(answers) != proved:
        return Followed(path, f"was proved for other answers than those in {_near(path, answers)} (inputs.answers)")
    if not other.is_file():
        return Followed(path)
    found = read_json(other)
    if equals(other, found) is not None:
        return Followed(path, f"says that its numbers are those of {_near(path, other)}, which has none (equals)")
    return followed(other, found)


def _adapter_of_others(path: Path, content: Mapping[str, Any]) -> str:
    """Files of the same run that another adapter is named by, where they are no fewer than those that name this one's.

    So a metrics file that was copied from another run with its ranks or answers is told from the run's own.
    """
    files = (other for kind in MEASURED for other in sorted(path.parents[1].glob(f"{kind}/*.json")))
    named = {other: adapter for other in files if (adapter := _adapter(other, _stamp(other)))}
    mine, count = content.get("inputs", {}).get("adapter"), Counter(named.values())
    others = [adapter for adapter in count if mine and adapter != mine and count[adapter] >= count[mine]]
    return ", ".join(_near(path, other) for other, adapter in named.items() if adapter in others)


@lru_cache(maxsize=KEPT)
def _adapter(path: Path, _metrics: Stamp) -> str | None:
    """The hash of the adapter that a metrics file names, if it names one."""
    content = read_json(path)
    inputs = content.get("inputs") if isinstance(content, dict) else None
    adapter = inputs.get("adapter") if isinstance(inputs, dict) else None
    return adapter if isinstance(adapter, str) else None


def _stamp(path: Path) -> Stamp:
    """What changes when a file is written anew."""
    if not path.is_file():
        return ()
    stat = path.stat()
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _near(path: Path, other: Path) -> str:
    """`other` from the folder of the preset on, whose results `path` is among."""
    return other.relative_to(path.parents[4]).as_posix()


@lru_cache(maxsize=KEPT)
def _followed(path: Path, evidence: Path, _metrics: Stamp, there: Stamp) -> Followed:
    of = "ranks" if path.parent.name == RETRIEVAL else "answers"
    if not there:
        return Followed(path, unchecked=f"has no {of} beside it")
    if read_json(path).get("inputs", {}).get(of) != sha256(evidence):
        apart = f"it was made from other {of} than {evidence.name}'s (inputs.{of})"
    else:
        apart = (_recounted if of == "ranks" else _rescored)(path)
    return Followed(path, f"is not what its ranks or answers give: {apart}; `slq score` shows both" if apart else "")


def _recounted(path: Path) -> str:
    """The first number of a retrieval metrics file that its ranks do not give."""
    stored, variants, table = read_ranked(path)
    if stored["variant"] in stored["variants"]:
        return f"variant is {stored['variant']}, which stands under variants too"
    for one in variants:
        now = tally(table[table["variant"] == one.name], one)
        where = "" if one.name == stored["variant"] else f"variants.{one.name}."
        if apart := _apart(parts_of(stored)[one.name], now, now, where):
            return apart
    return ""


def _rescored(path: Path) -> str:
    """The first printed number of a file of scores that its answers do not give."""
    answers = read_answers(path)
    return _apart(answers.metrics, answers.scored()[0], [key for key in SCORED if key in answers.metrics])


def _apart(stored: Any, now: Any, keys: Any, where: str = "") -> str:
    """The first of the keys under which two values differ, with both."""
    for key in keys:
        mine, its = stored.get(key), now.get(key)
        if isinstance(mine, dict) and isinstance(its, dict):
            if apart := _apart(mine, its, [*its, *(other for other in mine if other not in its)], f"{where}{key}."):
                return apart
        elif mine != its and not (_number(mine) and _number(its) and abs(mine - its) < SAME):
            return f"{where}{key} is {mine}, and they give {its}"
    return ""


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
