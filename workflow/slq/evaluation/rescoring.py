"""Stored answers scored again, and ranks counted again, without dataset, model or GPU, beside what is stored."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_file, read_jsonl, write_json, write_jsonl
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
    """A metrics file: what it says, and what its ranks or answers give now.

    source_kind: `ranks` or `answers`; source_hash: SHA-256 of their file
    disagreements: the items on which scorers differ, then and now; ranks have none
    """

    source_kind: str
    path: Path
    stored: dict[str, Any]
    recomputed: dict[str, Any]
    source_hash: str
    disagreements: tuple[JsonLines, JsonLines] | None = None

    @property
    def changed_keys(self) -> list[str]:
        """The keys that are not given now, the hash of ranks or answers among them, and the file of disagreements."""
        keys = [key for key in sorted(self.recomputed) if self.stored.get(key) != self.recomputed[key]]
        keys += [f"inputs.{self.source_kind}"] * (self.stored["inputs"].get(self.source_kind) != self.source_hash)
        return keys + ["the disagreements file"] * bool(
            self.disagreements and self.disagreements[0] != self.disagreements[1]
        )

    def report_rows(self) -> list[tuple[str, str, str, str]]:
        """File, name (the printed one's with a star), number stored and now: of each variant's direction, or scorer.

        Raises:
            SlqError: what is stored are no numbers by name.
        """
        format_numbers = format_recalls_by_name if self.source_kind == "ranks" else format_scores_by_name
        try:
            stored, recomputed = (
                format_numbers(content, self.recomputed) for content in (self.stored, self.recomputed)
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"{type(error).__name__}: {error}"
            raise SlqError(
                f"{self.path}: expected numbers by name, found others ({message}); make the file again"
            ) from error
        return [
            (str(self.path), name, stored.get(name, "-"), recomputed.get(name, "-"))
            for name in {**stored, **recomputed}
        ]

    def write(self) -> None:
        """Put what is given now in place of what is stored."""
        if self.disagreements:
            write_jsonl(sibling_path(self.path, DISAGREEMENTS_SUFFIX), self.disagreements[1])
        inputs = self.stored["inputs"] | {self.source_kind: self.source_hash}
        write_json(self.path, self.stored | self.recomputed | {"inputs": inputs})


def format_recalls_by_name(content: dict[str, Any], recomputed: dict[str, Any]) -> dict[str, str]:
    """R@1, R@5 and R@10 of every variant and direction of a metrics file;
    `recomputed` says which variant is printed.
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
    """The score of every scorer of a metrics file; `recomputed` says which is printed."""
    return {
        name + "*" * (name == recomputed["scorer"]): f"{score:.2f}" for name, score in sorted(content["scores"].items())
    }


def rescore_folder(folder: Path, write: bool) -> None:
    """Print, for every metrics file of ranks or answers under a folder, the numbers stored and the numbers now.

    Of a file that inherits its numbers from another, which.

    Raises:
        SlqError: they differ, and `write` does not ask for the new ones to be written; or a file cannot be used.
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
    """A metrics file of recalls beside what its ranks give now.

    Raises:
        SlqError: the ranks are not those that it was made from.
    """
    stored, variants, table = read_metrics_and_ranks(path)
    recomputed = compute_retrieval_metrics(table, variants, stored["variant"])
    return MetricsRecheck("ranks", path, stored, recomputed, hash_file(sibling_path(path, RANKS_SUFFIX)))


def recheck_scores(path: Path) -> MetricsRecheck:
    """A metrics file of scores beside what its answers give now.

    Raises:
        SlqError: the answers are not those that it was made from, or its scorer is none of this version's.
    """
    answers = read_scored_answers(path)
    recomputed, disagreements = answers.recompute_metrics()
    stored_disagreements = read_jsonl(sibling_path(path, DISAGREEMENTS_SUFFIX))
    return MetricsRecheck(
        "answers", path, answers.metrics, recomputed, hash_file(answers.path), (stored_disagreements, disagreements)
    )
