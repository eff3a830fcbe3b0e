"""Results that a run inherits from base, and their references to the file with the inherited metrics.

A method that trains no parameter used in text generation has the retention metrics of base.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.common.schema import wrap_content_errors

RUN_DEPTH = 4  # number of folders between the preset's folder and a file of a run
OWN_INPUTS = ("adapter", "answers")  # inputs of an inheriting file that may differ from those of base


def inherited_metrics_path(path: Path, content: Mapping[str, Any]) -> Path | None:
    """Return the file from which a result inherits its metrics, or None if it inherits none.

    `path` is `<preset>/<backbone>/<method>/seed<k>/<kind>/<dataset>.json`.
    """
    if "inherits_from" not in content:
        return None
    if not isinstance(content["inherits_from"], str):
        raise SlqError(f"{path}: key inherits_from is {content['inherits_from']!r}; expected the name of a file")
    return preset_folder(path) / content["inherits_from"]


def preset_folder(path: Path) -> Path:
    """Return the folder of the preset to which a file of a run belongs."""
    return (path if len(path.parents) > RUN_DEPTH else path.absolute()).parents[: RUN_DEPTH + 1][-1]


def read_inherited_metrics(path: Path, content: Mapping[str, Any]) -> tuple[Path, Any]:
    """Read the file from which a result inherits its metrics; return its path and content.

    Raises:
        SlqError: that file does not exist, or was made from other inputs than the inheriting file.
    """
    inherited_path = inherited_metrics_path(path, content)
    if inherited_path is None or not os.path.isfile(inherited_path):
        raise SlqError(
            f"{path}: inherits its metrics from {inherited_path}, which does not exist; restore it, or delete {path}"
        )
    inherited_content = read_json(inherited_path)
    with wrap_content_errors(path, "check it again"):
        own, inherited = ({**one.get("inputs", {})} for one in (content, inherited_content))
    for key, value in own.items():
        if key not in OWN_INPUTS and inherited.get(key) != value:
            raise SlqError(f"{path}: checked against another {inherited_path} (inputs.{key} differs); check it again")
    return inherited_path, inherited_content
