"""Freshness check of metrics files: whether a file still matches the ranks or answers stored next to it.

All readers of metrics files run this check. A metrics file contains the hash of the ranks or answers that it was
computed from. If the hash matches, the metrics are recomputed and compared. Bootstrap confidence intervals are not
recomputed, because this takes seconds for a large dataset; `slq score` recomputes them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_file, read_json
from slq.common.inherited import inherited_metrics_path, preset_folder
from slq.evaluation.metrics_files import (
    ANSWER_FOLDERS,
    ANSWERS_SUFFIX,
    RANKS_SUFFIX,
    RETRIEVAL_FOLDER,
    metrics_by_variant,
    read_metrics_and_ranks,
    read_scored_answers,
    sibling_path,
)
from slq.evaluation.retrieval_metrics import compute_variant_metrics

METRICS_FOLDERS = (RETRIEVAL_FOLDER, *ANSWER_FOLDERS)  # folders of metrics files
REPORTED_KEYS = (
    "benchmark",
    "scorer",
    "metrics",
    "chance",
    "types",
    "n",
    "disputed",
)  # keys of a retention metrics file that tables report
ROUND_OFF_TOLERANCE = 1e-7  # percentage points; another order of summation changes a metric by less
CACHE_SIZE = 4096  # number of files whose result is cached, as long as the files do not change

FileStamp = tuple[int, ...]


@dataclass(frozen=True)
class Freshness:
    """Result of the freshness check of one metrics file; each reason is a predicate to append to the file's name.

    Attributes:
        path: the checked file; for a file that inherits its metrics, possibly the file that it refers to.
        stale_reason: why the metrics do not match the ranks or answers, or "" if they match.
        unchecked_reason: why the file could not be checked, or "" if it was checked.
    """

    path: Path
    stale_reason: str = ""
    unchecked_reason: str = ""


def check_freshness(path: Path, content: Mapping[str, Any]) -> Freshness:
    """Check whether the metrics file at `path` matches the ranks or answers next to it.

    JSON files outside METRICS_FOLDERS are not checked. A file that inherits base's metrics is fresh if base's answers
    are still those of the run's equivalence check, and base's metrics match them.
    """
    if path.parent.name not in METRICS_FOLDERS:
        return Freshness(path)
    if not isinstance(content.get("inputs", {}), Mapping):
        raise SlqError(f"{path}: key inputs is {content['inputs']!r}; expected hashes by name; make the file again")
    if conflicting_files := _find_conflicting_adapters(path, content):
        return Freshness(
            path, f"is not of this run: it is of another adapter (inputs.adapter) than {conflicting_files}"
        )
    inherited_path = inherited_metrics_path(path, content)
    if inherited_path is None:
        source_path = sibling_path(path, RANKS_SUFFIX if path.parent.name == RETRIEVAL_FOLDER else ANSWERS_SUFFIX)
        return _check_against_source(path, source_path, _file_stamp(path), _file_stamp(source_path))
    answers, verified_hash = sibling_path(inherited_path, ANSWERS_SUFFIX), content.get("inputs", {}).get("answers")
    if verified_hash and answers.is_file() and hash_file(answers) != verified_hash:
        return Freshness(
            path,
            f"was checked against other answers than those in {_relative_to_preset(path, answers)} (inputs.answers)",
        )
    if not inherited_path.is_file():
        return Freshness(path)
    inherited_content = read_json(inherited_path)
    if inherited_metrics_path(inherited_path, inherited_content) is not None:
        return Freshness(
            path,
            f"says that its numbers are those of {_relative_to_preset(path, inherited_path)}, which has none "
            "(inherits_from)",
        )
    return check_freshness(inherited_path, inherited_content)


def _find_conflicting_adapters(path: Path, content: Mapping[str, Any]) -> str:
    """Find files of the same run with another adapter hash, if at least as many files have it as this file's hash.

    This detects a metrics file that was copied from another run together with its ranks or answers.

    Returns:
        the conflicting files, relative to the preset's folder, joined by commas; "" if there are none.
    """
    files = (other for kind in METRICS_FOLDERS for other in sorted(path.parents[1].glob(f"{kind}/*.json")))
    adapter_by_file = {other: adapter for other in files if (adapter := _read_adapter_hash(other, _file_stamp(other)))}
    own_adapter, num_files = content.get("inputs", {}).get("adapter"), Counter(adapter_by_file.values())
    conflicting_adapters = [
        adapter
        for adapter in num_files
        if own_adapter and adapter != own_adapter and num_files[adapter] >= num_files[own_adapter]
    ]
    return ", ".join(
        _relative_to_preset(path, other)
        for other, adapter in adapter_by_file.items()
        if adapter in conflicting_adapters
    )


@lru_cache(maxsize=CACHE_SIZE)
def _read_adapter_hash(path: Path, _metrics_stamp: FileStamp) -> str | None:
    """Read the adapter hash in a metrics file, or None; the stamp only invalidates the cached result."""
    content = read_json(path)
    inputs = content.get("inputs") if isinstance(content, dict) else None
    adapter = inputs.get("adapter") if isinstance(inputs, dict) else None
    return adapter if isinstance(adapter, str) else None


def _file_stamp(path: Path) -> FileStamp:
    """Return modification time, size and inode, which change when a file is rewritten; empty for a missing file."""
    if not path.is_file():
        return ()
    stat = path.stat()
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _relative_to_preset(path: Path, other: Path) -> str:
    """Return `other` relative to the results folder of the preset that `path` belongs to."""
    return other.relative_to(preset_folder(path)).as_posix()


@lru_cache(maxsize=CACHE_SIZE)
def _check_against_source(
    path: Path, source_path: Path, _metrics_stamp: FileStamp, source_stamp: FileStamp
) -> Freshness:
    """Check a metrics file against its ranks or answers; the stamps only invalidate the cached result."""
    source_kind = "ranks" if path.parent.name == RETRIEVAL_FOLDER else "answers"
    if not source_stamp:
        return Freshness(path, unchecked_reason=f"has no {source_kind} beside it")
    if read_json(path).get("inputs", {}).get(source_kind) != hash_file(source_path):
        difference = f"it was made from other {source_kind} than {source_path.name}'s (inputs.{source_kind})"
    else:
        difference = (_first_recall_difference if source_kind == "ranks" else _first_score_difference)(path)
    return Freshness(
        path, f"is not what its ranks or answers give: {difference}; `slq score` shows both" if difference else ""
    )


def _first_recall_difference(path: Path) -> str:
    """Describe the first metric of a retrieval metrics file that differs from its ranks, or return ""."""
    metrics, variants, table = read_metrics_and_ranks(path)
    if metrics["variant"] in metrics["variants"]:
        return f"variant is {metrics['variant']}, which stands under variants too"
    for variant in variants:
        recomputed = compute_variant_metrics(table[table["variant"] == variant.name], variant)
        key_prefix = "" if variant.name == metrics["variant"] else f"variants.{variant.name}."
        if difference := _first_difference(
            metrics_by_variant(metrics)[variant.name], recomputed, recomputed, key_prefix
        ):
            return difference
    return ""


def _first_score_difference(path: Path) -> str:
    """Describe the first reported metric of a retention metrics file that differs from its answers, or return ""."""
    answers = read_scored_answers(path)
    return _first_difference(
        answers.metrics, answers.recompute_metrics()[0], [key for key in REPORTED_KEYS if key in answers.metrics]
    )


def _first_difference(stored: Any, recomputed: Any, keys: Any, key_prefix: str = "") -> str:
    """Describe the first key whose stored and recomputed values differ, with both values, or return ""."""
    for key in keys:
        stored_value, recomputed_value = stored.get(key), recomputed.get(key)
        if isinstance(stored_value, dict) and isinstance(recomputed_value, dict):
            if difference := _first_difference(
                stored_value,
                recomputed_value,
                [*recomputed_value, *(other for other in stored_value if other not in recomputed_value)],
                f"{key_prefix}{key}.",
            ):
                return difference
        elif stored_value != recomputed_value and not (
            _is_number(stored_value)
            and _is_number(recomputed_value)
            and abs(stored_value - recomputed_value) < ROUND_OFF_TOLERANCE
        ):
            return f"{key_prefix}{key} is {stored_value}, and they give {recomputed_value}"
    return ""


def _is_number(value: Any) -> bool:
    """Return whether a value is an integer or a float."""
    return isinstance(value, int | float)
