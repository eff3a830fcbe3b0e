"""Jinja environments for HTML, which escape all text and link each number to its source files."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# A file path at the end of one part of a source, optionally followed by a line number.
FILE_PATTERN = re.compile(r"(\S+\.(?:json|jsonl|csv|parquet|yaml))(?::\d+)?$")


def template_environment(templates_folder: Path, **options: Any) -> Environment:
    """Build a Jinja environment that rejects undefined names and preserves the line breaks of a template.

    Args:
        templates_folder: the folder of the templates
        options: further arguments of `jinja2.Environment`
    """
    return Environment(
        loader=FileSystemLoader(templates_folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


def html_environment(templates_folder: Path, results_folder: Path, page_folder: Path) -> Environment:
    """Build the Jinja environment for HTML pages with a filter `links` that turns a source into links to its files.

    Args:
        templates_folder: the folder of the templates
        results_folder: the results folder; the paths of sources are relative to its parent
        page_folder: the folder that the pages are written to; links are relative to it
    """
    environment = template_environment(templates_folder, autoescape=True)
    environment.filters["links"] = _make_links_filter(results_folder, page_folder)
    return environment


def _make_links_filter(results_folder: Path, page_folder: Path) -> Callable[[str], list[str]]:
    """Make the filter that links to each file of a source once: `divided by itself: a.json; b.csv:3` gives two links.

    Paths are relative to the parent of `results_folder`. A file that does not exist gets no link.
    """
    root = results_folder.resolve().parent

    def file_links(source: str) -> list[str]:
        matches = filter(None, map(FILE_PATTERN.search, source.split("; ")))
        existing_paths = [
            root / name for name in dict.fromkeys(match[1] for match in matches) if (root / name).exists()
        ]
        return [Path(os.path.relpath(path, page_folder.resolve())).as_posix() for path in existing_paths]

    return file_links
