"""Jobs started as their rules start them: `python -m slq.jobs` with a parameter file."""

import tempfile
from pathlib import Path
from typing import Any

from slq.common.parameters import write_parameters
from slq.jobs import main


def parameter_file(
    folder: Path, job: str, settings: Any = None, values: Any = None, required: Any = (), **paths: Any
) -> Path:
    """Write the parameter file of a job to `folder`; the keys of `paths` are parameter names of the job's function."""
    given = {"settings": settings, "values": values, "required": [str(one) for one in required]}
    texts = {name: as_text(one) for name, one in paths.items()}
    given = {key: one for key, one in given.items() if one not in (None, [])}
    return write_parameters(folder, {"job": job, "paths": texts} | given)


def as_text(path: Any) -> Any:
    """Convert a path, or each path in a list or mapping, to the text that a parameter file contains."""
    if isinstance(path, dict):
        return {name: str(one) for name, one in path.items()}
    return [*map(str, path)] if isinstance(path, list) else path and str(path)


def run_job(job: str, *flags: str, **parameters: Any) -> int:
    """Run a job with the parameters of `parameter_file`, and return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        return main([job, str(parameter_file(Path(folder), job, **parameters)), *flags])
