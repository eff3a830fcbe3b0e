"""A job as its rule runs it: with a parameter file, through `python -m slq.jobs`."""

from pathlib import Path
from typing import Any

from slq.common.parameters import write_parameters
from slq.jobs import main


def parameter_file(
    folder: Path, job: str, settings: Any = None, values: Any = None, required: Any = (), **paths: Any
) -> Path:
    """The parameter file of a job, in `folder`; `paths` by the names of the function's parameters."""
    given = {"settings": settings, "values": values, "required": list(required)}
    texts = {name: list(map(str, one)) if isinstance(one, list) else one and str(one) for name, one in paths.items()}
    return write_parameters(folder, {"job": job, "paths": texts} | {key: one for key, one in given.items() if one})


def run_job(folder: Path, job: str, *flags: str, **parameters: Any) -> int:
    """The exit status of a job; its parameter file goes into `folder`, in a subfolder `params`."""
    return main([job, str(parameter_file(folder / "params", job, **parameters)), *flags])
