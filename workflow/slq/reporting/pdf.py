"""A PDF from LaTeX: the same bytes each time, and an error that shows LaTeX's own first line of complaint."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from slq.common.errors import SlqError
from slq.common.files import write_bytes

LIMIT_S = 120


def compile_pdf(tex: Path, pdf: Path) -> None:
    """Compile `tex`, which may \\input files beside it, in a temporary folder, and put the result at `pdf`.

    Raises:
        SlqError: pdflatex is not installed or stops at an error; its log then lies beside `pdf` as .log.
    """
    program = shutil.which("pdflatex")
    if program is None:
        raise SlqError("pdflatex is not on PATH: install TeX Live (latex-base, latex-recommended, latex-extra)")
    if not tex.exists():
        raise SlqError(f"{tex}: does not exist; render the tables first")
    log = pdf.with_suffix(".log")
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(tex.parent.glob("*.tex")):
            shutil.copy(source, folder)
        done = _run(program, tex, Path(folder))
        made = Path(folder, "output.pdf")
        if done.returncode != 0 or not made.exists():
            write_bytes(log, done.stdout)
            raise SlqError(f"{tex}: pdflatex: {_first_error(done.stdout)}; the whole log is {log}")
        write_bytes(pdf, made.read_bytes())


def _run(program: str, tex: Path, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """One pass, at a fixed date: pdfTeX then derives neither dates nor the identity of the PDF from time and place."""
    settings = {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "max_print_line": "1000"}
    options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "-jobname=output"]
    command = [program, *options, tex.name]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SlqError(f"{tex}: pdflatex did not end within {LIMIT_S} s") from error


def _first_error(log: bytes) -> str:
    lines = log.decode("utf-8", errors="replace").splitlines()
    return next((line for line in lines if line.startswith("!")), "no error line in its log")
