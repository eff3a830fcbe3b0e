"""Figure of example queries: test captions, and the images that a run retrieves for them, the correct one framed."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from slq.reporting.figures import write_points
from slq.reporting.style import (
    CORRECT_COLOUR,
    FAINT_COLOUR,
    add_note,
    draw_image,
    figure_style,
    new_figure,
    save_figure,
)
from slq.results.record import Record, read_jsonl_records

FIGURE_NAME = "queries"
MAX_CAPTION_CHARS = 66  # longest line of a caption


def draw_queries(
    settings: Mapping[str, Any], top: Path, results: Path, open_image: Callable[[str], Image], output: Path
) -> None:
    """Write the figure as .svg and .png, and `queries.csv` with the similarity of every image in the figure.

    Args:
        settings: the preset, the labels of backbone and dataset, the name of the dataset, the name of the method, and
            the seed
        top: the run's file with the most similar images of each query (docs/results.md)
        results: the results folder, which has one folder per preset
        open_image: loads an image of the dataset by its id
        output: the folder for the files
    """
    queries = read_jsonl_records(top, results)
    with figure_style():
        save_figure(draw_query_grid(settings, queries, open_image), output, FIGURE_NAME)
    write_points(output / f"{FIGURE_NAME}.csv", [row for query in queries for row in _csv_rows(settings, query)])


def _csv_rows(settings: Mapping[str, Any], query: Record) -> list[Sequence[Any]]:
    ranked_images = enumerate(query.value("top"), start=1)
    name = query.text("query")
    return [
        (FIGURE_NAME, settings["dataset"], name, rank, hit["similarity"], query.source) for rank, hit in ranked_images
    ]


def draw_query_grid(
    settings: Mapping[str, Any], queries: Sequence[Record], open_image: Callable[[str], Image]
) -> Figure:
    """Draw one row per caption: its text, and below it the retrieved images, the most similar first."""
    columns = max(len(query.value("top")) for query in queries)
    titles = [query_title(query) for query in queries]
    heights = [0.92 + 0.1 * title.count("\n") for title in titles]  # inches
    figure = new_figure(0.35 + sum(heights))
    parts = figure.subfigures(len(queries), 1, squeeze=False, height_ratios=heights)[:, 0]
    for query, title, part in zip(queries, titles, parts, strict=True):
        part.suptitle(title, x=0.015, ha="left", fontsize=6.5)
        cells = part.subplots(1, columns, squeeze=False)[0]
        for rank, (axes, hit) in enumerate(zip(cells, query.value("top"), strict=True), start=1):
            is_correct = hit["image"] == query.text("image")
            _draw_retrieved_image(axes, open_image(hit["image"]), f"{rank}: {hit['similarity']:.2f}", is_correct)
    run = f"{settings['method_label']} on {settings['backbone_label']}, seed {settings['seed']}"
    which = f"{run}, {settings['dataset_label']}, preset {settings['preset']}"
    add_note(
        figure, f"{which}: captions and their most similar images with cosine similarity. Framed: the correct image."
    )
    return figure


def query_title(query: Record) -> str:
    """Return the text of a query; if the correct image is not among those shown, append its rank."""
    is_among_top = any(hit["image"] == query.text("image") for hit in query.value("top"))
    text = (
        query.text("text") if is_among_top else f"{query.text('text')} [correct image: rank {query.number('rank'):.0f}]"
    )
    return textwrap.fill(text, MAX_CAPTION_CHARS, max_lines=2, placeholder=" …")


def _draw_retrieved_image(axes: Axes, image: Image, label: str, is_correct: bool) -> None:
    """Draw a framed image; the correct image has a coloured, wider frame and a tick in its label."""
    colour = CORRECT_COLOUR if is_correct else FAINT_COLOUR
    draw_image(axes, image, f"{label} \N{CHECK MARK}" if is_correct else label, colour, 2.2 if is_correct else 0.4)
    axes.xaxis.label.set(color=colour, weight="bold" if is_correct else "normal")
