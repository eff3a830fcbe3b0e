"""Jinja environments for HTML, which escape everything and link each number to its source files."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# A file path at the end of one part of a source, with an optional line number.
FILE_PATTERN = re.compile(r"(\S+\.(?:json|jsonl|csv|parquet|yaml))(?::\d+)?$")


def template_environment(templates_folder: Path, **options: Any) -> Environment:
    """Build a Jinja environment that rejects undefined names and keeps the lines of a template.

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
    """Build the Jinja environment for HTML pages, whose filter `links` turns a source into links to its files.

    Args:
        templates_folder: the folder of the templates
        results_folder: the results; the paths of sources start at the folder that contains it
        page_folder: the folder that the pages are written to, from which links are relative
    """
    environment = template_environment(templates_folder, autoescape=True)
    environment.filters["links"] = _make_links_filter(results_folder, page_folder)
    return environment


def _make_links_filter(results_folder: Path, page_folder: Path) -> Callable[[str], list[str]]:
    """Make the filter that links to the files of a source, each once: `divided by itself: a.json; b.csv:3` has two.

    Paths start at the folder that contains `results_folder`; a file that does not exist gets no link.
    """
    root = results_folder.resolve().parent

    def file_links(source: str) -> list[str]:
        matches = filter(None, map(FILE_PATTERN.search, source.split("; ")))
        existing_paths = [
            root / name for name in dict.fromkeys(match[1] for match in matches) if (root / name).exists()
        ]
        return [Path(os.path.relpath(path, page_folder.resolve())).as_posix() for path in existing_paths]

    return file_links
