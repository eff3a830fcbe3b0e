"""Handler of Snakemake's log records, which prints finished jobs, the progress of running jobs, errors and results.

On a terminal, the last line shows the progress of the running jobs. In a file or pipe, lines are neither cut nor
coloured, and each running job that reports its progress prints a line every minute. Snakemake writes everything else to
its own log in .snakemake/log.
"""

import os
import re
import shutil
import sys
import textwrap
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from logging import ERROR, INFO, WARNING, LogRecord
from pathlib import Path

from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from snakemake_logger_plugin_slq.words import WORDS

DEFAULT_WIDTH = 120
REDRAW_SECONDS, LINE_SECONDS = 1, 60  # interval of progress updates on a terminal, and otherwise
LOG_TAIL = 1 << 16  # bytes at the end of a job's log that are searched for remarks, errors and progress
ERROR_LINES = 10  # number of log lines shown for a failed job without one of our error messages
PROGRESS = re.compile(r"(\d+)%\||step (\d[\d,]*) of (\d[\d,]*)")  # formats of progress bars and of our jobs
SLURM_ERROR = re.compile("^(?:slurmstepd|srun): error: .*", re.MULTILINE)
OUR_REMARK, OUR_ERROR = "slq: ", "slq: error: "
CLEAR_LINE = "\r\x1b[2K"
NO_BREAK = "\u00a0"  # a space at which no line is folded
COLORS = {"red": 31, "green": 32, "yellow": 33, "grey": 90}
NO_JOB_LINES = {Quietness.ALL, Quietness.RULES, Quietness.PROGRESS}
# Remarks of Snakemake that are shown. The others are only in Snakemake's log, unless --verbose is given.
REMARKS = re.compile("Nothing to be done|Trying to restart|Removing output|Will exit after|dry-run")
# Errors that Snakemake reports in addition to those shown: a failed command, and the failure of the whole call.
REPEATED_ERRORS = re.compile("CalledProcessError|At least one job did not complete successfully")


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Command-line options of the plugin."""

    reasons: bool = field(default=False, metadata={"help": "Print for each job the reason why it is run."})


@dataclass
class RunningJob:
    """A job that has started: its title, its files, and the time when it began."""

    title: str
    rule: str
    outputs: Sequence[str]
    log: Path | None
    benchmark: Path | None
    began: float

    def percent_done(self) -> int | None:
        """Return the progress that the job's log reports, in percent; None if the log reports none yet."""
        found = PROGRESS.findall(_read_tail(self.log)) if self.log else []
        percent, *steps = found[-1] if found else ("", "", "")
        done, total = (int(number.replace(",", "") or 0) for number in ((percent, "100") if percent else steps))
        return 100 * done // total if 0 < done <= total else None

    def seconds(self, until: float) -> float:
        """Return the run time in the job's benchmark file or, if it has none, the time from its start to `until`."""
        if self.benchmark and self.benchmark.exists() and self.benchmark.stat().st_mtime >= self.began:
            found = re.search(r'"s": ([\d.]+)', self.benchmark.read_text(encoding="utf-8"))
            return float(found[1]) if found else until - self.began
        return until - self.began


class LogHandler(LogHandlerBase):
    """Handler that prints Snakemake's log records to a terminal or a file."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Determine the properties of the stream, and start the thread that shows progress."""
        self.stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self.is_terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.is_colored = self.is_terminal and not self.common_settings.nocolor and "NO_COLOR" not in os.environ
        self.shows_jobs = not NO_JOB_LINES & set(self.common_settings.quiet or ())
        self.running: dict[int, RunningJob] = {}
        self.finished_rules: set[str] = set()
        self.num_finished = self.num_jobs = 0
        self.job_table = ""
        self.failed = False
        self.is_line_cleared = True  # whether a written line has cleared the progress line
        self.is_closed = threading.Event()
        self.ticker = threading.Thread(target=self._show_progress, daemon=True)
        if self.shows_jobs and not self.common_settings.dryrun:
            self.ticker.start()

    def emit(self, record: LogRecord) -> None:
        """Print a record."""
        try:
            {
                LogEvent.RUN_INFO: self._show_plan,
                LogEvent.PROGRESS: self._count_jobs,
                LogEvent.JOB_INFO: self._announce_job,
                LogEvent.JOB_FINISHED: self._finish_job,
                LogEvent.JOB_ERROR: self._show_failed_job,
            }.get(getattr(record, "event", None), self._show_remark)(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Print the job table of a dry run, and the closing lines from the Snakefile unless the call is quiet."""
        if not self.is_closed.is_set():
            self.is_closed.set()
            if self.ticker.is_alive():
                self.ticker.join()
            if self.common_settings.dryrun and self.job_table:
                self._write(self.job_table.strip("\n").splitlines())
            if not self.failed and self.num_jobs and (self.shows_jobs or self.common_settings.dryrun):
                width = self._width() if self.is_terminal else None
                self._write(WORDS.last_words(self.finished_rules, self.common_settings.dryrun, width))
        super().close()

    def _show_plan(self, record: LogRecord) -> None:
        """Print the number of jobs to run; a dry run prints their table at its end instead."""
        self.job_table = record.getMessage()
        self.num_jobs = record.stats["total"]
        if self.shows_jobs and not self.common_settings.dryrun:
            self._write([f"Jobs to run: {self.num_jobs}. Their output is in logs/."])

    def _count_jobs(self, record: LogRecord) -> None:
        """Update the number of jobs, to which a learning-rate search may have added some."""
        self.num_jobs = record.total

    def _announce_job(self, record: LogRecord) -> None:
        """Record a job that is about to run; print it for a dry run, with reasons, or with --printshellcmds."""
        title = WORDS.put_labels(record.rule_msg or record.rule_name, record.wildcards.values())
        log = Path(record.log[0]) if record.log else None
        benchmark = Path(record.benchmark) if record.benchmark else None
        job = RunningJob(title, record.rule_name, record.output, log, benchmark, record.created)
        self.running[record.jobid] = job
        if not self.shows_jobs or not log:  # a rule without a log only collects targets
            return
        if self.common_settings.dryrun or self.settings.reasons or self.common_settings.printshellcmds:
            self._write([title])
        if self.settings.reasons:
            self._write([f"because: {record.reason}"], indent="    ", color="grey")
        if self.common_settings.printshellcmds and record.shellcmd:
            self._write(record.shellcmd.splitlines(), indent="    ", color="grey")

    def _finish_job(self, record: LogRecord) -> None:
        """Print the line of a finished job (title, headline and run time), and the remarks in its log."""
        job = self.running.pop(record.job_id)
        self.num_finished += 1
        self.finished_rules.add(job.rule)
        if not self.shows_jobs or not job.log:
            return
        width = len(str(self.num_jobs))
        count = f"[{self.num_finished:{width}}/{self.num_jobs}] "
        headline = WORDS.put_labels(WORDS.find_headline(job.rule, job.outputs), WORDS.labels)
        numbers = f"{headline}, {format_seconds(job.seconds(record.created))}"
        numbers = re.sub("(?<!,) ", NO_BREAK, numbers)  # a number stays on the line of its name or unit
        text = f"{count}{job.title}{': ' if headline else ''}{numbers}"
        self._write([text], hanging=" " * len(count), color="green")
        remarks = [line for line in _read_tail(job.log).splitlines() if line.startswith(OUR_REMARK)]
        self._write(remarks, indent=" " * len(count), color="yellow")

    def _show_failed_job(self, record: LogRecord) -> None:
        """Print the error message of a failed job, and the path of its log.

        A job that was not started, such as one that Slurm refuses, has no log, or that of an earlier call; the message
        is then the executor's, without the call of `sbatch` below it.
        """
        job = self.running.pop(record.jobid, None)
        self.failed = True
        title = job.title if job else record.rule_name
        self._write([f"FAILED: {title} (rule {record.rule_name})"], color="red")
        logs = [Path(path) for path in record.log]
        logs = [path for path in logs if path.exists() and (job is None or path.stat().st_mtime >= job.began)]
        reason, _, _ = (record.rule_msg or "").partition("\n    ")
        self._write(find_error(logs) or reason.splitlines(), indent="    ", color="red")
        self._write([f"log: {os.path.relpath(path)}" for path in logs], indent="    ")

    def _show_remark(self, record: LogRecord) -> None:
        """Print a warning or an error; print other remarks only if REMARKS matches them, or with --verbose."""
        message = record.getMessage() if record.msg is not None else ""
        wanted = record.levelno >= WARNING and not REPEATED_ERRORS.search(message)
        wanted = wanted or (record.levelno >= INFO and REMARKS.search(message) is not None)
        if message and (wanted or self.common_settings.verbose):
            self.failed = self.failed or record.levelno >= ERROR
            color = {WARNING: "yellow", ERROR: "red"}.get(record.levelno, "")
            self._write(message.strip("\n").splitlines(), color=color)

    def _show_progress(self) -> None:
        """Print the progress of the running jobs until the handler is closed; on a terminal, only after a change."""
        shown = ""
        while not self.is_closed.wait(REDRAW_SECONDS if self.is_terminal else LINE_SECONDS):
            with self.lock:
                lines = sorted(map(_progress_line, self.running.values()), key=lambda line: not line.endswith(" %"))
                if self.is_terminal:
                    text = f"{len(lines)} running: {'; '.join(lines)}" if lines else ""
                    text = CLEAR_LINE + self._color(_cut(text, self._width()), "grey")
                    if text != shown or self.is_line_cleared:
                        self._put(text)
                    shown, self.is_line_cleared = text, False
                else:
                    self._write([line for line in lines if "%" in line])
        if self.is_terminal:
            self._put(CLEAR_LINE)

    def _write(self, lines: Iterable[str], indent: str = "", hanging: str = "    ", color: str = "") -> None:
        """Write lines; on a terminal, fold them at its width."""
        text = "\n".join(self._color(part, color) for line in lines for part in self._fold(line, indent, hanging))
        if text:
            with self.lock:
                self._put(f"{CLEAR_LINE if self.is_terminal else ''}{text}\n")
                self.is_line_cleared = True

    def _fold(self, line: str, indent: str, hanging: str) -> list[str]:
        """Fold a line at the width of the terminal; if the stream is not a terminal, keep one line."""
        lines = [indent + line]
        if self.is_terminal and len(lines[0]) > self._width():
            indents = {"initial_indent": indent, "subsequent_indent": indent + hanging}
            lines = textwrap.wrap(line, self._width(), break_on_hyphens=False, **indents)
        return [part.replace(NO_BREAK, " ") for part in lines]

    def _width(self) -> int:
        """Return the number of columns of the terminal."""
        return shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns

    def _color(self, text: str, color: str) -> str:
        """Return the text in a colour, if colours are enabled."""
        return f"\x1b[{COLORS[color]}m{text}\x1b[0m" if color and text and self.is_colored else text

    def _put(self, text: str) -> None:
        """Write a text; replace characters that the stream cannot encode with question marks."""
        encoding = self.stream.encoding or "utf-8"
        try:
            self.stream.write(text.encode(encoding, "replace").decode(encoding))
            self.stream.flush()
        except BrokenPipeError:  # the reader, such as `head`, has closed the pipe; the jobs continue
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


def format_seconds(seconds: float) -> str:
    """Format a duration: 0.4 s, 13 s, 2 min 5 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 1:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _progress_line(job: RunningJob) -> str:
    """Return a running job's title, with its progress in percent if known."""
    percent = job.percent_done()
    return job.title if percent is None else f"{job.title} {percent} %"


def _cut(text: str, width: int) -> str:
    """Cut a text at the width of the terminal; keep the last column free, as some terminals wrap there."""
    return text if len(text) < width else f"{text[: width - 4]}..."


def _read_tail(path: Path) -> str:
    """Read the end of a log; return an empty text if the log does not exist yet."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - LOG_TAIL, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def find_error(logs: Sequence[Path]) -> list[str]:
    """Return our error message at the end of a failed job's log or, if there is none, the last lines of the log.

    On a cluster the rule's log is followed by Slurm's log, which repeats the message among lines of Snakemake. From
    Slurm's log only the errors of Slurm are returned, such as a time limit.
    """
    texts = [_read_tail(path) for path in logs]
    for text in texts:
        _, found, message = text.rpartition(OUR_ERROR)
        if found:
            return (found + message).splitlines()
    own, *others = [text for text in texts if text] or [""]
    return own.splitlines()[-ERROR_LINES:] + [line for text in others for line in SLURM_ERROR.findall(text)]
