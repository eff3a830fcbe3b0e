"""Exceptions that commands and jobs print as one message, and their exit statuses.

SlqError is the class of all errors that a user can fix: invalid input, a missing or damaged file, a wrong setting. Its
message names the place (file, line or key), what was found, what was expected, and what to do. Functions of this
package raise it in such cases even if their docstrings do not mention it.
"""

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable

# Replacements of these characters on a terminal that cannot show them. Other such characters are shown as their code.
LOOKALIKES = {"\u2013": "-", "\u2212": "-", "±": "+-", "→": "->", "†": "+", "…": "...", "“": '"', "”": '"', "·": "."}
ADVICE = {
    errno.ENOSPC: "free disk space, then run the same command again to resume",
    errno.EDQUOT: "free disk space, then run the same command again to resume",
    errno.EROFS: "the disk is mounted read-only: use a folder on another disk, or mount this one for writing",
}
INTERRUPTED = 130  # exit status after Ctrl-C, by the convention of shells


class SlqError(Exception):
    """Error that the user can fix; its message names the file or key, what was expected, and what to do."""

    status = 1  # exit status of the process

    def __init__(self, message: str) -> None:
        """Join the message into one line; texts of libraries and file names may contain newlines."""
        super().__init__(" ".join(message.splitlines()))


class TextError(SlqError):
    """Error about a text that a model cannot process; a caller that knows the text's item adds it to the message."""

    def __init__(self, message: str, text: str = "") -> None:
        """Create an error about a text."""
        super().__init__(message)
        self.text = text


class VerificationError(SlqError):
    """Error about fetched data that fails its check; the data is removed, because a resumed fetch would fail again."""


class SchemaError(SlqError):
    """Error about a stored file with another schema than the one this version reads."""


def run_reporting_errors(work: Callable[[], None]) -> int:
    """Run a command or job; print the message of its error on stderr, and return the exit status.

    System errors (files, memory) are converted to messages here, whichever library caused them. Errors of a library are
    converted where the library is called. Any other exception is a bug and leaves a traceback.
    """
    try:
        work()
        sys.stdout.flush()
    except SlqError as error:
        return _report(str(error), error.status)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _report(describe_os_error(error), 1)
    except (MemoryError, RuntimeError) as error:
        # Torch is not imported here, so its errors are recognised by the class name (GPU) or the message (CPU).
        of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
        if not (isinstance(error, MemoryError) or of_torch):
            raise
        return _report(f"not enough memory: {error or 'none is left'}; request more, or lower a batch size", 1)
    except KeyboardInterrupt:
        return _report("interrupted", INTERRUPTED)
    return 0


def describe_os_error(error: OSError) -> str:
    """Describe a system error: the file, if known, the reason, and advice, if there is any."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    advice = ADVICE.get(error.errno or 0, "")
    if names and names[0].startswith(os.path.expanduser("~/.cache/")) and "XDG_CACHE_HOME" not in os.environ:
        advice = "set XDG_CACHE_HOME to a writable folder"
    return ": ".join([*names, error.strerror or str(error)]) + (f"; {advice}" if advice else "")


def configure_terminal() -> None:
    """Let stdout and stderr accept any text; a character that their encoding lacks is replaced by a similar one."""
    codecs.register_error("lookalike", _replace_with_lookalikes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="lookalike")


def _replace_with_lookalikes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that an encoding lacks by similar ones, or else by their code (handler for `codecs`)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(LOOKALIKES.get(one) or one.encode("ascii", "backslashreplace").decode() for one in text), error.end


def _report(message: str, status: int) -> int:
    """Print the message of an error; return the exit status."""
    print(f"slq: error: {message}", file=sys.stderr)
    return status
