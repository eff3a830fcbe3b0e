"""What a search has found, as one page of HTML that needs nothing else."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from slq.files import write_text

PIXELS = 320  # the longest side of a thumbnail


@dataclass(frozen=True)
class Hit:
    """An image that was found: its path from the folder, its cosine, and what is drawn."""

    path: str
    similarity: float
    image: Image.Image

    @property
    def picture(self) -> str:
        """The thumbnail as an address that holds its bytes."""
        return thumbnail(self.image)


def thumbnail(image: Image.Image) -> str:
    """A small JPEG of an RGB image, as a data URL."""
    small, file = image.copy(), io.BytesIO()
    small.thumbnail((PIXELS, PIXELS))
    small.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def write_sheet(query: str | Image.Image, hits: list[Hit], run: str, searched: int, out: Path) -> None:
    """Write the page: the query, then the hits from the most similar on."""
    environment = Environment(
        loader=PackageLoader("slq.search", "."),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = query if isinstance(query, str) else None
    picture = None if isinstance(query, str) else thumbnail(query)
    page = environment.get_template("sheet.html.j2").render(
        text=text, picture=picture, hits=hits, run=run, searched=searched
    )
    write_text(out, page + "\n")
