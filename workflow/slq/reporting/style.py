"""Style and output of figures one column (3.4 inches) wide; the output is byte-for-byte reproducible."""

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from PIL.Image import Image

from slq.common.files import write_bytes
from slq.results.layout import ReportLayout

COLUMN_WIDTH = 3.4  # inches: one column of the paper's two
# Markers of the first eight backbones of the layout; further ones get stars with five points, six points, and so on.
BACKBONE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
MAX_IMAGE_SIDE = 224  # longest side of a drawn image in pixels: sharp at its printed size, and small in an SVG
MAX_NOTE_CHARS = 78  # longest line of a note
CORRECT_COLOUR = "#009e73"
FAINT_COLOUR = "#8a8a8a"
RC_PARAMS: Any = {  # matplotlib types each key by its name
    "font.family": "DejaVu Sans",  # ships with matplotlib, so it is the same on every machine
    "text.parse_math": False,  # a dollar sign in a caption or label is printed as such
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.2,
    "legend.frameon": False,
    "legend.handlelength": 1.7,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 0.8,
    "legend.borderpad": 0.1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 5,
    "svg.hashsalt": "slq",  # without a fixed salt, the ids in an SVG are random
}
# Dots per inch (in an SVG, those of embedded images) and metadata without time or version, by format.
FILE_FORMATS: dict[str, tuple[int, dict[str, str | None]]] = {
    "svg": (300, {"Date": None}),
    "png": (150, {"Software": None}),
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the package's figure style inside the context, independently of the user's matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC_PARAMS)
        yield


def new_figure(height: float) -> Figure:
    """Create an empty figure one column wide, with a constrained layout that makes room for labels.

    Args:
        height: height in inches
    """
    return Figure(figsize=(COLUMN_WIDTH, height), layout="constrained")


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write `name`.svg and `name`.png, with the same bytes for the same figure.

    The last digits from the layout solver differ between runs, and the ids of clip paths in an SVG depend on them.
    Axes are therefore placed once, at positions rounded to ten-thousandths of the figure.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.get_axes():
        left, bottom, width, height = (round(edge, 4) for edge in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))
    for file_format, (dpi, metadata) in FILE_FORMATS.items():
        data = io.BytesIO()
        figure.savefig(data, format=file_format, dpi=dpi, metadata=metadata)
        content = data.getvalue()
        if file_format == "svg":  # repeats each text in a comment, but XML allows no control characters
            content = re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", b" ", content)
        write_bytes(folder / f"{name}.{file_format}", content)


def draw_image(
    axes: Axes, image: Image, label: str, frame_colour: str = FAINT_COLOUR, frame_width: float = 0.4
) -> None:
    """Draw a framed image with a label below it."""
    thumbnail = image.copy()
    thumbnail.thumbnail((MAX_IMAGE_SIDE, MAX_IMAGE_SIDE))
    # Without clipping there is no clip path, whose id in an SVG depends on last digits that differ between runs.
    axes.imshow(thumbnail).set_clip_on(False)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(label, fontsize=6, labelpad=2)
    for spine in axes.spines.values():
        spine.set(visible=True, color=frame_colour, linewidth=frame_width)


def backbone_marker(layout: ReportLayout, backbone: str) -> Any:
    """Return the marker of the backbone with the given name."""
    index = [entry.name for entry in layout.backbones].index(backbone)
    return BACKBONE_MARKERS[index] if index < len(BACKBONE_MARKERS) else (index - 3, 1, 0)


def add_legend(figure: Figure, layout: ReportLayout, methods: Sequence[str], *extra_handles: Line2D) -> None:
    """Add a legend above the panels: the colour of each method, the marker of each backbone, and the extra handles."""
    colours = [
        Line2D([], [], color=layout.colors[method], linewidth=3, label=layout.labels[method]) for method in methods
    ]
    markers = [
        Line2D([], [], linestyle="", marker=backbone_marker(layout, entry.name), color="black", label=entry.label)
        for entry in layout.backbones
    ]
    figure.legend(handles=[*colours, *markers, *extra_handles], loc="outside upper center", ncols=4)


def add_note(figure: Figure, *sentences: str) -> None:
    """Add a wrapped note in small print below everything else.

    The layout reserves a twelfth of an inch per line of the note.
    """
    lines = textwrap.wrap(" ".join(filter(None, sentences)), MAX_NOTE_CHARS)
    engine = figure.get_layout_engine()
    height = (len(lines) / 12 + 0.06) / figure.get_figheight()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, height, 1, 1 - height))
    figure.text(0.015, height, "\n".join(lines), va="top", fontsize=5.8, color="#4a4a4a", linespacing=1.1)


def draw_empty(axes: Axes, reason: str) -> None:
    """Draw axes without points: show the reason, and no ticks."""
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=FAINT_COLOUR, style="italic")
    axes.set(xticks=[], yticks=[])
