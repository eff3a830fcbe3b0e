"""The pilot's table and figure: a text's cosine with each image, by backbone and read-out."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image

from slq.errors import SlqError
from slq.files import read_json, write_text
from slq.reporting.cells import Cell, rank
from slq.reporting.figures import write_points
from slq.reporting.grid import Column, Group, Row, Table
from slq.reporting.html import html_environment
from slq.reporting.records import Record, relative
from slq.reporting.style import FAINT, RIGHT, house_style, new_figure, note, save
from slq.reporting.tables import latex_environment

NAME = "pilot"
SCHEMA = 1  # of pilot.json
LETTERS = 24  # of a text in a line beside a panel
TITLE_LETTERS = 14  # of a read-out's name in a line above one
PIXELS = 224  # the longest side of a drawn image
TEXT_WIDTH, CELLS_WIDTH = 6.0, 16.0  # cm, of the texts and of all cosines: together a landscape page with its gaps
HOW = "Cosine of a text with an image, of an untouched backbone; bold: the highest of a text under one read-out."
EMPTY_QUERIES = "Nothing is trained; a query is a zero vector behind the turn."


@dataclass(frozen=True)
class Pilot:
    """What the backbones of a preset say; all of the same texts, images and read-outs.

    records: of each backbone its file, by the backbone's name; labels: its name in print.
    """

    preset: str
    texts: list[str]
    images: list[str]
    readouts: list[str]
    records: dict[str, Record]
    labels: dict[str, str]

    def cosines(self, backbone: str, readout: int) -> list[list[float]]:
        """Texts by images, of a backbone and a read-out by its place."""
        found: list[list[float]] = self.records[backbone].at("readouts")[readout]["cosine"]
        return found


def read_pilot(settings: Mapping[str, Any], results: Path) -> Pilot:
    """The pilot's files of a preset's backbones.

    Args:
        settings: `preset`, and its `backbones` (name, label)
        results: the folder that holds one folder per preset

    Raises:
        SlqError: a file cannot be read, or is of other texts, images or read-outs than the first.
    """
    labels = {one["name"]: one["label"] for one in settings["backbones"]}
    paths = {name: results / settings["preset"] / name / "pilot.json" for name in labels}
    records = {
        name: Record(path, relative(path, results), read_json(path)).of_schema(SCHEMA) for name, path in paths.items()
    }
    first, *others = records.values()
    for record in others:
        for key in ("texts", "images"):
            if record.at(key) != first.at(key):
                raise SlqError(f"{record.path}: key {key} is not that of {first.path}; make both again")
        if readouts(record) != readouts(first):
            raise SlqError(f"{record.path}: key readouts is not that of {first.path}; make both again")
    return Pilot(settings["preset"], first.at("texts"), first.at("images"), readouts(first), records, labels)


def readouts(record: Record) -> list[str]:
    """The labels of the read-outs, in order."""
    return [readout["label"] for readout in record.at("readouts")]


def render_pilot(
    settings: Mapping[str, Any],
    results: Path,
    open_image: Callable[[str], Image],
    templates: Path,
    output: Path,
) -> None:
    """Write pilot.tex and pilot.html, and under figures pilot.svg, pilot.png and pilot.csv with every cosine.

    Args:
        settings, results: as `read_pilot` takes them
        open_image: the picture of an image by its name
        templates: the folder of the Jinja templates
        output: the preset's folder of tables

    Raises:
        SlqError: a result or a picture cannot be read; nothing is written then.
    """
    pilot = read_pilot(settings, results)
    pictures = [open_image(name) for name in pilot.images]
    table = pilot_table(pilot)
    html = html_environment(templates, results, output)
    origin = f"from {results.name}/{pilot.preset}; preset {pilot.preset}"
    latex = latex_environment(templates).get_template("long.tex.j2")
    write_text(output / f"{NAME}.tex", latex.render(table=table, origin=origin))
    write_text(output / f"{NAME}.html", html.get_template("table.html.j2").render(table=table))
    with house_style():
        save(pilot_figure(pilot, pictures), output / "figures", NAME)
    write_points(output / "figures" / f"{NAME}.csv", _points(pilot))


def _points(pilot: Pilot) -> list[Sequence[Any]]:
    return [
        (NAME, f"{backbone} {readout}", text, image, cosine, record.source)
        for backbone, record in pilot.records.items()
        for place, readout in enumerate(pilot.readouts)
        for text, row in zip(pilot.texts, pilot.cosines(backbone, place), strict=True)
        for image, cosine in zip(pilot.images, row, strict=True)
    ]


def two_decimals(value: float) -> str:
    """As the poster prints cosines; no minus before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"


# ---- the table -------------------------------------------------------------------------------------------------------


def pilot_table(pilot: Pilot) -> Table:
    """A row for each text of each backbone, and the images under each read-out."""
    return Table(
        name=NAME,
        number="P",
        caption=f"The pilot: {HOW[0].lower()}{HOW[1:]}",
        stubs=("Text",),
        columns=tuple(
            Column(f"{readout} {image}", (readout, image)) for readout in pilot.readouts for image in pilot.images
        ),
        groups=tuple(_group(pilot, backbone) for backbone in pilot.records),
        notes=(EMPTY_QUERIES,),
        widths=(TEXT_WIDTH, min(2.6, CELLS_WIDTH / (len(pilot.readouts) * len(pilot.images)))),
    )


def _group(pilot: Pilot, backbone: str) -> Group:
    source = pilot.records[backbone].source
    rows = []
    for number, text in enumerate(pilot.texts):
        cells: list[Cell] = []
        for place in range(len(pilot.readouts)):
            row = pilot.cosines(backbone, place)[number]
            cells += best_only([Cell.measured(cosine, two_decimals, source) for cosine in row])
        rows.append(Row(f"{backbone}/{number}", text, tuple(cells)))
    return Group(backbone, pilot.labels[backbone], tuple(rows))


def best_only(cells: Sequence[Cell]) -> list[Cell]:
    """The highest of a text marked, and no second."""
    return [cell if cell.mark == "best" else replace(cell, mark="") for cell in rank(cells)]


# ---- the figure ------------------------------------------------------------------------------------------------------


def pilot_figure(pilot: Pilot, pictures: Sequence[Image]) -> Figure:
    """The images with a number each, and below them a row of panels per backbone: texts by images, by read-out."""
    numbers = [str(number) for number in range(1, len(pilot.images) + 1)]
    texts = [textwrap.fill(text, LETTERS) for text in pilot.texts]
    titles = [textwrap.fill(readout, TITLE_LETTERS) for readout in pilot.readouts]
    panel = 0.3 + 0.1 * max(title.count("\n") + 1 for title in titles)
    panel += sum(0.13 + 0.1 * text.count("\n") for text in texts)  # inches
    figure = new_figure(1.3 + panel * len(pilot.records))
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.0, panel * len(pilot.records)])[:, 0]
    places = above.subplots(1, len(pictures), squeeze=False)[0]
    for axes, picture, number, name in zip(places, pictures, numbers, pilot.images, strict=True):
        _draw_picture(axes, picture, f"{number}: {textwrap.shorten(name, 16, placeholder='…')}")
    grid = below.subplots(len(pilot.records), len(pilot.readouts), squeeze=False)
    for row, backbone in zip(grid, pilot.records, strict=True):
        row[0].set_ylabel(pilot.labels[backbone])
        for place, (axes, title) in enumerate(zip(row, titles, strict=True)):
            axes.set_title(title, fontsize=6)
            _draw_cosines(axes, pilot.cosines(backbone, place), numbers)
            axes.set_yticks(range(len(texts)), texts if place == 0 else [""] * len(texts), fontsize=5.8)
    note(
        figure,
        f"Preset {pilot.preset}.",
        HOW,
        EMPTY_QUERIES,
        "Shade: from the lowest to the highest cosine of a panel.",
    )
    return figure


def _draw_picture(axes: Axes, picture: Image, label: str) -> None:
    small = picture.copy()
    small.thumbnail((PIXELS, PIXELS))
    # Unclipped: the name of a clip in an SVG carries the layout's last digits, which differ from one run to the next.
    axes.imshow(small).set_clip_on(False)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(label, fontsize=6, labelpad=2)
    for spine in axes.spines.values():
        spine.set(visible=True, color=FAINT, linewidth=0.4)


def _draw_cosines(axes: Axes, cosines: Sequence[Sequence[float]], numbers: Sequence[str]) -> None:
    """Numbers on shades; those in bold and of another colour are the highest of their row, as printed."""
    low, high = (edge(value for row in cosines for value in row) for edge in (min, max))
    dark = high + 2 * (high - low)  # so that a third of the greys is used, on which black is read
    axes.imshow(cosines, cmap="Greys", vmin=low, vmax=dark, aspect="auto").set_clip_on(False)
    axes.grid(False)
    axes.set_xticks(range(len(numbers)), numbers)
    axes.tick_params(length=0)
    for line, row in enumerate(cosines):
        highest = max(map(two_decimals, row), key=float)
        for place, value in enumerate(row):
            text = two_decimals(value)
            best = text == highest
            look: dict[str, Any] = {"color": RIGHT, "weight": "bold"} if best else {"color": "black"}
            axes.text(place, line, text, ha="center", va="center", fontsize=5.2, **look)
