"""The one way to HTML: Jinja that escapes everything, and links from a number to the files that it came from."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# A path at the end of a part of a source; a line number may follow.
FILE = re.compile(r"(\S+\.(?:json|jsonl|csv|parquet|yaml))(?::\d+)?$")


def template_environment(templates: Path, **more: Any) -> Environment:
    """Jinja that refuses an unknown name, and keeps the lines of a template as they are; `more` is jinja2's own."""
    return Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **more,
    )


def html_environment(templates: Path, results: Path, page: Path) -> Environment:
    """Jinja for pages of the folder `page`; its filter `links` leads from a source to files beside `results`."""
    environment = template_environment(templates, autoescape=True)
    environment.filters["links"] = _linker(results, page)
    return environment


def _linker(results: Path, page: Path) -> Callable[[str], list[str]]:
    """Links to the files of a source, each once: `divided by itself: a.json; b.csv:3` has two.

    Paths start above the folder `results`; a file that is not there has no link.
    """
    root = results.resolve().parent

    def links(source: str) -> list[str]:
        found = filter(None, map(FILE.search, source.split("; ")))
        there = [root / name for name in dict.fromkeys(match[1] for match in found) if (root / name).exists()]
        return [Path(os.path.relpath(path, page.resolve())).as_posix() for path in there]

    return links
