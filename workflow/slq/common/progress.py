"""Progress of long loops, as a bar on a terminal or as a line every ten seconds in a log."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from tqdm import tqdm

LOG_SECONDS = 10


class Progress(tqdm):
    """Progress bar on standard error; in a log it prints lines, but none if the loop ends within ten seconds."""

    def __init__(self, iterable: Iterable[Any] | None = None, **options: Any) -> None:
        if not sys.stderr.isatty():
            options |= {"mininterval": LOG_SECONDS, "maxinterval": LOG_SECONDS, "delay": LOG_SECONDS, "ascii": True}
        super().__init__(iterable, file=sys.stderr, **options)

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """Return the function that prints the bar: on a terminal over the last one, in a log on a separate line."""
        if file.isatty():
            return tqdm.status_printer(file)
        return lambda text: print(text, file=file, flush=True)
