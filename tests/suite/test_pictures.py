"""Tests that the pictures of README.md and docs/ come from tests/pictures.py, and tests of it on a small page."""

import base64
import re

import pytest
from PIL import Image

import pictures
from checkout import ROOT

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="80"><rect width="40" height="80" fill="#d00"/></svg>'
TABLE = '<section class="table"><p id="caption-{name}"></p><div class="{name}">1.0</div></section>'
PAGE = """<html><head><style>
div {{ width: 100px; height: 50px; color: transparent; }}
.table1 {{ background: #0a0; }} .table2 {{ background: #000; }} .table3 {{ background: #00a; }}
</style></head><body><h1>A page</h1>{tables}
<img src="data:image/svg+xml;base64,{svg}" alt="Six captions"></body></html>"""


@pytest.fixture
def root(tmp_path):
    """A project with a small page of three tables, drawn as boxes, and a figure twice as high as wide."""
    tables = "".join(TABLE.format(name=name) for name in ("table1", "table2", "table3"))
    page = tmp_path / pictures.REPORT
    page.parent.mkdir(parents=True)
    page.write_text(PAGE.format(tables=tables, svg=base64.b64encode(SVG.encode()).decode()))
    return tmp_path


def colors(path):
    """Count the pixels of the main colours of a picture, without blended edges, and return its size."""
    with Image.open(path) as picture:
        counts = picture.convert("RGB").getcolors(1 << 24)
        return {color: count for count, color in counts if count > 1000}, picture.size


def test_each_picture_of_the_documents_is_one_that_the_script_makes():
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for path in documents for name in re.findall(r'(?:src="|\]\()([\w/]+\.png)', path.read_text())}
    made = {f"{name}.png" for name in pictures.PICTURES}
    assert {name.rpartition("/")[2] for name in named} <= made == {path.name for path in ROOT.glob("docs/*.png")}
    assert {"tables.png", "search.png", "screen.png"} <= {name.rpartition("/")[2] for name in named}
    assert all(path.stat().st_size < 300_000 for path in ROOT.glob("docs/*.png"))


def test_the_search_is_the_one_that_readme_shows():
    readme = (ROOT / "README.md").read_text()
    assert f'{pictures.IMAGES} --text "{pictures.QUERY}"' in readme and f"slq export {pictures.RUN} " in readme


def test_tables_1_and_3_are_drawn_and_nothing_else(browser, root, tmp_path):
    pictures.draw_tables(root, tmp_path / "tables.png")
    found, (width, height) = colors(tmp_path / "tables.png")
    assert found.keys() == {(0, 170, 0), (0, 0, 170), (255, 255, 255)}
    assert width == 100 + 2 * pictures.MARGIN and 100 < height - 2 * pictures.MARGIN < 150


def test_the_figure_of_queries_is_drawn_whole(browser, root, tmp_path):
    pictures.draw_queries(root, tmp_path / "queries.png")
    found, (width, height) = colors(tmp_path / "queries.png")
    assert found.keys() == {(221, 0, 0), (255, 255, 255)}
    assert (width - 2 * pictures.MARGIN, height - 2 * pictures.MARGIN) == (840, 1680)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tables", None, "is not there: `make reproduce` comes first"),
        ("tables", "<p>", "has no section of table1, table3"),
        ("queries", "<p>", "has no figure of queries"),
    ],
)
def test_what_a_picture_lacks_is_said(root, tmp_path, name, content, message):
    (root / pictures.REPORT).unlink()
    if content:
        (root / pictures.REPORT).write_text(content)
    with pytest.raises(SystemExit, match=message):
        pictures.PICTURES[name](root, tmp_path / "out.png")


def test_the_screen_needs_a_clone_in_which_nothing_has_run(root, tmp_path):
    (root / "results/mini").mkdir(parents=True)
    with pytest.raises(SystemExit, match="in a fresh clone"):
        pictures.draw_screen(root, tmp_path / "out.png")
