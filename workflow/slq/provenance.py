"""Under which circumstances something was computed: code, versions, image backend, machine."""

import os
import platform
import subprocess
from importlib.metadata import version
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "pillow", "snakemake")


def provenance(image_processor: Any) -> dict[str, Any]:
    """Code, versions, image backend and machine behind a result."""
    return {
        "git": git_state(),
        "python": platform.python_version(),
        "versions": versions(),
        "image_processor": type(image_processor).__name__,
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def versions() -> dict[str, str]:
    """Of the packages that a result rests on."""
    return {name: version(name) for name in PACKAGES}


def git_state() -> dict[str, Any] | None:
    """Commit and dirty flag of the working folder, or None outside a repository, or where git does not answer."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, ValueError, subprocess.CalledProcessError):  # ValueError: names that are not UTF-8
        return None
    return {"commit": commit, "dirty": bool(changed.strip())}
