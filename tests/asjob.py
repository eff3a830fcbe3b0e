"""A job as its rule runs it: with a parameter file, through `python -m slq.jobs`."""

import tempfile
from pathlib import Path
from typing import Any

from slq.common.parameters import write_parameters
from slq.jobs import main


def parameter_file(
    folder: Path, job: str, settings: Any = None, values: Any = None, required: Any = (), **paths: Any
) -> Path:
    """The parameter file of a job, in `folder`; `paths` by the names of the function's parameters."""
    given = {"settings": settings, "values": values, "required": [str(one) for one in required]}
    texts = {name: as_text(one) for name, one in paths.items()}
    given = {key: one for key, one in given.items() if one not in (None, [])}
    return write_parameters(folder, {"job": job, "paths": texts} | given)


def as_text(path: Any) -> Any:
    """A path as a parameter file has it, or each of a list or mapping of paths."""
    if isinstance(path, dict):
        return {name: str(one) for name, one in path.items()}
    return [*map(str, path)] if isinstance(path, list) else path and str(path)


def run_job(job: str, *flags: str, **parameters: Any) -> int:
    """The exit status of a job with these parameters, which are those of `parameter_file`."""
    with tempfile.TemporaryDirectory() as folder:
        return main([job, str(parameter_file(Path(folder), job, **parameters)), *flags])
