"""A few test captions and the images that a run finds for them, the right one framed."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from slq.reporting.figures import write_points
from slq.reporting.style import FAINT, RIGHT, draw_picture, house_style, new_figure, note, save
from slq.results.layout import METHODS
from slq.results.records import Record, read_lines

NAME = "queries"
LETTERS = 66  # of a caption in a line


def draw_queries(
    settings: Mapping[str, Any], top: Path, results: Path, open_image: Callable[[str], Image], output: Path
) -> None:
    """Write the grid as .svg and .png, and `queries.csv` with the similarity of every image in it.

    Args:
        settings: preset, and which run on which set: labels of the backbone and the set, name of the method, seed
        top: the run's lists of best images (docs/results.md)
        results: the folder that holds one folder per preset
        open_image: the picture of an image of the set

    Raises:
        SlqError: the lists or a picture cannot be read.
    """
    queries = read_lines(top, results)
    with house_style():
        save(query_grid(settings, queries, open_image), output, NAME)
    write_points(output / f"{NAME}.csv", [row for query in queries for row in _rows(settings, query)])


def _rows(settings: Mapping[str, Any], query: Record) -> list[Sequence[Any]]:
    places = enumerate(query.at("top"), start=1)
    name = query.text("query")
    return [(NAME, settings["set"], name, place, found["similarity"], query.source) for place, found in places]


def query_grid(settings: Mapping[str, Any], queries: Sequence[Record], open_image: Callable[[str], Image]) -> Figure:
    """A row per caption: its text, and below it the images from the most similar on."""
    columns = max(len(query.at("top")) for query in queries)
    titles = [caption(query) for query in queries]
    heights = [0.92 + 0.1 * title.count("\n") for title in titles]  # inches
    figure = new_figure(0.35 + sum(heights))
    parts = figure.subfigures(len(queries), 1, squeeze=False, height_ratios=heights)[:, 0]
    for query, title, part in zip(queries, titles, parts, strict=True):
        part.suptitle(title, x=0.015, ha="left", fontsize=6.5)
        cells = part.subplots(1, columns, squeeze=False)[0]
        for place, (axes, found) in enumerate(zip(cells, query.at("top"), strict=True), start=1):
            right = found["image"] == query.text("image")
            _draw_found(axes, open_image(found["image"]), f"{place}: {found['similarity']:.2f}", right)
    run = f"{METHODS[settings['method']]} on {settings['backbone_label']}, seed {settings['seed']}"
    which = f"{run}, {settings['set_label']}, preset {settings['preset']}"
    note(figure, f"{which}: captions, and the images most similar to them with their cosine; framed: the right one.")
    return figure


def caption(query: Record) -> str:
    """A query's text, and the rank of its image where that is not among those shown."""
    shown = any(found["image"] == query.text("image") for found in query.at("top"))
    text = query.text("text") if shown else f"{query.text('text')} [right image: rank {query.number('rank'):.0f}]"
    return textwrap.fill(text, LETTERS, max_lines=2, placeholder=" …")


def _draw_found(axes: Axes, image: Image, label: str, right: bool) -> None:
    """An image in a frame that tells the right one by colour, width and a tick."""
    colour = RIGHT if right else FAINT
    draw_picture(axes, image, f"{label} \N{CHECK MARK}" if right else label, colour, 2.2 if right else 0.4)
    axes.xaxis.label.set(color=colour, weight="bold" if right else "normal")
