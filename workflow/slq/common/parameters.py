"""Parameter files of jobs: everything that defines a job, in one file whose name is the hash of its content.

The Snakefile writes them and passes their paths (`job_call` in workflow/rules/common.smk), so that a job is due again
exactly when the path changes; a job reads its own (slq/jobs.py). A file holds:

    job       the name of the rule
    code      the fingerprint of the job's code, and as generation_code that of the code that generates answers
    members   of each registry, the members whose code the job uses
    settings  the slice of the configuration that the job depends on
    paths     the files and folders that the job reads and writes, by the name of the function's parameter
    values    other arguments of the function, such as a seed
    required  files of checks that must have passed before the job may begin
    content   the hash of files that the configuration names
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_json, read_json, write_json, write_text

CODE_KEYS = ("code", "generation_code")


def write_parameters(folder: Path, parameters: Mapping[str, Any]) -> Path:
    """Write a job's parameters to `<folder>/<sha256>.json` unless they are there, and return that path.

    Raises:
        SlqError: the file cannot be written.
    """
    text = json.dumps(parameters, sort_keys=True, indent=1, allow_nan=False) + "\n"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    if not path.exists():
        write_text(path, text)
    return path


def write_finished(path: Path, parameters: Mapping[str, Any], code: str) -> None:
    """Note that the job of a parameter file has finished, and with which code."""
    write_json(_finished_path(path.parent, parameters), {"parameters": path.name, "code": code})


def find_finished(folder: Path, parameters: Mapping[str, Any]) -> dict[str, str] | None:
    """Find the last finished job that differs from these parameters in its code at most.

    Returns:
        the name of its parameter file, and the code that it ran with; None if there is none.
    """
    path = _finished_path(folder, parameters)
    found: dict[str, str] | None = read_json(path) if path.is_file() else None
    return found if found and (folder / found["parameters"]).is_file() else None


def _finished_path(folder: Path, parameters: Mapping[str, Any]) -> Path:
    """Return the file about the last finished job with these parameters, whatever its code."""
    return folder / f"{hash_json({key: parameters[key] for key in parameters if key not in CODE_KEYS})}.finished"


def read_parameters(path: Path, job: str) -> dict[str, Any]:
    """Read the parameters of a job.

    Raises:
        SlqError: the file cannot be read, or holds the parameters of another job.
    """
    parameters: dict[str, Any] = read_json(path)
    found = parameters.get("job") if isinstance(parameters, dict) else None
    if found != job:
        raise SlqError(
            f"{path}: holds the parameters of {found or 'no job'}, not of {job}; take the file that the rule names"
        )
    return parameters
