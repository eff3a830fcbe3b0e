"""Pictures of README.md and docs/ from a finished mini preset: python tests/pictures.py [NAME...]

Run it after `make reproduce`. It draws the named pictures, by default `tables`, `queries` and `search`. `screen` shows
`make reproduce` itself; it is drawn only if named, in a clone in which nothing has run. A Chromium is required.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageChops, ImageOps

from terminal import draw_picture, run_on_a_terminal, save_small, take_screenshot

ROOT = Path(__file__).parents[1]
REPORT = "paper_tables/mini/report.html"
TABLES = ("table1", "table3")  # tables of the page
QUERY = "a red circle to the left of a blue ring"
RUN = "results/mini/mini-internvl/slq/seed1"
IMAGES = "scratch/data/mini-coco/test/images"
MARGIN = 16  # pixels around a picture
MAX_HEIGHT = 3000  # pixels of the browser window from which a picture is cropped


def draw_tables(root: Path, out: Path) -> None:
    """Draw Tables 1 and 3 of the page, in its own style."""
    page = _read_report(root)
    sections = re.findall(r'<section class="table">.*?</section>', page, re.DOTALL)
    found = {name: [one for one in sections if f'id="caption-{name}"' in one] for name in TABLES}
    if missing := [name for name in TABLES if not found[name]]:
        sys.exit(f"{REPORT} has no section of {', '.join(missing)}")
    style = "".join(re.findall(r"<style>.*?</style>", page, re.DOTALL))
    _draw_page(style + "".join(found[name][0] for name in TABLES), width=1240, out=out)


def draw_queries(root: Path, out: Path) -> None:
    """Draw the figure of captions and the images found for them, as the page embeds it."""
    found = re.search(r'<img src="(data:image/svg[^"]*)" alt="Six captions[^"]*">', _read_report(root))
    if found is None:
        sys.exit(f"{REPORT} has no figure of queries")
    _draw_page(f'<img src="{found[1]}" width="840">', width=880, out=out)


def draw_search(root: Path, out: Path) -> None:
    """Draw the contact sheet of the search in README.md."""
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "sheet.html"
        command = [sys.executable, "-m", "slq.cli", "search", RUN, IMAGES, "--text", QUERY, "--sheet", str(sheet)]
        subprocess.run(command, cwd=root, check=True)
        draw_cropped(sheet, width=960, out=out)


def draw_screen(root: Path, out: Path) -> None:
    """Draw the terminal of `make reproduce`."""
    if (root / "results/mini").exists():
        sys.exit("results/mini is there, so `make reproduce` would run nothing; make this picture in a fresh clone")
    status, written = run_on_a_terminal(["make", "reproduce"], root)
    draw_picture(written, out)
    if status:
        sys.exit(f"make reproduce has failed, see {out}")


PICTURES: dict[str, Callable[[Path, Path], None]] = {
    "tables": draw_tables,
    "queries": draw_queries,
    "search": draw_search,
    "screen": draw_screen,
}


def draw_cropped(page: Path, width: int, out: Path) -> None:
    """Draw a page in a window of this width, in pixels, without the empty space around its content."""
    take_screenshot(page, (width, MAX_HEIGHT), out)
    with Image.open(out) as opened:
        picture = opened.convert("RGB")
    background = picture.getpixel((0, 0))
    content = ImageChops.difference(picture, Image.new("RGB", picture.size, background)).getbbox()
    if content is None:
        sys.exit(f"the picture of {page} is empty")
    picture = ImageOps.expand(picture.crop(content), MARGIN, background)
    save_small(picture, out)


def _draw_page(body: str, width: int, out: Path) -> None:
    """Draw a part of the page as a page of its own."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "part.html"
        page.write_text(f'<!doctype html><meta charset="utf-8"><body>{body}', encoding="utf-8")
        draw_cropped(page, width, out)


def _read_report(root: Path) -> str:
    """Read the page of the mini preset."""
    if not (root / REPORT).is_file():
        sys.exit(f"{REPORT} is not there: `make reproduce` comes first")
    return (root / REPORT).read_text(encoding="utf-8")


def main() -> None:
    """Draw the named pictures, by default all except the screen."""
    names = sys.argv[1:] or [name for name in PICTURES if name != "screen"]
    if unknown := [name for name in names if name not in PICTURES]:
        sys.exit(f"no picture {', '.join(unknown)}; expected some of {', '.join(PICTURES)}")
    for name in names:
        out = ROOT / "docs" / f"{name}.png"
        PICTURES[name](ROOT, out)
        print(f"{out.relative_to(ROOT)}: {out.stat().st_size / 1000:.0f} kB")
    if "screen" not in names:
        print("docs/screen.png needs a whole run: python tests/pictures.py screen, in a fresh clone")


if __name__ == "__main__":
    main()
