"""The one way to HTML: Jinja that escapes everything, and links from a number to the files that it came from."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# A path at the end of a part of a source; a line number may follow.
FILE_PATTERN = re.compile(r"(\S+\.(?:json|jsonl|csv|parquet|yaml))(?::\d+)?$")


def template_environment(templates_folder: Path, **options: Any) -> Environment:
    """Jinja that refuses an unknown name, and keeps the lines of a template as they are; `options` is jinja2's own."""
    return Environment(
        loader=FileSystemLoader(templates_folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


def html_environment(templates_folder: Path, results_folder: Path, page_folder: Path) -> Environment:
    """Jinja for pages of the folder `page_folder`; its filter `links` leads from a source to files beside
    `results_folder`.
    """
    environment = template_environment(templates_folder, autoescape=True)
    environment.filters["links"] = _make_links_filter(results_folder, page_folder)
    return environment


def _make_links_filter(results_folder: Path, page_folder: Path) -> Callable[[str], list[str]]:
    """Links to the files of a source, each once: `divided by itself: a.json; b.csv:3` has two.

    Paths start above the folder `results_folder`; a file that is not there has no link.
    """
    root = results_folder.resolve().parent

    def file_links(source: str) -> list[str]:
        matches = filter(None, map(FILE_PATTERN.search, source.split("; ")))
        existing_paths = [
            root / name for name in dict.fromkeys(match[1] for match in matches) if (root / name).exists()
        ]
        return [Path(os.path.relpath(path, page_folder.resolve())).as_posix() for path in existing_paths]

    return file_links
