"""The exceptions that commands and jobs print as a message, and how a process ends with them, in any terminal."""

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable

# What a terminal without these characters shows in their place; of others it shows the code.
LOOKALIKES = {"\u2013": "-", "\u2212": "-", "±": "+-", "→": "->", "†": "+", "…": "...", "“": '"', "”": '"', "·": "."}
ADVICE = {
    errno.ENOSPC: "make room, and the same command goes on",
    errno.EDQUOT: "make room, and the same command goes on",
    errno.EROFS: "the disk is mounted read-only: name a folder on another, or mount it for writing",
}
INTERRUPTED = 130  # exit status after Ctrl-C, as shells give it


class SlqError(Exception):
    """An error that the user can fix: its message names the file or key, what was expected, and what to do."""

    status = 1  # exit status of the process

    def __init__(self, message: str) -> None:
        """Put the message into one line, whatever a library, or the name of a file, brings into it."""
        super().__init__(" ".join(message.splitlines()))


class TextError(SlqError):
    """A text that a model cannot take; who knows the item that it belongs to adds that to the message."""

    def __init__(self, message: str, text: str = "") -> None:
        """Create an error about a text."""
        super().__init__(message)
        self.text = text


class VerificationError(SlqError):
    """Fetched data that fails its check: it is not kept, as resuming from it would fail again."""


class SchemaError(SlqError):
    """A stored file has another schema than this version reads."""


def run_reporting_errors(work: Callable[[], None]) -> int:
    """Do the work of a command or job; return 0, or the exit status of its error after printing the message on stderr.

    What the system refuses (files, memory) becomes a message here, whatever library asked for it; what a library itself
    refuses, where that library is called. Everything else is a bug, and leaves a traceback.
    """
    try:
        work()
        sys.stdout.flush()
    except SlqError as error:
        return _report(str(error), error.status)
    except BrokenPipeError:  # whoever read the output, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _report(describe_os_error(error), 1)
    except (MemoryError, RuntimeError) as error:
        # Of torch, which is not imported here: a GPU's memory by the class, a CPU's by the words.
        of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
        if not (isinstance(error, MemoryError) or of_torch):
            raise
        return _report(f"not enough memory: {error or 'none is left'}; ask for more, or lower a batch size", 1)
    except KeyboardInterrupt:
        return _report("interrupted", INTERRUPTED)
    return 0


def describe_os_error(error: OSError) -> str:
    """Describe what the system refused: the file, if it is known, the reason, and what to do where that is known."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    advice = ADVICE.get(error.errno or 0, "")
    if names and names[0].startswith(os.path.expanduser("~/.cache/")) and "XDG_CACHE_HOME" not in os.environ:
        advice = "set XDG_CACHE_HOME to a folder that can be written"
    return ": ".join([*names, error.strerror or str(error)]) + (f"; {advice}" if advice else "")


def configure_terminal() -> None:
    """Let stdout and stderr take any text: what their encoding lacks is shown by a lookalike, or by its code."""
    codecs.register_error("lookalike", _replace_with_lookalikes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="lookalike")


def _replace_with_lookalikes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that an encoding lacks; a handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(LOOKALIKES.get(one) or one.encode("ascii", "backslashreplace").decode() for one in text), error.end


def _report(message: str, status: int) -> int:
    """Print the message of an error; return the exit status."""
    print(f"slq: error: {message}", file=sys.stderr)
    return status
