"""Results that are known by construction: of which methods, and how a file refers to the one whose numbers it shares.

Nothing heavy here: the rules ask which methods are proved, whenever the Snakefile is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json

# Methods that train nothing which generation passes through: they answer as base does, and `slq prove` shows it.
INHERITING_METHODS = ("slq",)
OWN_INPUTS = ("adapter", "answers")  # inputs that a proof does not share with the file that it refers to


def inherited_metrics_path(path: Path, content: Mapping[str, Any]) -> Path | None:
    """The file whose numbers a result `<preset>/<backbone>/<method>/seed<k>/<kind>/<set>.json` has by proof, if any."""
    return path.parents[4] / content["equals"] if "equals" in content else None


def read_inherited_metrics(path: Path, content: Mapping[str, Any]) -> tuple[Path, Any]:
    """The file that a proof refers to, and its content.

    Raises:
        SlqError: it does not exist, or was made from other inputs than those of the proof.
    """
    inherited_path = inherited_metrics_path(path, content)
    if inherited_path is None or not inherited_path.is_file():
        raise SlqError(
            f"{path}: its numbers are those of {inherited_path}, which does not exist; put it there, or delete {path}"
        )
    inherited_content = read_json(inherited_path)
    for key, value in content.get("inputs", {}).items():
        if key not in OWN_INPUTS and inherited_content.get("inputs", {}).get(key) != value:
            raise SlqError(f"{path}: proved for another {inherited_path} (inputs.{key} differs); prove it again")
    return inherited_path, inherited_content
