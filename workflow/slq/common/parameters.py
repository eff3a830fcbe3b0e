"""Parameter files of jobs. Each job is defined by one file, whose name is the hash of its content.

The Snakefile writes parameter files and passes their paths to the jobs (`job_call` in workflow/rules/common.smk). A job
therefore re-runs exactly if the path changes. A job reads its own file (slq/jobs.py), which has these keys:

    job       name of the rule
    code      fingerprint of the job's code; generation_code is that of the code that generates answers
    members   registry members whose code the job uses, by registry
    settings  part of the configuration that the job depends on
    paths     files and folders that the job reads and writes, by name of the function's parameter
    values    other arguments of the function, such as a seed
    required  files of the checks that must have passed before the job may begin
    content   hash of the files that the configuration names
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
    """Write a job's parameters to `<folder>/<sha256>.json`, unless that file exists, and return its path."""
    text = json.dumps(parameters, sort_keys=True, indent=1, allow_nan=False) + "\n"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    if not path.exists():
        write_text(path, text)
    return path


def write_finished(path: Path, parameters: Mapping[str, Any], code: str) -> None:
    """Record that the job of a parameter file has finished, and with which code."""
    write_json(_finished_path(path.parent, parameters), {"parameters": path.name, "code": code})


def find_finished(folder: Path, parameters: Mapping[str, Any]) -> dict[str, str] | None:
    """Find the last finished job with the same parameters, apart from the code.

    Returns:
        The name of its parameter file, and the fingerprint of its code; None if there is no such job.
    """
    path = _finished_path(folder, parameters)
    found: dict[str, str] | None = read_json(path) if path.is_file() else None
    return found if found and (folder / found["parameters"]).is_file() else None


def _finished_path(folder: Path, parameters: Mapping[str, Any]) -> Path:
    """Return the path of the record of the last finished job with these parameters, with any code."""
    return folder / f"{hash_json({key: parameters[key] for key in parameters if key not in CODE_KEYS})}.finished"


def read_parameters(path: Path, job: str) -> dict[str, Any]:
    """Read the parameters of a job, and check that they are for this job."""
    parameters: dict[str, Any] = read_json(path)
    found = parameters.get("job") if isinstance(parameters, dict) else None
    if found != job:
        raise SlqError(
            f"{path}: contains the parameters of {found or 'no job'}, not of {job}; pass the file of the rule {job}"
        )
    return parameters
