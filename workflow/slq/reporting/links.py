"""From the source of a number to the files that it names, as a page links to them."""

import os
import re
from collections.abc import Callable
from pathlib import Path

# A path at the end of a part of a source; a line number may follow.
FILE = re.compile(r"(\S+\.(?:json|jsonl|csv|parquet|yaml))(?::\d+)?$")


def files(source: str) -> list[str]:
    """The paths that a source names, in order, each once: `divided by itself: a.json; b.csv:3` has two."""
    found = (FILE.search(part) for part in source.split("; "))
    return list(dict.fromkeys(match[1] for match in found if match))


def linker(results: Path, page: Path) -> Callable[[str], list[str]]:
    """Links from a page in the folder `page` to the files of a source, which starts above the folder `results`.

    A file that is not there has none.
    """
    root = results.resolve().parent

    def links(source: str) -> list[str]:
        there = [root / name for name in files(source) if (root / name).exists()]
        return [Path(os.path.relpath(path, page.resolve())).as_posix() for path in there]

    return links
