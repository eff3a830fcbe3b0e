"""Freshness of metrics files: whether one still follows from the ranks or answers beside it.

Everything that reads a metrics file checks this. The file names the hash of the ranks or answers that it was made from;
where that hash matches, the numbers are computed again. Confidence intervals are not drawn again, as that takes seconds
for a large dataset; `slq score` does so.
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
ROUND_OFF_TOLERANCE = 1e-7  # percentage points: the order of summation alone changes less
CACHE_SIZE = 4096  # files whose result is cached while they and the files beside them do not change

FileStamp = tuple[int, ...]


@dataclass(frozen=True)
class Freshness:
    """Result of the freshness check of one metrics file; each reason is text to append to the file's name.

    Attributes:
        path: the file; if it inherits its numbers, possibly the file that it refers to.
        stale_reason: why its numbers do not follow from its ranks or answers, or "" if they do.
        unchecked_reason: why it could not be checked, or "" if it could.
    """

    path: Path
    stale_reason: str = ""
    unchecked_reason: str = ""


def check_freshness(path: Path, content: Mapping[str, Any]) -> Freshness:
    """Check whether the metrics file at `path` follows from the ranks or answers beside it.

    JSON files in other folders than those of metrics are not checked. For an inheriting file the check is whether the
    answers that its equivalence check used are still base's, and whether base's numbers follow from them.

    Raises:
        SlqError: the file has no hashes, or is incomplete.
    """
    if path.parent.name not in METRICS_FOLDERS:
        return Freshness(path)
    if not isinstance(content.get("inputs", {}), Mapping):
        raise SlqError(f"{path}: key inputs is {content['inputs']!r}; expected hashes by name: make the file again")
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
    """Find the files of the same run that name another adapter, if they are no fewer than those that name this file's.

    This detects a metrics file that was copied from another run together with its ranks or answers.
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
    """Read the adapter hash that a metrics file names, or None; the stamp only invalidates the cached result."""
    content = read_json(path)
    inputs = content.get("inputs") if isinstance(content, dict) else None
    adapter = inputs.get("adapter") if isinstance(inputs, dict) else None
    return adapter if isinstance(adapter, str) else None


def _file_stamp(path: Path) -> FileStamp:
    """Return the time, size and inode of a file, which change when it is rewritten; empty if it does not exist."""
    if not path.is_file():
        return ()
    stat = path.stat()
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _relative_to_preset(path: Path, other: Path) -> str:
    """Return `other` relative to the folder of the preset whose results `path` belongs to."""
    return other.relative_to(preset_folder(path)).as_posix()


@lru_cache(maxsize=CACHE_SIZE)
def _check_against_source(
    path: Path, source_path: Path, _metrics_stamp: FileStamp, source_stamp: FileStamp
) -> Freshness:
    """Check a metrics file against its ranks or answers; the stamps invalidate the cached result."""
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
    """Describe the first number of a retrieval metrics file that its ranks do not give, or return ""."""
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
    """Describe the first reported number of a retention metrics file that its answers do not give, or return ""."""
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
