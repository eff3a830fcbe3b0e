"""Rendered tables: bytes, sources, appearance, escaping and PDF."""

import csv
import json
import re
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from slq.common.errors import SlqError
from slq.common.files import write_json, write_text
from slq.common.printed import DRAWN
from slq.reporting.html import html_environment
from slq.reporting.pdf import compile_pdf
from slq.reporting.tables import escape_latex, latex_environment, render
from stored import MINI, PAPER, REFERENCE, TEMPLATES, entries, mini_results

TABLES = ("table1", "table3", "gpu_hours", "retention", "intervals", "comparisons", "counts", "rates")
TABLES += ("table1_extended",)
OUTPUTS = [*(f"{name}.{kind}" for name in TABLES for kind in ("tex", "html")), "tables.tex", "cells.csv", "table3.txt"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return mini_results(tmp_path)


def test_the_same_results_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "results"
    shutil.copytree(results, moved)
    for source in (results, moved):
        reference = shutil.copytree(REFERENCE, source.with_name("paper_tables") / "reference")
        render(MINI, source, reference, TEMPLATES, source.with_name("out"))
    one, other = (source.with_name("out") for source in (results, moved))
    assert sorted(path.name for path in one.iterdir()) == sorted(OUTPUTS)
    for name in OUTPUTS:
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_number_links_to_its_file(results: Path, tmp_path: Path) -> None:
    reference = shutil.copytree(REFERENCE, tmp_path / "paper_tables" / "reference")
    out = tmp_path / "paper_tables" / "mini"
    render(MINI, results, reference, TEMPLATES, out)
    for name in TABLES:
        page = (out / f"{name}.html").read_text(encoding="utf-8")
        links = re.findall(r'href="([^"#]+)"', page)
        assert all((out / link).is_file() for link in links), name
    table3 = (out / "table3.html").read_text(encoding="utf-8")
    assert '<a href="../../results/mini/mini-a/slq/seed1/run.json"><span' in table3
    assert '<a href="../reference/table1.csv"><span>94.6' in (out / "table1.html").read_text(encoding="utf-8")


def test_every_cell_says_where_it_came_from(results: Path, tmp_path: Path) -> None:
    shutil.copytree(REFERENCE, tmp_path / "paper_tables" / "reference")
    render(MINI, results, tmp_path / "paper_tables" / "reference", TEMPLATES, tmp_path / "out")
    with open(tmp_path / "out" / "cells.csv", encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    before = (7 + 2) * 12 + 2 * (1 + 4 * 9) + 2 * 4 * 10 + 2 * 3 * 7 + 2 * 13 * (4 + 6) + 2 * 8 * 8
    assert len(cells) == before + 2 * 3 * 8 + (7 + 2 * 4 + 1) * 12
    assert len({(row["table"], row["row"], row["column"]) for row in cells}) == len(cells)
    for row in cells:
        assert row["source"], row
        assert (row["value"] == "") == (row["state"] == "missing"), row
        if row["state"] in ("measured", "quoted"):
            for part in row["source"].split("; "):
                assert (tmp_path / part.split(":")[0]).is_file(), row
    named = [row for row in cells if row["source"].endswith("slq/seed1/retrieval/mini-c.json")]
    assert len(named) == 2 * (6 + 2 + 6 + 7 + 6)
    assert "results/mini/mini-a/slq/seed1/retrieval/mini-c.json" in {row["source"] for row in named}


def test_fragments_show_states_and_marks(results: Path, tmp_path: Path) -> None:
    render(MINI, results, REFERENCE, TEMPLATES, tmp_path)
    table1, table3 = ((tmp_path / name).read_text(encoding="utf-8") for name in ("table1.tex", "table3.tex"))
    assert table1.startswith("% from results/mini; preset mini, seed 1\n\\begin{table}")
    assert r"\textcolor[gray]{0.45}{\textit{94.6}}" in table1
    assert r"\textbf{65.0}" in table1 and r"\underline{60.0}" in table1
    assert r"0\rlap{\textsuperscript{=}}" in table3
    assert re.search(r"& LoRA( & --){9} \\\\", table3)
    page = (tmp_path / "table3.html").read_text(encoding="utf-8")
    assert 'title="results/mini/mini-a/slq/seed1/run.json"' in page
    assert "http" not in page, "the page works offline"


def test_labels_are_escaped(latex: None, results: Path, tmp_path: Path) -> None:
    hostile = r'\input{/etc/passwd} 50% $x_1$ #1 & ~^ {<b>"|'
    layout = MINI | {"backbones": entries(("mini-a", hostile, "InternVL3-1B"), ("mini-b", "B", "Qwen3-VL-2B"))}
    render(layout, results, REFERENCE, TEMPLATES, tmp_path)
    for name in (f"{table}.tex" for table in TABLES):
        assert escape_latex(hostile) in (tmp_path / name).read_text(encoding="utf-8")
        assert r"\input{" not in (tmp_path / name).read_text(encoding="utf-8")
    page = (tmp_path / "table1.html").read_text(encoding="utf-8")
    assert "<b>&#34;" not in page and "&lt;b&gt;" in page
    compile_pdf(tmp_path / "tables.tex", tmp_path / "tables.pdf")


EVERY_CHARACTER = "".join(one for one in map(chr, range(0x20, 0x3000)) if DRAWN.match(one))


@pytest.mark.parametrize(
    "label",
    ["[EOS] mini-CLIP", "* mini-CLIP", "[2cm]", EVERY_CHARACTER, "\u95ee\u9898 e\u0301 \a\N{GRINNING FACE}"],
    ids=["bracket", "star", "length", "every character", "others"],
)
def test_a_label_is_drawn_wherever_it_stands(latex: None, results: Path, tmp_path: Path, label: str) -> None:
    """Rows, columns, datasets, methods and notes have it, also first in a row, where LaTeX would read an argument."""
    kinds = ("backbones", "retrieval_datasets", "retention_datasets", "rows")
    layout = MINI | {kind: [one | {"label": label} for one in MINI[kind]] for kind in kinds}
    render(layout, results, REFERENCE, TEMPLATES, tmp_path / "out")
    compile_pdf(tmp_path / "out/tables.tex", tmp_path / "tables.pdf")
    fragments = [(tmp_path / "out" / f"{table}.tex").read_text(encoding="utf-8") for table in TABLES]
    assert not re.search(r"^ *[*\[]", "\n".join(fragments), re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("[EOS] a [b]", "{}[EOS] a [b]"),
        ("*", "{}*"),
        ("a--b---c - d", "a-{}-b-{}-{}-c - d"),
        ("`it's' ''so''", r"\`{}it's' '{}'so'{}'"),
        (" two\n lines ", "two lines"),
        ("cafe\u0301 \u4e2d", "caf\u00e9 [U+4E2D]"),
        ("\0", "{}[U+0000]"),
        ("mini-COCO, 95 % (R@1)", r"mini-COCO, 95 \% (R@1)"),
    ],
)
def test_a_text_is_escaped_for_latex(text: str, latex: str) -> None:
    assert escape_latex(text) == latex


def test_a_template_cannot_use_what_it_was_not_given(tmp_path: Path) -> None:
    (tmp_path / "broken.j2").write_text(r"\VAR{ absent }{{ absent }}", encoding="utf-8")
    for environment in (latex_environment(tmp_path), html_environment(tmp_path, tmp_path, tmp_path)):
        with pytest.raises(UndefinedError, match="absent"):
            environment.get_template("broken.j2").render()


@pytest.mark.parametrize("layout", [MINI, PAPER], ids=["mini", "paper without results"])
def test_pdflatex_compiles_the_tables_to_the_same_bytes(
    latex: None, layout: dict[str, Any], results: Path, tmp_path: Path
) -> None:
    render(layout, results, REFERENCE, TEMPLATES, tmp_path / "out")
    for name in ("one.pdf", "two.pdf"):
        compile_pdf(tmp_path / "out" / "tables.tex", tmp_path / name)
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(OUTPUTS)


def test_the_paper_layout_without_results_shows_nothing_of_the_papers_as_ours(tmp_path: Path) -> None:
    render(PAPER, tmp_path / "results", REFERENCE, TEMPLATES, tmp_path / "out")
    with open(tmp_path / "out" / "cells.csv", encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert {row["state"] for row in cells if row["table"] == "table3"} == {"missing"}
    assert {row["state"] for row in cells if row["row"].endswith("/slq") and row["table"] == "table1"} == {"missing"}
    assert not any(row["state"] == "measured" for row in cells)


def test_a_latex_error_is_shown_and_its_log_kept(latex: None, tmp_path: Path) -> None:
    tex = tmp_path / "broken.tex"
    tex.write_text("\\documentclass{article}\\begin{document}\\undefinedmacro\\end{document}\n", encoding="utf-8")
    with pytest.raises(SlqError, match=r"! Undefined control sequence.*broken\.log"):
        compile_pdf(tex, tmp_path / "broken.pdf")
    assert "undefinedmacro" in (tmp_path / "broken.log").read_text(encoding="utf-8")
    assert not (tmp_path / "broken.pdf").exists()


def test_without_pdflatex_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlqError, match="install TeX Live"):
        compile_pdf(tmp_path / "tables.tex", tmp_path / "tables.pdf")


def test_json_is_written_whole_sorted_and_finite(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.json"
    write_json(path, {"b": 1, "a": "é"})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    with pytest.raises(SlqError, match=r"a\.json: not written"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "é", "b": 1}
    assert [one.name for one in path.parent.iterdir()] == ["a.json"]


def test_a_disk_that_fills_up_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(SlqError, match=r"a\.txt: cannot be written: File too large"):
            write_text(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_text() == "before" and [one.name for one in tmp_path.iterdir()] == ["a.txt"]
