"""PDF from LaTeX with reproducible bytes; a failure reports the first error line of LaTeX's log."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from slq.common.errors import SlqError
from slq.common.files import write_bytes

TIMEOUT_S = 120


def compile_pdf(tex: Path, pdf: Path) -> None:
    r"""Compile `tex`, which may \input files from its own folder, in a temporary folder, and write the result to `pdf`.

    Raises:
        SlqError: pdflatex is not installed, fails or does not end in time, or `tex` does not exist; the log of a failed
            compilation is written next to `pdf` as .log.
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
        completed = _run_pdflatex(program, tex, Path(folder))
        output_pdf = Path(folder, "output.pdf")
        if completed.returncode != 0 or not output_pdf.exists():
            write_bytes(log, completed.stdout)
            raise SlqError(f"{tex}: pdflatex: {_first_error(completed.stdout)}; the whole log is {log}")
        write_bytes(pdf, output_pdf.read_bytes())


def _run_pdflatex(program: str, tex: Path, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run pdflatex once with a fixed date, so that the dates and the id of the PDF depend on neither time nor path."""
    environment = {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "max_print_line": "1000"}
    options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "-jobname=output"]
    command = [program, *options, tex.name]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SlqError(f"{tex}: pdflatex did not end within {TIMEOUT_S} s") from error


def _first_error(log: bytes) -> str:
    lines = log.decode("utf-8", errors="replace").splitlines()
    return next((line for line in lines if line.startswith("!")), "no error line in its log")
