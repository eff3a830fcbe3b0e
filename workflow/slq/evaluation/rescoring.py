"""Stored answers scored again, and ranks counted again, without set, model or GPU, beside what is stored with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_lines, sha256, write_json, write_lines
from slq.evaluation.rank_table import DIRECTIONS
from slq.evaluation.ranks import KS
from slq.evaluation.retention_metrics import Lines
from slq.evaluation.retrieval_metrics import retrieval_metrics
from slq.evaluation.stored_metrics import (
    ANSWERS,
    DISAGREEMENTS,
    FOLDERS,
    RANKED,
    RETRIEVAL,
    beside,
    is_proof,
    metrics_files,
    parts_of,
    read_answers,
    read_ranked,
)

HEAD = ("file", "variant or scorer (* printed)", "stored", "now")


@dataclass(frozen=True)
class Rescored:
    """A metrics file: what it says, and what its ranks or answers give now.

    made_of: `ranks` or `answers`; sha256: of their file
    differing: the items on which scorers differ, then and now; ranks have none
    """

    made_of: str
    path: Path
    stored: dict[str, Any]
    now: dict[str, Any]
    sha256: str
    differing: tuple[Lines, Lines] | None = None

    @property
    def changed(self) -> list[str]:
        """The keys that are not given now, the hash of ranks or answers among them, and the file of disagreements."""
        keys = [key for key in sorted(self.now) if self.stored.get(key) != self.now[key]]
        keys += [f"inputs.{self.made_of}"] * (self.stored["inputs"].get(self.made_of) != self.sha256)
        return keys + ["the disagreements file"] * bool(self.differing and self.differing[0] != self.differing[1])

    def lines(self) -> list[tuple[str, str, str, str]]:
        """File, name (the printed one's with a star), number stored and now: of each variant's direction, or scorer.

        Raises:
            SlqError: what is stored are no numbers by name.
        """
        numbers = recalls_by_name if self.made_of == "ranks" else scores_by_name
        try:
            then, now = (numbers(content, self.now) for content in (self.stored, self.now))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            said = f"{type(error).__name__}: {error}"
            raise SlqError(
                f"{self.path}: expected numbers by name, found others ({said}); make the file again"
            ) from error
        return [(str(self.path), name, then.get(name, "-"), now.get(name, "-")) for name in {**then, **now}]

    def write(self) -> None:
        """Put what is given now in place of what is stored."""
        if self.differing:
            write_lines(beside(self.path, DISAGREEMENTS), self.differing[1])
        inputs = self.stored["inputs"] | {self.made_of: self.sha256}
        write_json(self.path, self.stored | self.now | {"inputs": inputs})


def recalls_by_name(content: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """R@1, R@5 and R@10 of every variant and direction of a metrics file; `now` says which variant is printed."""
    found = {}
    for name, part in parts_of(content).items():
        star = "*" if name == now["variant"] else ""
        for direction in DIRECTIONS:
            if recalls := part["metrics"].get(direction):
                shown = " ".join(f"{recalls[f'R@{k}']:.2f}" for k in KS)
                found[f"{name}{star} {direction} R@1 R@5 R@10"] = shown
    return found


def scores_by_name(content: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """The score of every scorer of a metrics file; `now` says which is printed."""
    return {name + "*" * (name == now["scorer"]): f"{score:.2f}" for name, score in sorted(content["scores"].items())}


def score_tree(folder: Path, write: bool) -> None:
    """Print, for every metrics file of ranks or answers under a folder, the numbers stored and the numbers now.

    Of a file that says by proof that its numbers are another's, which.

    Raises:
        SlqError: they differ, and `write` does not ask for the new ones to be written; or a file cannot be used.
    """
    answered = metrics_files(folder, FOLDERS, ANSWERS, "answer the set again")
    proved = {path: read_answers(path).path for path in answered if is_proof(path)}
    found = [recount(path) for path in metrics_files(folder, (RETRIEVAL,), RANKED, "retrieve again")]
    found += [rescore(path) for path in answered if path not in proved]
    if not found and not proved:
        raise SlqError(
            f"{folder}: holds no {FOLDERS[0]}/<set>{ANSWERS} and no {RETRIEVAL}/<set>{RANKED}; "
            "expected a folder of results/, e.g. results/mini"
        )
    rows = [HEAD, *(line for one in found for line in one.lines())]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for file, name, then, now in rows:
        print(f"{file:{widths[0]}}  {name:{widths[1]}}  {then:>{widths[2]}}  {now:>{widths[3]}}".rstrip())
    for path, answers in proved.items():
        print(f"{path}  = by proof those of {answers}")
    changed = [one for one in found if one.changed]
    for one in changed:
        said = "written anew" if write else f"not what its {one.made_of} give now"
        print(f"{one.path}: {said}: {', '.join(one.changed)}")
        if write:
            one.write()
    if changed and not write:
        raise SlqError(
            f"{folder}: {len(changed)} of {len(found)} metrics files are not what their ranks or answers give now: a "
            "scorer or a file has changed; --write writes them anew"
        )


def recount(path: Path) -> Rescored:
    """A metrics file of recalls beside what its ranks give now.

    Raises:
        SlqError: the ranks are not those that it was made from.
    """
    stored, variants, table = read_ranked(path)
    now = retrieval_metrics(table, variants, stored["variant"])
    return Rescored("ranks", path, stored, now, sha256(beside(path, RANKED)))


def rescore(path: Path) -> Rescored:
    """A metrics file of scores beside what its answers give now.

    Raises:
        SlqError: the answers are not those that it was made from, or its scorer is none of this version's.
    """
    answers = read_answers(path)
    now, differing = answers.scored()
    told = read_lines(beside(path, DISAGREEMENTS))
    return Rescored("answers", path, answers.metrics, now, sha256(answers.path), (told, differing))
