"""What intervals and tests are made of: the stored ranks of a run, and the verdicts on its stored answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slq.evaluation.metrics_files import ANSWERS_SUFFIX, read_ranks, read_scored_answers, sibling_path
from slq.results.cells import TableCell
from slq.results.records import Record, Results, relative_path


@dataclass(frozen=True)
class RunRanks:
    """The ranks of a run on a dataset, of the variant that tables print, and the file that they lie in."""

    table: pd.DataFrame
    source: str


@dataclass(frozen=True)
class RunAnswers:
    """Whether each question of a dataset is answered, by its id, as the printed scorer says; and the answers' file.

    inherited: by construction the answers are another run's
    """

    correct_by_id: Mapping[str, bool]
    source: str
    inherited: bool


def load_run_ranks(
    results: Results, backbone: str, method: str, dataset: str, seed: int | None = None
) -> RunRanks | TableCell:
    """A run's ranks on a retrieval dataset, or the missing cell that says why there are none.

    Args:
        seed: without one the run that stands for the method

    Raises:
        SlqError: the ranks are not those that the dataset's metrics file was made from.
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
    """The verdicts on a run's answers to a retention dataset, or the missing cell that says why there are none.

    Args:
        seed: as of `load_run_ranks`

    Raises:
        SlqError: the answers are incomplete, or of other questions.
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
    """The printed scorer's verdicts on the answers behind a metrics file `metrics_path`, by question, and the answers'
    file.

    Args:
        record: what the file says, or of an inheriting file the one that it refers to

    Raises:
        SlqError: the answers are incomplete, or of other questions.
    """
    answers = read_scored_answers(metrics_path)
    judgements = answers.judgements()[record.text("scorer")]
    return {
        item["id"]: verdict.is_correct for item, verdict in zip(answers.items, judgements, strict=True)
    }, answers.path
