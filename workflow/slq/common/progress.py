"""Progress of long loops: a bar on a terminal, and a line every ten seconds in a log."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from tqdm import tqdm

LOG_SECONDS = 10


class Progress(tqdm):
    """A progress bar on standard error; in a log it writes lines, and none if the loop ends before one is due."""

    def __init__(self, iterable: Iterable[Any] | None = None, **options: Any) -> None:
        if not sys.stderr.isatty():
            options |= {"mininterval": LOG_SECONDS, "maxinterval": LOG_SECONDS, "delay": LOG_SECONDS, "ascii": True}
        super().__init__(iterable, file=sys.stderr, **options)

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """Return what prints the bar: over itself on a terminal, as a line of its own in a log."""
        if file.isatty():
            return tqdm.status_printer(file)
        return lambda text: print(text, file=file, flush=True)
