"""Inputs of intervals and tests: the stored ranks of a run, and the scores of its stored answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slq.evaluation.metrics_files import ANSWERS_SUFFIX, read_ranks, read_scored_answers, sibling_path
from slq.results.cells import TableCell
from slq.results.records import Record, Results, relative_path


@dataclass(frozen=True)
class RunRanks:
    """The ranks of a run on a dataset.

    Attributes:
        table: the ranks of the variant that tables print
        source: the file that they are read from
    """

    table: pd.DataFrame
    source: str


@dataclass(frozen=True)
class RunAnswers:
    """The scored answers of a run to a dataset.

    Attributes:
        correct_by_id: whether each question is answered correctly, by its id, according to the scorer that tables print
        source: the file of the answers
        inherited: whether the answers are another run's, because the method leaves them unchanged by construction
    """

    correct_by_id: Mapping[str, bool]
    source: str
    inherited: bool


def load_run_ranks(
    results: Results, backbone: str, method: str, dataset: str, seed: int | None = None
) -> RunRanks | TableCell:
    """Load a run's ranks on a retrieval dataset, or return the missing cell that says why there are none.

    Args:
        seed: None for the first seed, whose run represents the method

    Raises:
        SlqError: the ranks are not those that the dataset's metrics file was computed from
    """
    seed = results.layout.compared_seed(method) if seed is None else seed
    record = results.find_record(backbone, method, seed, f"retrieval/{dataset}.json")
    path = results.path(backbone, method, seed, f"retrieval/{dataset}.ranks.parquet")
    if record is None or not path.exists():
        return results.missing_cell(
            backbone, method, f"retrieval/{dataset}.{'json' if record is None else 'ranks.parquet'}"
        )
    for keys in (("variant",), ("variants",), ("n",), ("inputs", "gallery")):
        record.value(*keys)
    table = read_ranks(record.path, record.content)
    return RunRanks(table[table["variant"] == record.text("variant")], relative_path(path, results.root))


def load_run_answers(
    results: Results, backbone: str, method: str, dataset: str, seed: int | None = None
) -> RunAnswers | TableCell:
    """Load the scored answers of a run to a retention dataset, or return the missing cell that says why there are none.

    Args:
        seed: as for `load_run_ranks`

    Raises:
        SlqError: the answers are incomplete, or belong to other questions
    """
    seed = results.layout.compared_seed(method) if seed is None else seed
    record = results.find_record(backbone, method, seed, f"retention/{dataset}.json")
    if record is None:
        return results.missing_cell(backbone, method, f"retention/{dataset}.json")
    expected_path = sibling_path(record.path, ANSWERS_SUFFIX)
    if not expected_path.exists():
        return TableCell.missing(f"{relative_path(expected_path, results.root)} does not exist")
    is_correct, answers_path = score_run_answers(
        results.path(backbone, method, seed, f"retention/{dataset}.json"), record
    )
    return RunAnswers(is_correct, relative_path(answers_path, results.root), record.inherited)


def score_run_answers(metrics_path: Path, record: Record) -> tuple[dict[str, bool], Path]:
    """Score the answers behind a metrics file; return whether each is correct, by question id, and the answers' file.

    Args:
        metrics_path: the metrics file of the run, which may be an inheriting one
        record: the content of that file, or of the file that it inherits from; names the scorer that tables print

    Raises:
        SlqError: the answers are incomplete, or belong to other questions
    """
    answers = read_scored_answers(metrics_path)
    judgements = answers.judgements()[record.text("scorer")]
    return {
        item["id"]: verdict.is_correct for item, verdict in zip(answers.items, judgements, strict=True)
    }, answers.path
