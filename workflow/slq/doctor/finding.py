"""What a check found: one line of the page, with a mark that says whether a run can start as it is."""

import textwrap
from dataclasses import dataclass

WIDTH = 100  # columns of the page
OK, NOTE, FIRST = "ok", "--", "!!"  # well; good to know; to be done first
INDENT = 17


@dataclass(frozen=True)
class Finding:
    """`advice`: what to do, where it is not well."""

    mark: str
    subject: str
    text: str
    advice: str = ""

    def lines(self) -> list[str]:
        """As printed, what to do on lines of its own."""
        return _wrapped(f"[{self.mark}] {self.subject}", self.text) + (_wrapped("", self.advice) if self.advice else [])


def _wrapped(head: str, text: str) -> list[str]:
    """Text beside what it is about."""
    indent = " " * INDENT
    wrapped = textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [head.ljust(INDENT) + wrapped[0][INDENT:], *wrapped[1:]]
