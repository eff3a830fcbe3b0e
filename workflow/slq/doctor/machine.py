"""What this machine has: versions as pinned, what the environment says, LaTeX, room on the disk."""

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from slq.doctor.finding import FIRST, NOTE, OK, Finding
from slq.errors import SlqError

NAMED = ("torch", "transformers", "snakemake", "snakemake-executor-plugin-slurm")
SET_OR_NOT = ("HF_HOME", "HF_TOKEN", "HF_ENDPOINT", "SLQ_MIRROR")
WITHOUT_CUDA = "+cpu"  # at the end of torch's version, in the builds for processors
INSTALL = "python -m pip install -r envs/requirements.txt, in the environment that snakemake is called in"


def installed(requirements: Path) -> dict[str, tuple[str, str | None]]:
    """Of every package that is pinned on all machines its version as pinned, and as installed, None where it is not.

    Raises:
        SlqError: the file cannot be read.
    """
    try:
        text = requirements.read_text(encoding="utf-8")
    except OSError as error:
        raise SlqError(f"{requirements}: cannot be read: {error.strerror}; call from the root of the clone") from error
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))
    return {name: (pin, _version(name)) for name, pin in pins.items()}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(packages: Mapping[str, tuple[str, str | None]], on_gpus: bool) -> Iterator[Finding]:
    """What is not as pinned, and a torch that finds no GPU where jobs ask for some."""
    told = ", ".join(f"{name} {packages[name][1]}" for name in NAMED if packages[name][1])
    lacking = [f"{name} {pin}" for name, (pin, found) in packages.items() if found is None]
    other = [
        f"{name} {found}, pinned {pin}"
        for name, (pin, found) in packages.items()
        if found is not None and found.split("+")[0] != pin
    ]
    alike = len(packages) - len(lacking) - len(other)
    text = f"Python {platform.python_version()}, {told}; {alike} of {len(packages)} packages as pinned"
    if lacking:
        yield Finding(FIRST, "versions", f"{text}; not installed: {', '.join(lacking)}", INSTALL)
    elif other:
        yield Finding(NOTE, "versions", f"{text}; {'; '.join(other)}", f"tested is what is pinned: {INSTALL}")
    else:
        yield Finding(OK, "versions", text)
    torch = packages["torch"][1] or ""
    if on_gpus and torch.endswith(WITHOUT_CUDA):
        text = f"torch {torch} is the build for processors, and jobs ask for GPUs"
        yield Finding(FIRST, "torch", text, "install torch's build for CUDA, or say gpus: 0 (docs/cluster.md)")


def environment(variables: Mapping[str, str]) -> Finding:
    """Whether variables are set that fetching looks at; never what they say."""
    told = [f"{name} {'set' if variables.get(name) else 'not set'}" for name in SET_OR_NOT]
    home = Path(variables.get("HF_HOME") or Path(variables.get("HOME", "~")).expanduser() / ".cache/huggingface")
    told.append(f"a token of `hf auth login` {'is' if (home / 'token').is_file() else 'is not'} there")
    return Finding(OK, "environment", ", ".join(told))


def latex() -> Finding:
    """Whether tables become a PDF here."""
    if shutil.which("pdflatex"):
        return Finding(OK, "pdflatex", "there: tables become a PDF too")
    return Finding(NOTE, "pdflatex", "not on PATH: tables come as LaTeX and HTML, without a PDF")


def disk(scratch: Path, sources_gb: float, one_gb: float, all_gb: float) -> Finding:
    """Whether what a run keeps finds room.

    Args:
        sources_gb: still to be fetched, unpacked.
        one_gb: the largest training that is due, with its checkpoints.
        all_gb: all of them, as if they trained at once.
    """
    folder = scratch.resolve()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    where = f"{scratch}: {free:,.0f} GB free"
    text = f"{where}; sources {sources_gb:,.0f} GB, trainings {all_gb:,.0f} GB if all run at once"
    advice = "make room, or name another folder that all nodes see as `scratch` in a file of yours (--configfile)"
    if not os.access(there, os.W_OK):
        return Finding(FIRST, "disk", f"{there} cannot be written", advice)
    if free < sources_gb + one_gb:
        needed = f"sources {sources_gb:,.0f} GB and the largest training {one_gb:,.0f} GB"
        return Finding(FIRST, "disk", f"{where}, too little for {needed}", advice)
    if free < sources_gb + all_gb:
        return Finding(NOTE, "disk", text, f"{advice}; or fewer at once: --jobs")
    return Finding(OK, "disk", text)
