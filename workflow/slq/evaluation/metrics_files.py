"""Reading and checking of metrics files together with the ranks or answers that they were computed from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_integer_dtype, is_string_dtype

from slq.common.errors import SlqError
from slq.common.files import hash_file, read_json, read_jsonl, walk_files, wrap_parquet_errors
from slq.common.inherited import inherited_metrics_path, read_inherited_metrics
from slq.common.schema import require_schema, require_type, wrap_content_errors
from slq.datasets.questions import MAX_OPTIONS
from slq.evaluation.rank_table import RANK_COLUMNS, RANK_DIRECTIONS, RetrievalVariant
from slq.evaluation.retention_metrics import (
    SCHEMA,
    JsonLines,
    JudgementsByScorer,
    judge_with_all_scorers,
    questions_hash,
    score_answers,
)
from slq.evaluation.retrieval_metrics import GALLERY_COLUMNS, gallery_hash
from slq.evaluation.retrieval_metrics import SCHEMA as RETRIEVAL_SCHEMA
from slq.evaluation.scorers import find_scorers

RETRIEVAL_FOLDER = "retrieval"  # folder of a run's ranks
ANSWER_FOLDERS = ("retention", "blind")  # folders of a run's answers
RANKS_SUFFIX, ANSWERS_SUFFIX, DISAGREEMENTS_SUFFIX = ".ranks.parquet", ".answers.jsonl", ".disagreements.jsonl"
FIELD_TYPES: dict[str, type] = {"id": str, "question": str, "options": list, "answers": list, "type": str}
FIELD_TYPES |= {"prompt": str, "answer": str, "tokens": int, "ended": bool}


def sibling_path(metrics_path: Path, suffix: str) -> Path:
    """Return the path of the file next to a metrics file with the same dataset name and the given suffix."""
    return metrics_path.with_name(metrics_path.stem + suffix)


def find_metrics_files(folder: Path, subfolders: Sequence[str], suffix: str, remedy: str) -> list[Path]:
    """Find the metrics files under a folder, and check that each has its ranks or answers or inherits its metrics.

    Args:
        subfolders: names of the folders that contain metrics files.
        suffix: suffix of the files with ranks or answers.
        remedy: instruction for creating the files again, for error messages.

    Raises:
        SlqError: a metrics file or its ranks or answers are missing, an earlier version wrote the file, or a file that
            inherits its metrics has its own answers as well.
    """
    skipped: dict[Path, str] = {}
    files = list(walk_files(folder, skipped))
    for path, reason in skipped.items():
        raise SlqError(f"{path}: {reason}; repair it, or remove it")
    metrics_paths = {path for path in files if path.suffix == ".json" and path.parent.name in subfolders}
    source_paths = {path for path in files if path.name.endswith(suffix)}
    for path in sorted(metrics_paths):
        if sibling_path(path, suffix) not in source_paths and not is_inherited(path):
            schema = RETRIEVAL_SCHEMA if path.parent.name == RETRIEVAL_FOLDER else SCHEMA
            require_schema(path, read_json(path), schema, remedy)  # before 0.2.0, inheriting files had another format
            raise SlqError(f"{sibling_path(path, suffix)}: does not exist, although {path.name} needs it; {remedy}")
    for path in sorted(source_paths):
        expected = path.with_name(path.name.removesuffix(suffix) + ".json")
        if expected not in metrics_paths:
            raise SlqError(f"{expected}: does not exist, although {path.name} does; {remedy}")
        if is_inherited(expected):
            raise SlqError(
                f"{path}: contains answers, but {expected.name} refers to the answers of another run; delete this file"
            )
    return sorted(metrics_paths)


def is_inherited(path: Path) -> bool:
    """Return whether a metrics file contains no metrics but refers to the file that it inherits them from."""
    content = read_json(path)
    return isinstance(content, dict) and inherited_metrics_path(path, content) is not None


def read_metrics(path: Path, schema: int, remedy: str) -> dict[str, Any]:
    """Read a metrics file and check its schema version.

    Args:
        schema: the expected schema version.
        remedy: instruction for creating the file again, for the error message.
    """
    metrics: dict[str, Any] = read_json(path)
    require_schema(path, metrics, schema, remedy)
    return metrics


# ---- ranks ----


def read_metrics_and_ranks(path: Path) -> tuple[dict[str, Any], list[RetrievalVariant], pd.DataFrame]:
    """Read a retrieval metrics file, its variants, and its rank table with the column `variant`.

    Raises:
        SlqError: the file has another schema or is incomplete, or the ranks belong to another dataset or gallery.
    """
    metrics = read_metrics(path, RETRIEVAL_SCHEMA, "retrieve again")
    with wrap_content_errors(path, "retrieve again"):
        variants = [
            RetrievalVariant(name, **part["variant_settings"]) for name, part in metrics_by_variant(metrics).items()
        ]
    return metrics, variants, read_ranks(path, metrics)


def metrics_by_variant(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a retrieval metrics file's metrics by variant, starting with the variant that tables print."""
    return {metrics["variant"]: metrics, **metrics["variants"]}


def read_ranks(path: Path, metrics: dict[str, Any]) -> pd.DataFrame:
    """Read the rank table of a metrics file, with the column `variant`.

    Args:
        path: path of the metrics file.
        metrics: content of the metrics file.

    Raises:
        SlqError: the table cannot be read, belongs to another dataset or gallery, or repeats or lacks a query.
    """
    ranks_path = sibling_path(path, RANKS_SUFFIX)
    with wrap_parquet_errors(ranks_path, "retrieve again"):
        table = pd.read_parquet(ranks_path)
    types: dict[str, tuple[str, Any]] = dict.fromkeys(GALLERY_COLUMNS, ("text", is_string_dtype))
    types |= dict.fromkeys(RANK_COLUMNS, ("whole numbers", is_integer_dtype))
    for column, (expected, is_expected) in types.items():
        if column not in table:
            raise SlqError(f"{ranks_path}: no column '{column}'; retrieve again")
        if not is_expected(table[column]) or table[column].isna().any():
            raise SlqError(f"{ranks_path}: column '{column}' must contain {expected} only; retrieve again")
    with wrap_content_errors(path, "retrieve again"):
        for name, part in metrics_by_variant(metrics).items():
            check_variant_ranks(ranks_path, table[table["variant"] == name], name, part["n"])
        expected_gallery = metrics["inputs"]["gallery"]
    if gallery_hash(table) != expected_gallery:
        raise SlqError(
            f"{ranks_path}: its queries and images are not those of {path.name} (inputs.gallery), so these are ranks "
            "in another gallery; retrieve again"
        )
    return table


def check_variant_ranks(ranks_path: Path, table: pd.DataFrame, variant: str, expected_counts: dict[str, int]) -> None:
    """Check the ranks of a variant: every query occurs exactly once, and every rank is at most the gallery's size."""
    for direction in RANK_DIRECTIONS:
        rows = table[table["direction"] == direction]
        num_queries = expected_counts["images" if direction == "i2t" else "captions"]
        if len(rows) != num_queries:
            raise SlqError(
                f"{ranks_path}: contains {len(rows)} {direction} ranks of variant '{variant}', but the dataset has "
                f"{num_queries} queries; retrieve again"
            )
        duplicates = rows.loc[rows["query"].duplicated(), "query"]
        if len(duplicates):
            raise SlqError(
                f"{ranks_path}: {len(duplicates)} {direction} queries occur more than once (first: "
                f"{duplicates.iloc[0]!r}); retrieve again"
            )
        ranks, gallery_size = rows[list(RANK_COLUMNS)], expected_counts["images" if direction == "t2i" else "captions"]
        out_of_range = rows.loc[~((ranks >= 1) & (ranks <= gallery_size)).all(axis=1), "query"]
        if len(out_of_range):
            raise SlqError(
                f"{ranks_path}: the {direction} rank of {out_of_range.iloc[0]!r} is not between 1 and {gallery_size}, "
                "the size of the gallery; retrieve again"
            )


# ---- answers ----


@dataclass(frozen=True)
class ScoredAnswers:
    """Metrics of a retention dataset, and the answered items that they were computed from.

    Attributes:
        path: path of the answers file.
        metrics: content of the metrics file.
        items: the answered items.
    """

    path: Path
    metrics: dict[str, Any]
    items: JsonLines

    def judgements(self) -> JudgementsByScorer:
        """Judge the items with every applicable scorer; the judgements by scorer are in the order of the items."""
        return judge_with_all_scorers(self.metrics["benchmark"], self.metrics["scorer"], self.items)

    def recompute_metrics(self) -> tuple[dict[str, Any], JsonLines]:
        """Recompute the metrics from the answers, and the items on which scorers disagree."""
        disputed = [item["id"] for item in self.metrics.get("disputed", {}).get("items", [])]
        return score_answers(self.metrics["benchmark"], self.metrics["scorer"], self.items, disputed)


def read_scored_answers(path: Path) -> ScoredAnswers:
    """Read a retention metrics file and its answered items; for a file that inherits, those of the inherited file.

    Raises:
        SlqError: a file is missing, incomplete or has an older schema, this version does not know its scorer, or the
            answers belong to other questions.
    """
    remedy = "answer the dataset again"
    metrics = read_metrics(path, SCHEMA, remedy)
    inheriting = None
    if inherited_metrics_path(path, metrics):
        inheriting, (path, _) = metrics, read_inherited_metrics(path, metrics)
        metrics = read_metrics(path, SCHEMA, remedy)
    with wrap_content_errors(path, remedy):
        benchmark, scorer, _ = metrics["benchmark"], metrics["scorer"], metrics["scores"]
        count, expected_questions = metrics["n"]["items"], metrics["inputs"]["questions"]
    try:
        find_scorers(benchmark, scorer)
    except SlqError as error:
        raise SlqError(f"{path}: {error}") from error
    answers_path = sibling_path(path, ANSWERS_SUFFIX)
    answered_items = read_answered_items(answers_path, count)
    if questions_hash(answered_items) != expected_questions:
        raise SlqError(
            f"{answers_path}: its questions are not those of {path.name} (inputs.questions), so these are answers to "
            "another version of the dataset; answer the dataset again"
        )
    if inheriting and inheriting.get("inputs", {}).get("answers") != hash_file(answers_path):
        raise SlqError(
            f"{answers_path}: not the answers that the equivalence check compared; run the check of {path.stem} again"
        )
    return ScoredAnswers(answers_path, metrics, answered_items)


def read_answered_items(path: Path, count: int) -> JsonLines:
    """Read an answers file; check the fields of every line, the uniqueness of ids, and the number of lines."""
    answered_items = read_jsonl(path)
    known_ids: set[str] = set()
    for number, line in enumerate(answered_items, start=1):
        for field, type_ in FIELD_TYPES.items():
            require_type(f"{path}:{number}", line, field, type_)
        if len(line["options"]) > MAX_OPTIONS:
            raise SlqError(f"{path}:{number}: more than {MAX_OPTIONS} options, but options are named by single letters")
        if line["id"] in known_ids:
            raise SlqError(f"{path}:{number}: id {line['id']!r} occurs twice; answer the dataset again")
        known_ids.add(line["id"])
    if len(answered_items) != count or not answered_items:
        raise SlqError(
            f"{path}: contains {len(answered_items)} answers, but the dataset has {count} items; answer it again"
        )
    return answered_items
