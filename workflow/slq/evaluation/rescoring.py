"""Recomputation of stored metrics from stored answers and ranks, and comparison of both.

No dataset, model or GPU is needed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_file, read_jsonl, write_json, write_jsonl
from slq.common.schema import wrap_content_errors
from slq.evaluation.metrics_files import (
    ANSWER_FOLDERS,
    ANSWERS_SUFFIX,
    DISAGREEMENTS_SUFFIX,
    RANKS_SUFFIX,
    RETRIEVAL_FOLDER,
    find_metrics_files,
    is_inherited,
    metrics_by_variant,
    read_metrics_and_ranks,
    read_scored_answers,
    sibling_path,
)
from slq.evaluation.rank_table import RANK_DIRECTIONS
from slq.evaluation.ranks import RECALL_KS
from slq.evaluation.retention_metrics import JsonLines
from slq.evaluation.retrieval_metrics import compute_retrieval_metrics

HEADER = ("file", "variant or scorer (* printed)", "stored", "now")


@dataclass(frozen=True)
class MetricsRecheck:
    """Stored content of a metrics file, and what its ranks or answers give now.

    Attributes:
        source_kind: `ranks` or `answers`.
        path: the metrics file.
        stored: its content.
        recomputed: the part of its content that ranks or answers determine, computed now.
        source_hash: SHA-256 of the file of ranks or answers.
        disagreements: the items on which scorers disagree, as stored and as computed now; None for ranks.
    """

    source_kind: str
    path: Path
    stored: dict[str, Any]
    recomputed: dict[str, Any]
    source_hash: str
    disagreements: tuple[JsonLines, JsonLines] | None = None

    @property
    def changed_keys(self) -> list[str]:
        """Keys whose stored values differ from the recomputed ones.

        They include the hash of the ranks or answers (`inputs.…`) and, by description, the file of disagreements.
        """
        keys = [key for key in sorted(self.recomputed) if self.stored.get(key) != self.recomputed[key]]
        keys += [f"inputs.{self.source_kind}"] * (self.stored["inputs"].get(self.source_kind) != self.source_hash)
        return keys + ["the disagreements file"] * bool(
            self.disagreements and self.disagreements[0] != self.disagreements[1]
        )

    def report_rows(self) -> list[tuple[str, str, str, str]]:
        """Build a row for each variant and direction, or scorer: file, name, stored numbers, and numbers now.

        The name of the variant or scorer that tables print ends in a star.

        Raises:
            SlqError: the stored content is not numbers by name.
        """
        format_numbers = format_recalls_by_name if self.source_kind == "ranks" else format_scores_by_name
        with wrap_content_errors(self.path, "make the file again"):
            stored, recomputed = (
                format_numbers(content, self.recomputed) for content in (self.stored, self.recomputed)
            )
        return [
            (str(self.path), name, stored.get(name, "-"), recomputed.get(name, "-"))
            for name in {**stored, **recomputed}
        ]

    def write(self) -> None:
        """Replace the stored metrics, and the file of disagreements if there is one, with the recomputed ones."""
        if self.disagreements:
            write_jsonl(sibling_path(self.path, DISAGREEMENTS_SUFFIX), self.disagreements[1])
        inputs = self.stored["inputs"] | {self.source_kind: self.source_hash}
        write_json(self.path, self.stored | self.recomputed | {"inputs": inputs})


def format_recalls_by_name(content: dict[str, Any], recomputed: dict[str, Any]) -> dict[str, str]:
    """Format R@1, R@5 and R@10 of every variant and direction of a metrics file.

    Args:
        content: the content of the metrics file.
        recomputed: the recomputed content, which says which variant tables print.
    """
    found = {}
    for name, part in metrics_by_variant(content).items():
        star = "*" if name == recomputed["variant"] else ""
        for direction in RANK_DIRECTIONS:
            if recalls := part["metrics"].get(direction):
                formatted = " ".join(f"{recalls[f'R@{k}']:.2f}" for k in RECALL_KS)
                found[f"{name}{star} {direction} R@1 R@5 R@10"] = formatted
    return found


def format_scores_by_name(content: dict[str, Any], recomputed: dict[str, Any]) -> dict[str, str]:
    """Format the score of every scorer of a metrics file; `recomputed` says which scorer tables print."""
    return {
        name + "*" * (name == recomputed["scorer"]): f"{score:.2f}" for name, score in sorted(content["scores"].items())
    }


def rescore_folder(folder: Path, write: bool) -> None:
    """Print the stored and the recomputed numbers of every metrics file of ranks or answers under a folder.

    For a file that inherits its numbers, print the answers file that they come from instead.

    Args:
        write: whether to write recomputed numbers where they differ.

    Raises:
        SlqError: numbers differ and `write` is false, or a file cannot be used.
    """
    metrics_paths = find_metrics_files(folder, ANSWER_FOLDERS, ANSWERS_SUFFIX, "answer the dataset again")
    inherited = {path: read_scored_answers(path).path for path in metrics_paths if is_inherited(path)}
    rechecks = [
        recheck_ranks(path) for path in find_metrics_files(folder, (RETRIEVAL_FOLDER,), RANKS_SUFFIX, "retrieve again")
    ]
    rechecks += [recheck_scores(path) for path in metrics_paths if path not in inherited]
    if not rechecks and not inherited:
        raise SlqError(
            f"{folder}: holds no {ANSWER_FOLDERS[0]}/<dataset>{ANSWERS_SUFFIX} and no "
            f"{RETRIEVAL_FOLDER}/<dataset>{RANKS_SUFFIX}; expected a folder of results/, e.g. results/mini"
        )
    rows = [HEADER, *(line for one in rechecks for line in one.report_rows())]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for file, name, stored, recomputed in rows:
        print(f"{file:{widths[0]}}  {name:{widths[1]}}  {stored:>{widths[2]}}  {recomputed:>{widths[3]}}".rstrip())
    for path, answers in inherited.items():
        print(f"{path}  = inherited from {answers}")
    changed = [one for one in rechecks if one.changed_keys]
    for one in changed:
        status = "written anew" if write else f"not what its {one.source_kind} give now"
        print(f"{one.path}: {status}: {', '.join(one.changed_keys)}")
        if write:
            one.write()
    if changed and not write:
        raise SlqError(
            f"{folder}: {len(changed)} of {len(rechecks)} metrics files are not what their ranks or answers give now: "
            "a scorer or a file has changed; --write writes them anew"
        )


def recheck_ranks(path: Path) -> MetricsRecheck:
    """Recompute a retrieval metrics file from its ranks.

    Raises:
        SlqError: the ranks are not those that the file was made from.
    """
    stored, variants, table = read_metrics_and_ranks(path)
    recomputed = compute_retrieval_metrics(table, variants, stored["variant"])
    return MetricsRecheck("ranks", path, stored, recomputed, hash_file(sibling_path(path, RANKS_SUFFIX)))


def recheck_scores(path: Path) -> MetricsRecheck:
    """Recompute a retention metrics file from its answers.

    Raises:
        SlqError: the answers are not those that the file was made from, or its scorer is unknown to this version.
    """
    answers = read_scored_answers(path)
    recomputed, disagreements = answers.recompute_metrics()
    stored_disagreements = read_jsonl(sibling_path(path, DISAGREEMENTS_SUFFIX))
    return MetricsRecheck(
        "answers", path, answers.metrics, recomputed, hash_file(answers.path), (stored_disagreements, disagreements)
    )
