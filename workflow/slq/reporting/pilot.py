"""Figure of the pilot study: the cosine similarity of each text with each image, by backbone and read-out."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from slq.common.errors import SlqError
from slq.reporting.figures import write_points
from slq.reporting.style import CORRECT_COLOUR, add_note, draw_image, figure_style, new_figure, save_figure
from slq.results.record import Record, read_record

FIGURE_NAME = "pilot"
SCHEMA = 1  # schema version of pilot.json
MAX_TEXT_CHARS = 24  # longest line of a text beside a panel
MAX_TITLE_CHARS = 14  # longest line of a read-out's name above a panel
NOTES = (
    "Cosine of each text with each image, from an untouched backbone; bold: the highest cosine of a text in a panel.",
    "Nothing is trained; a query is a zero vector after the chat turn.",
    "Shades run from the lowest to the highest cosine of a panel.",
)


def render_pilot(settings: Mapping[str, Any], results: Path, open_image: Callable[[str], Image], output: Path) -> None:
    """Write pilot.svg, pilot.png, and pilot.csv with every cosine similarity.

    Args:
        settings: `preset`, and its `backbones` (name, label)
        results: the results folder, which has one folder per preset
        open_image: loads an image by its name
        output: the folder for the files; nothing is written if a result or an image cannot be read
    """
    records = read_pilot_records(settings, results)
    pictures = {name: open_image(name) for name in _compared_inputs(records[0])["images"]}
    with figure_style():
        save_figure(draw_pilot(settings, records, pictures), output, FIGURE_NAME)
    points = [
        (FIGURE_NAME, f"{record.value('backbone')} {readout['label']}", text, image, cosine, record.source)
        for record in records
        for readout in record.value("readouts")
        for text, row in zip(record.value("texts"), readout["cosine"], strict=True)
        for image, cosine in zip(pictures, row, strict=True)
    ]
    write_points(output / f"{FIGURE_NAME}.csv", points)


def read_pilot_records(settings: Mapping[str, Any], results: Path) -> list[Record]:
    """Read the pilot file of each backbone; `settings` as in `render_pilot`.

    Raises:
        SlqError: a file has other texts, images or read-outs than the first file.
    """
    paths = [results / settings["preset"] / one["name"] / "pilot.json" for one in settings["backbones"]]
    records = [read_record(path, results, SCHEMA) for path in paths]
    for record in records[1:]:
        for key, value in _compared_inputs(record).items():
            if value != _compared_inputs(records[0])[key]:
                raise SlqError(f"{record.path}: key {key} differs from {paths[0]}; make both files again")
    return records


def _compared_inputs(record: Record) -> dict[str, list[str]]:
    """Return the texts, images and read-out labels of a pilot file."""
    labels = [readout["label"] for readout in record.value("readouts")]
    return {"texts": record.value("texts"), "images": record.value("images"), "readouts": labels}


def draw_pilot(settings: Mapping[str, Any], records: Sequence[Record], pictures: Mapping[str, Image]) -> Figure:
    """Draw the numbered images and, below them, one row of text-by-image panels per backbone, a panel per read-out."""
    inputs = _compared_inputs(records[0])
    texts = [textwrap.fill(text, MAX_TEXT_CHARS) for text in inputs["texts"]]
    titles = [textwrap.fill(label, MAX_TITLE_CHARS) for label in inputs["readouts"]]
    panel = 0.3 + 0.1 * max(title.count("\n") + 1 for title in titles)
    panel += sum(0.13 + 0.1 * text.count("\n") for text in texts)  # inches
    figure = new_figure(1.3 + panel * len(records))
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.0, panel * len(records)])[:, 0]
    image_axes = above.subplots(1, len(pictures), squeeze=False)[0]
    for number, (axes, (name, picture)) in enumerate(zip(image_axes, pictures.items(), strict=True), start=1):
        draw_image(axes, picture, f"{number}: {textwrap.shorten(name, 16, placeholder='…')}")
    grid = below.subplots(len(records), len(titles), squeeze=False)
    for row, record, backbone in zip(grid, records, settings["backbones"], strict=True):
        row[0].set_ylabel(backbone["label"])
        for axes, title, readout in zip(row, titles, record.value("readouts"), strict=True):
            axes.set_title(title, fontsize=6)
            _draw_cosines(axes, readout["cosine"])
            axes.set_yticks(range(len(texts)), texts if axes is row[0] else [""] * len(texts), fontsize=5.8)
    add_note(figure, f"Preset {settings['preset']}.", *NOTES)
    return figure


def _draw_cosines(axes: Axes, cosines: Sequence[Sequence[float]]) -> None:
    """Draw the cosines as numbers on shades of grey; the highest printed number of each row is bold and coloured."""
    low, high = (edge(value for row in cosines for value in row) for edge in (min, max))
    dark = high + 2 * (high - low)  # only the lightest third of the greys is used, so that black text is legible
    axes.imshow(cosines, cmap="Greys", vmin=low, vmax=dark, aspect="auto").set_clip_on(False)
    axes.grid(False)
    axes.set_xticks(range(len(cosines[0])), [str(number) for number in range(1, len(cosines[0]) + 1)])
    axes.tick_params(length=0)
    for row_index, row in enumerate(cosines):
        printed = [f"{round(value, 2) + 0.0:.2f}" for value in row]  # two decimals as on the poster; + 0.0 avoids -0.00
        highest = max(printed, key=float)
        for column_index, text in enumerate(printed):
            text_style: dict[str, Any] = (
                {"color": CORRECT_COLOUR, "weight": "bold"} if text == highest else {"color": "black"}
            )
            axes.text(column_index, row_index, text, ha="center", va="center", fontsize=5.2, **text_style)
