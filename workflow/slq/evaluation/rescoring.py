"""Recomputation of metrics from stored ranks and answers, and comparison with the stored metrics (`slq score`).

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
    """Stored content of a metrics file, and the content recomputed from its ranks or answers.

    Attributes:
        source_kind: `ranks` or `answers`.
        path: path of the metrics file.
        stored: stored content of the metrics file.
        recomputed: the recomputed part of the content, which the ranks or answers determine.
        source_hash: SHA-256 of the file of ranks or answers.
        disagreements: items on which scorers disagree, as stored and as recomputed; None for ranks.
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

        They include the hash of the ranks or answers (`inputs.…`), and a description of the file of disagreements.
        """
        keys = [key for key in sorted(self.recomputed) if self.stored.get(key) != self.recomputed[key]]
        keys += [f"inputs.{self.source_kind}"] * (self.stored["inputs"].get(self.source_kind) != self.source_hash)
        return keys + ["the disagreements file"] * bool(
            self.disagreements and self.disagreements[0] != self.disagreements[1]
        )

    def report_rows(self) -> list[tuple[str, str, str, str]]:
        """Build one row per variant and direction, or per scorer: file, name, stored numbers, recomputed numbers.

        The name of the variant or scorer that tables print ends with a star.
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
        """Overwrite the stored metrics, and the file of disagreements if there is one, with the recomputed content."""
        if self.disagreements:
            write_jsonl(sibling_path(self.path, DISAGREEMENTS_SUFFIX), self.disagreements[1])
        inputs = self.stored["inputs"] | {self.source_kind: self.source_hash}
        write_json(self.path, self.stored | self.recomputed | {"inputs": inputs})


def format_recalls_by_name(content: dict[str, Any], recomputed: dict[str, Any]) -> dict[str, str]:
    """Format R@1, R@5 and R@10 of every variant and direction of a metrics file.

    Args:
        content: content of the metrics file.
        recomputed: recomputed content, which names the variant that tables print.
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
    """Format the score of every scorer of a metrics file; `recomputed` names the scorer that tables print."""
    return {
        name + "*" * (name == recomputed["scorer"]): f"{score:.2f}" for name, score in sorted(content["scores"].items())
    }


def rescore_folder(folder: Path, write: bool) -> None:
    """Print the stored and the recomputed numbers of every metrics file under a folder.

    For a file that inherits its metrics, the answers file that they come from is printed instead.

    Args:
        write: whether to overwrite stored numbers that differ from recomputed ones. If False, a difference is an error.
    """
    metrics_paths = find_metrics_files(folder, ANSWER_FOLDERS, ANSWERS_SUFFIX, "answer the dataset again")
    inherited = {path: read_scored_answers(path).path for path in metrics_paths if is_inherited(path)}
    rechecks = [
        recheck_ranks(path) for path in find_metrics_files(folder, (RETRIEVAL_FOLDER,), RANKS_SUFFIX, "retrieve again")
    ]
    rechecks += [recheck_scores(path) for path in metrics_paths if path not in inherited]
    if not rechecks and not inherited:
        raise SlqError(
            f"{folder}: contains no {ANSWER_FOLDERS[0]}/<dataset>{ANSWERS_SUFFIX} and no "
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
        status = "overwritten" if write else f"does not match its {one.source_kind}"
        print(f"{one.path}: {status}: {', '.join(one.changed_keys)}")
        if write:
            one.write()
    if changed and not write:
        raise SlqError(
            f"{folder}: {len(changed)} of {len(rechecks)} metrics files do not match their ranks or answers: "
            "a scorer or a file has changed; use --write to overwrite them"
        )


def recheck_ranks(path: Path) -> MetricsRecheck:
    """Recompute a retrieval metrics file from its ranks."""
    stored, variants, table = read_metrics_and_ranks(path)
    recomputed = compute_retrieval_metrics(table, variants, stored["variant"])
    return MetricsRecheck("ranks", path, stored, recomputed, hash_file(sibling_path(path, RANKS_SUFFIX)))


def recheck_scores(path: Path) -> MetricsRecheck:
    """Recompute a retention metrics file from its answers."""
    answers = read_scored_answers(path)
    recomputed, disagreements = answers.recompute_metrics()
    stored_disagreements = read_jsonl(sibling_path(path, DISAGREEMENTS_SUFFIX))
    return MetricsRecheck(
        "answers", path, answers.metrics, recomputed, hash_file(answers.path), (stored_disagreements, disagreements)
    )
