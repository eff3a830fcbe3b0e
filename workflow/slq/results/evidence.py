"""What intervals and tests are made of: the stored ranks of a run, and the verdicts on its stored answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slq.evaluation.stored_metrics import ANSWERS, beside, read_answers, read_ranks
from slq.results.cells import Cell
from slq.results.records import Record, Results, relative


@dataclass(frozen=True)
class Ranked:
    """The ranks of a run on a set, of the variant that tables print, and the file that they lie in."""

    table: pd.DataFrame
    source: str


@dataclass(frozen=True)
class Judged:
    """Whether each question of a set is answered, by its id, as the printed scorer says; and the answers' file.

    By construction the answers are another run's.
    """

    hits: Mapping[str, bool]
    source: str
    by_construction: bool


def ranked(ours: Results, backbone: str, method: str, name: str, seed: int | None = None) -> Ranked | Cell:
    """A run's ranks on a retrieval set, or the missing cell that says why there are none.

    Args:
        seed: without one the run that stands for the method

    Raises:
        SlqError: the ranks are not those that the set's metrics file was made from.
    """
    seed = ours.layout.compared_seed(method) if seed is None else seed
    record = ours.find(backbone, method, seed, f"retrieval/{name}.json")
    path = ours.path(backbone, method, seed, f"retrieval/{name}.ranks.parquet")
    if record is None or not path.exists():
        return ours.missing(backbone, method, f"retrieval/{name}.{'json' if record is None else 'ranks.parquet'}")
    for keys in (("variant",), ("variants",), ("n",), ("inputs", "gallery")):
        record.at(*keys)
    table = read_ranks(record.path, record.content)
    return Ranked(table[table["variant"] == record.text("variant")], relative(path, ours.root))


def judged(ours: Results, backbone: str, method: str, name: str, seed: int | None = None) -> Judged | Cell:
    """The verdicts on a run's answers to a retention set, or the missing cell that says why there are none.

    Args:
        seed: as of `ranked`

    Raises:
        SlqError: the answers are incomplete, or of other questions.
    """
    seed = ours.layout.compared_seed(method) if seed is None else seed
    record = ours.find(backbone, method, seed, f"retention/{name}.json")
    if record is None:
        return ours.missing(backbone, method, f"retention/{name}.json")
    there = beside(record.path, ANSWERS)
    if not there.exists():
        return Cell.missing(f"{relative(there, ours.root)} does not exist")
    hits, answers = answered(ours.path(backbone, method, seed, f"retention/{name}.json"), record)
    return Judged(hits, relative(answers, ours.root), record.by_construction)


def answered(path: Path, record: Record) -> tuple[dict[str, bool], Path]:
    """The printed scorer's verdicts on the answers behind a metrics file `path`, by question, and the answers' file.

    Args:
        record: what the file says, or of a proof the file that it refers to

    Raises:
        SlqError: the answers are incomplete, or of other questions.
    """
    answers = read_answers(path)
    verdicts = answers.verdicts()[record.text("scorer")]
    return {item["id"]: verdict.hit for item, verdict in zip(answers.items, verdicts, strict=True)}, answers.path
