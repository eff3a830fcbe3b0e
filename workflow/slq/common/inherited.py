"""Results inherited from the untouched base: how a file refers to the one whose numbers it shares.

A method that trains nothing that text generation uses has base's retention metrics.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json

OWN_INPUTS = ("adapter", "answers")  # inputs that an inheriting file may have of its own


def inherited_metrics_path(path: Path, content: Mapping[str, Any]) -> Path | None:
    """Return the file from which a result inherits its metrics, or None if it inherits none.

    `path` is `<preset>/<backbone>/<method>/seed<k>/<kind>/<dataset>.json`.
    """
    return path.parents[4] / content["inherits_from"] if "inherits_from" in content else None


def read_inherited_metrics(path: Path, content: Mapping[str, Any]) -> tuple[Path, Any]:
    """Read the file from which a result inherits its metrics; return its path and content.

    Raises:
        SlqError: that file does not exist, or was made from other inputs than the inheriting one.
    """
    inherited_path = inherited_metrics_path(path, content)
    if inherited_path is None or not inherited_path.is_file():
        raise SlqError(
            f"{path}: its numbers are those of {inherited_path}, which does not exist; put it there, or delete {path}"
        )
    inherited_content = read_json(inherited_path)
    for key, value in content.get("inputs", {}).items():
        if key not in OWN_INPUTS and inherited_content.get("inputs", {}).get(key) != value:
            raise SlqError(f"{path}: checked against another {inherited_path} (inputs.{key} differs); check it again")
    return inherited_path, inherited_content
