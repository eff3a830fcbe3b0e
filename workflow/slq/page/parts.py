"""What the page takes over as it is: the rendered tables, and the figures as pictures inside the page."""

import base64
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slq.errors import SlqError

SECTION = re.compile(r'<section class="table">.*?</section>', re.DOTALL)
# In the order of the page: the two of the paper stand open, the others can be opened.
TABLES = {
    "table1": "Table 1: retrieval",
    "table3": "Table 3: tuning strategies",
    "retention": "Table B: answers by type of question",
    "intervals": "Table C: 95 % intervals",
    "comparisons": "Table D: SLQ against other tuning",
    "counts": "Table E: the same ranks, counted in other ways",
    "table1_extended": "Table 1 extended: every system, read-outs without training, and re-ranked lists",
}
OPEN = ("table1", "table3")
HOURS = "gpu_hours"
FIGURES = {
    "recall": "Recall of images by their captions against device hours of training",
    "retention": "Scores of the tuned backbones, less those of the untouched one",
    "scale": "Recall of queries that ask for knowledge, against the size of the backbone",
    "training": "Loss, and recalls on the val split, over training",
    "queries": "Six captions and the images that SLQ finds for each, the right one framed",
}


@dataclass(frozen=True)
class Shown:
    """A table as HTML. `open`: the page shows it before it is asked for."""

    title: str
    body: str
    open: bool


@dataclass(frozen=True)
class Figure:
    """A picture as an address that holds it, and a link to its own file."""

    title: str
    address: str
    link: str


def tables(folder: Path) -> list[Shown]:
    """The tables of a preset but for the hours; errors as in `table`."""
    return [Shown(title, table(folder, name), name in OPEN) for name, title in TABLES.items()]


def table(folder: Path, name: str) -> str:
    """A rendered table without the page around it.

    Raises:
        SlqError: it cannot be read, or was rendered from another template.
    """
    path = folder / f"{name}.html"
    found = SECTION.search(_bytes(path).decode())
    if found is None:
        raise SlqError(f'{path}: has no <section class="table">; render the tables again')
    return found[0]


def figures(paths: Sequence[Path], page: Path) -> list[Figure]:
    """Figures as pictures that the page holds itself.

    Args:
        paths: SVG files, named as in `FIGURES`
        page: the folder of the page

    Raises:
        SlqError: a figure cannot be read, or has no title here.
    """
    found = []
    for path in paths:
        if path.suffix != ".svg" or path.stem not in FIGURES:
            raise SlqError(f"{path}: no figure of the page; expected the SVG of one of {', '.join(FIGURES)}")
        picture = base64.b64encode(_bytes(path)).decode()
        link = Path(os.path.relpath(path, page)).as_posix()
        found.append(Figure(FIGURES[path.stem], f"data:image/svg+xml;base64,{picture}", link))
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SlqError(f"{path}: cannot be read: {error.strerror}") from error
