"""Stored answers scored again, and ranks counted again, without set, model or GPU, beside what is stored with them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.evaluation.disputed import again
from slq.evaluation.rescored_ranks import ENDING as RANKS
from slq.evaluation.rescored_ranks import FOLDER as RANKED
from slq.evaluation.rescored_ranks import RecountedRanks, ranked_files, recount
from slq.evaluation.scorers import REPLACED
from slq.evaluation.scores import SCHEMA, Lines, Verdicts, judge, questions_hash, score_answers
from slq.files import read_json, read_lines, sha256, write_json, write_lines
from slq.proofs import equals, follow

FOLDERS = ("retention", "blind")  # of a run: where answers lie
ANSWERS, DISAGREEMENTS = ".answers.jsonl", ".disagreements.jsonl"
TYPES: dict[str, type] = {"id": str, "question": str, "options": list, "answers": list, "type": str}
TYPES |= {"prompt": str, "answer": str, "tokens": int, "ended": bool}


@dataclass(frozen=True)
class Answers:
    """A metrics file and the answered items that it was made from, which lie at `path`."""

    path: Path
    metrics: dict[str, Any]
    items: Lines

    def verdicts(self) -> Verdicts:
        """Of every scorer that applies, by its name, each in the order of the items.

        Raises:
            SlqError: the metrics are by a scorer that is none of this version's.
        """
        try:
            return judge(self.metrics["benchmark"], self.metrics["scorer"], self.items)
        except SlqError as error:
            raise SlqError(f"{self.path}: {error}") from error


@dataclass(frozen=True)
class Rescored:
    """A metrics file: what it says, what it would say now, and the items on which scorers differ, then and now.

    sha256: of the answers
    """

    of = "answers"
    path: Path
    stored: dict[str, Any]
    now: dict[str, Any]
    differing: tuple[list[dict[str, Any]], list[dict[str, Any]]]
    sha256: str

    @property
    def changed(self) -> list[str]:
        """The keys that the answers no longer give, their own hash among them, and the file of disagreements."""
        keys = [key for key in sorted(self.now) if self.stored.get(key) != self.now[key]]
        keys += ["inputs.answers"] * (self.hashed and self.stored["inputs"]["answers"] != self.sha256)
        then, now = self.differing
        return keys if then == now else [*keys, "the disagreements file"]

    @property
    def hashed(self) -> bool:
        """Whether the file says which answers it was made from; those of earlier versions do not."""
        return "answers" in self.stored["inputs"]

    def lines(self) -> Iterator[tuple[str, str, str, str]]:
        """Per scorer: file, name (the printed one with a star), stored score and score now."""
        for name in sorted({**self.stored["scores"], **self.now["scores"]}):
            star = "*" if name == self.now["scorer"] else ""
            then, now = (shown(content["scores"].get(name)) for content in (self.stored, self.now))
            yield str(self.path), name + star, then, now

    def write(self) -> None:
        """Put what the answers give now in place of what is stored."""
        write_lines(beside(self.path, DISAGREEMENTS), self.differing[1])
        write_json(self.path, self.stored | self.now | {"inputs": self.stored["inputs"] | {"answers": self.sha256}})


def shown(score: float | None) -> str:
    """A score of a table; a dash where there is none."""
    return "-" if score is None else f"{score:.2f}"


def beside(metrics: Path, ending: str) -> Path:
    """The file of a metrics file's set that ends so."""
    return metrics.with_name(metrics.stem + ending)


def score_tree(folder: Path, write: bool) -> None:
    """Print, for every metrics file of ranks or answers under a folder, the numbers stored and the numbers now.

    Of a file that says by proof that its numbers are another's, which.

    Raises:
        SlqError: they differ, and `write` does not ask for the new ones to be written; or a file cannot be used.
    """
    paths = metrics_files(folder)
    proved = {path: read_answers(path).path for path in paths if is_proof(path)}
    found: list[RecountedRanks | Rescored] = [recount(path) for path in ranked_files(folder)]
    found += [rescore(path) for path in paths if path not in proved]
    if not found and not proved:
        raise SlqError(
            f"{folder}: holds no {FOLDERS[0]}/<set>{ANSWERS} and no {RANKED}/<set>{RANKS}; "
            "expected a folder of results/, e.g. results/mini"
        )
    rows = [
        ("file", "variant or scorer (* printed)", "stored", "now"),
        *(line for one in found for line in lines_of(one)),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for file, name, then, now in rows:
        print(f"{file:{widths[0]}}  {name:{widths[1]}}  {then:>{widths[2]}}  {now:>{widths[3]}}".rstrip())
    for path, answers in proved.items():
        print(f"{path}  = by proof those of {answers}")
    changed = [one for one in found if one.changed]
    for one in changed:
        print(f"{one.path}: {'written anew' if write else f'not what its {one.of} give now'}: {', '.join(one.changed)}")
        if write:
            one.write()
    for one in found:
        if not one.hashed:
            adds = "written" if write else "--write adds it"
            print(f"{one.path}: not checkable: no hash of its {one.of} (inputs.{one.of}); {adds}", file=sys.stderr)
            if write:
                one.write()
    if changed and not write:
        raise SlqError(
            f"{folder}: {len(changed)} of {len(found)} metrics files are not what their ranks or answers give now: a "
            "scorer or a file has changed; --write writes them anew"
        )


def lines_of(found: RecountedRanks | Rescored) -> list[tuple[str, str, str, str]]:
    """Its lines.

    Raises:
        SlqError: what is stored are no numbers by name.
    """
    try:
        return list(found.lines())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
        raise SlqError(f"{found.path}: expected numbers by name, found others ({said}); make the file again") from error


def metrics_files(folder: Path) -> list[Path]:
    """The metrics files of answers under a folder, each with its answers beside it.

    Raises:
        SlqError: one of a pair is missing.
    """
    metrics = {path for path in folder.rglob("*.json") if path.parent.name in FOLDERS}
    answers = set(folder.rglob(f"*{ANSWERS}"))
    for path in sorted(metrics):
        if beside(path, ANSWERS) not in answers and not is_proof(path):
            raise SlqError(f"{beside(path, ANSWERS)}: does not exist, beside {path.name}; answer the set again")
    for path in sorted(answers):
        expected = path.with_name(path.name.removesuffix(ANSWERS) + ".json")
        if expected not in metrics:
            raise SlqError(f"{expected}: does not exist, beside {path.name}; answer the set again")
        if is_proof(expected):
            raise SlqError(f"{path}: answers beside {expected.name}, which refers to another run's; delete them")
    return sorted(metrics)


def is_proof(path: Path) -> bool:
    """A metrics file holds no numbers, but says whose are its."""
    content = read_json(path)
    return isinstance(content, dict) and equals(path, content) is not None


def rescore(path: Path) -> Rescored:
    """A metrics file beside what its answers give now, by the scorer that it names or that has taken its place.

    Raises:
        SlqError: the answers are not those that it was made from, or its scorer is none of this version's.
    """
    answers = read_answers(path)
    now, differing = score_anew(path, answers)
    told = read_lines(beside(path, DISAGREEMENTS))
    return Rescored(path, answers.metrics, now, (told, differing), sha256(answers.path))


def score_anew(path: Path, answers: Answers) -> tuple[dict[str, Any], Lines]:
    """Score the answers of the metrics file at `path` again, an older scorer's by the one that has taken its place.

    Returns:
        What they give now, and the items on which scorers differ.

    Raises:
        SlqError: the scorer is none that was ever here.
    """
    stored = answers.metrics
    try:
        printed = REPLACED.get(stored["scorer"], stored["scorer"])
        now, differing = score_answers(stored["benchmark"], printed, answers.items)
    except SlqError as error:
        raise SlqError(f"{path}: {error}") from error
    return now | again(stored, now, answers.items), differing


def read_answers(path: Path) -> Answers:
    """A metrics file and its answered items; of a proof those that it refers to.

    Raises:
        SlqError: a file is missing, of an older version or incomplete, or the answers are of other questions.
    """
    stored = read_metrics(path)
    proof = None
    if equals(path, stored):
        proof, (path, _) = stored, follow(path, stored)
        stored = read_metrics(path)
    try:
        _, _, _ = stored["benchmark"], stored["scorer"], stored["scores"]
        count, asked = stored["n"]["items"], stored["inputs"]["questions"]
    except (KeyError, TypeError) as error:
        raise SlqError(f"{path}: key {error} is missing; answer the set again") from error
    place = beside(path, ANSWERS)
    answered = read_items(place, count)
    if questions_hash(answered) != asked:
        raise SlqError(
            f"{place}: its questions are not those that {path.name} was made from (inputs.questions): "
            "answers of another version of the set; answer it again"
        )
    if proof and proof["inputs"].get("answers") != sha256(place):
        raise SlqError(f"{place}: not the answers that were proved equal; prove {path.stem} again")
    return Answers(place, stored, answered)


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of a metrics file of this version."""
    stored = read_json(path)
    if not isinstance(stored, dict) or stored.get("schema") != SCHEMA:
        raise SlqError(f"{path}: expected a metrics file of schema {SCHEMA}; answer the set again")
    return stored


def read_items(path: Path, count: int) -> Lines:
    """The lines of an answers file.

    Raises:
        SlqError: a field is missing or of another type, an id stands twice, or there are not `count` lines.
    """
    answered = read_lines(path)
    seen: set[str] = set()
    for number, line in enumerate(answered, start=1):
        for field, type_ in TYPES.items():
            if not isinstance(line.get(field), type_):
                raise SlqError(f"{path}:{number}: '{field}' must be a {type_.__name__}, found {line.get(field)!r}")
        if line["id"] in seen:
            raise SlqError(f"{path}:{number}: id {line['id']!r} stands twice; answer the set again")
        seen.add(line["id"])
    if len(answered) != count:
        raise SlqError(f"{path}: holds {len(answered)} answers, and the set has {count} items; answer it again")
    return answered
