"""Metrics files with the ranks or answers beside them that they were made from, as they are stored and checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from slq.common.errors import SlqError
from slq.common.files import read_json, read_lines, sha256
from slq.common.inherited import equals, follow
from slq.evaluation.rank_table import DIRECTIONS, RANKS, Variant
from slq.evaluation.retention_metrics import SCHEMA, Lines, Verdicts, judge, questions_hash, score_answers
from slq.evaluation.retrieval_metrics import NAMES, gallery_hash
from slq.evaluation.retrieval_metrics import SCHEMA as RETRIEVAL_SCHEMA
from slq.evaluation.scorers import scorers_for

RETRIEVAL = "retrieval"  # of a run: where ranks lie
FOLDERS = ("retention", "blind")  # where answers lie
RANKED, ANSWERS, DISAGREEMENTS = ".ranks.parquet", ".answers.jsonl", ".disagreements.jsonl"
TYPES: dict[str, type] = {"id": str, "question": str, "options": list, "answers": list, "type": str}
TYPES |= {"prompt": str, "answer": str, "tokens": int, "ended": bool}


def beside(metrics: Path, ending: str) -> Path:
    """The file of a metrics file's set that ends so."""
    return metrics.with_name(metrics.stem + ending)


def metrics_files(folder: Path, folders: Sequence[str], ending: str, make: str) -> list[Path]:
    """The metrics files under a folder, each with the ranks or answers beside it that it was made from, or by proof.

    Args:
        folders: names of those that hold them; ending: of the other files; make: what makes them anew, for messages

    Raises:
        SlqError: one of a pair is missing, or one stands beside a proof.
    """
    metrics = {path for path in folder.rglob("*.json") if path.parent.name in folders}
    others = set(folder.rglob(f"*{ending}"))
    for path in sorted(metrics):
        if beside(path, ending) not in others and not is_proof(path):
            raise SlqError(f"{beside(path, ending)}: does not exist, beside {path.name}; {make}")
    for path in sorted(others):
        expected = path.with_name(path.name.removesuffix(ending) + ".json")
        if expected not in metrics:
            raise SlqError(f"{expected}: does not exist, beside {path.name}; {make}")
        if is_proof(expected):
            raise SlqError(f"{path}: answers beside {expected.name}, which refers to another run's; delete them")
    return sorted(metrics)


def is_proof(path: Path) -> bool:
    """A metrics file holds no numbers, but says whose are its."""
    content = read_json(path)
    return isinstance(content, dict) and equals(path, content) is not None


def read_metrics(path: Path, schema: int, make: str) -> dict[str, Any]:
    """The content of a metrics file of this version; `make`: what makes it anew, for the message."""
    stored = read_json(path)
    if not isinstance(stored, dict) or stored.get("schema") != schema:
        raise SlqError(f"{path}: expected a metrics file of schema {schema}; {make}")
    return stored


# ---- ranks ----


def read_ranked(path: Path) -> tuple[dict[str, Any], list[Variant], pd.DataFrame]:
    """A metrics file of recalls, the variants that it counts, and its table of ranks with the column `variant`.

    Raises:
        SlqError: it is of another version or incomplete, or the ranks are not those that it was made from.
    """
    stored = read_metrics(path, RETRIEVAL_SCHEMA, "retrieve again")
    try:
        variants = [Variant(name, **part["counted"]) for name, part in parts_of(stored).items()]
        return stored, variants, read_ranks(path, stored)
    except (KeyError, TypeError) as error:
        raise SlqError(f"{path}: key {error} is missing; retrieve again") from error


def parts_of(stored: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a metrics file says of each variant, the printed one first."""
    return {stored["variant"]: stored, **stored["variants"]}


def read_ranks(path: Path, stored: dict[str, Any]) -> pd.DataFrame:
    """The table of ranks behind a metrics file, with the column `variant`; `stored` is the file's content.

    Raises:
        SlqError: it cannot be read, is of another set or gallery, an id stands twice, or one is missing.
    """
    source = beside(path, RANKED)
    try:
        table = pd.read_parquet(source)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise SlqError(f"{source}: cannot be read: {error}; retrieve again") from error
    for column in (*NAMES, *RANKS):
        if column not in table:
            raise SlqError(f"{source}: no column '{column}'; retrieve again")
    for name, part in parts_of(stored).items():
        check_variant(source, table[table["variant"] == name], name, part["n"])
    if gallery_hash(table) != stored["inputs"]["gallery"]:
        raise SlqError(
            f"{source}: its queries and images are not those that {path.name} was made from (inputs.gallery): ranks "
            "for another gallery; retrieve again"
        )
    return table


def check_variant(source: Path, table: pd.DataFrame, variant: str, expected: dict[str, int]) -> None:
    """Raise SlqError unless a variant's ranks are whole: as many as expected, each id once, none beyond its gallery."""
    for direction in DIRECTIONS:
        rows = table[table["direction"] == direction]
        wanted = expected["images" if direction == "i2t" else "captions"]
        if len(rows) != wanted:
            raise SlqError(
                f"{source}: holds {len(rows)} {direction} ranks of variant '{variant}', and the set has {wanted} "
                "queries; retrieve again"
            )
        twice = rows.loc[rows["query"].duplicated(), "query"]
        if len(twice):
            raise SlqError(
                f"{source}: {len(twice)} {direction} queries occur more than once (first: {twice.iloc[0]!r}); "
                "retrieve again"
            )
        ranks, size = rows[list(RANKS)], expected["images" if direction == "t2i" else "captions"]
        outside = rows.loc[~((ranks >= 1) & (ranks <= size)).all(axis=1), "query"]
        if len(outside):
            raise SlqError(
                f"{source}: the {direction} rank of {outside.iloc[0]!r} is not within 1 and {size}, the size of the "
                "set's gallery; retrieve again"
            )


# ---- answers ----


@dataclass(frozen=True)
class Answers:
    """A metrics file and the answered items that it was made from, which lie at `path`."""

    path: Path
    metrics: dict[str, Any]
    items: Lines

    def verdicts(self) -> Verdicts:
        """Of every scorer that applies, by its name, each in the order of the items."""
        return judge(self.metrics["benchmark"], self.metrics["scorer"], self.items)

    def scored(self) -> tuple[dict[str, Any], Lines]:
        """What the answers give now, and the items on which scorers differ."""
        disputed = [item["id"] for item in self.metrics.get("disputed", {}).get("items", [])]
        return score_answers(self.metrics["benchmark"], self.metrics["scorer"], self.items, disputed)


def read_answers(path: Path) -> Answers:
    """A metrics file and its answered items; of a proof those that it refers to.

    Raises:
        SlqError: a file is missing, of an older version or incomplete, its scorer is none of this version's, or the
            answers are of other questions.
    """
    make = "answer the set again"
    stored = read_metrics(path, SCHEMA, make)
    proof = None
    if equals(path, stored):
        proof, (path, _) = stored, follow(path, stored)
        stored = read_metrics(path, SCHEMA, make)
    try:
        benchmark, scorer, _ = stored["benchmark"], stored["scorer"], stored["scores"]
        count, asked = stored["n"]["items"], stored["inputs"]["questions"]
        scorers_for(benchmark, scorer)
    except (KeyError, TypeError) as error:
        raise SlqError(f"{path}: key {error} is missing; {make}") from error
    except SlqError as error:
        raise SlqError(f"{path}: {error}") from error
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
