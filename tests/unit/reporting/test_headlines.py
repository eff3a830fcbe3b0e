"""Headlines of finished jobs, and the closing lines of a call."""

import pytest

from slq.common.files import write_json
from slq.jobs import JOBS
from slq.reporting.headlines import HEADLINES, find_headline
from slq.reporting.page.closing import closing_lines

RECALLS = {"metrics": {"t2i": {"R@1": 60.0, "R@5": 97.25}, "i2t": {"R@1": 1.0, "R@5": 2.0}}}


@pytest.mark.parametrize(
    ("rule", "name", "content", "headline"),
    [
        ("prepare_split", "test/manifest.json", {"items": 1720, "captions": 8600}, "8,600 captions, 1,720 items"),
        ("prepare_split", "test/manifest.json", {"items": 180}, "180 items"),
        (
            "train",
            "seed1/run.json",
            {"val": {"recalls": [{"t2i": {"R@1": 1.0}}, {"t2i": {"R@1": 97.04}}], "selected_epoch": 1}},
            "validation T2I R@1 97.0",
        ),
        ("train", "lr9/seed1/run.json", {"val": None, "diverged": "loss is nan"}, "diverged"),
        (
            "choose_learning_rate",
            "seed1.round0.json",
            {"learning_rate": 0.1, "next_rates": [0.3], "edge": "upper"},
            "rate 0.1, at the edge: tries 0.3",
        ),
        (
            "choose_learning_rate",
            "seed1.round1.json",
            {"learning_rate": None, "next_rates": [], "edge": "lower"},
            "every rate diverged, at the edge",
        ),
        (
            "draw_frontier",
            "frontier.json",
            {"backbones": {"a": {"picked": {"lora": "lora/lr0.1", "slq": None}}}},
            "picked a: lora/lr0.1, none",
        ),
        ("evaluate_retrieval", "retrieval/mini-coco.json", RECALLS, "T2I R@5 mini-coco 97.2"),
        ("evaluate_retention", "retention/mini-mmmu.json", {"metrics": {"score": 96.6667}}, "mini-mmmu 96.7"),
        ("evaluate_blind", "blind/mini-ocrbench.json", {"metrics": {"score": 174.0}}, "mini-ocrbench 174"),
        (
            "judge_claims",
            "claims.json",
            {"claims": [{"verdict": "not tested"}, {"verdict": "supported"}, {"verdict": "supported"}]},
            "2 supported, 1 not tested",
        ),
        (
            "judge_claims",
            "claims.json",
            {
                "claims": [
                    {"verdict": "undecided", "this_run": one} for one in ("supported", "contradicted", "supported")
                ]
            },
            "3 undecided (this run only: 2 would be supported, 1 contradicted)",
        ),
        ("render_tables", "cells.csv", {}, ""),
    ],
)
def test_a_headline_is_the_number_that_the_job_has_written(rule, name, content, headline, tmp_path):
    path = tmp_path / name
    write_json(path, content)
    others = [tmp_path / "adapter.json", path.with_suffix(".ranks.parquet")]
    assert find_headline(rule, [*map(str, others[:0]), str(path), *map(str, others)]) == headline


def test_headlines_are_of_rules_that_are_there():
    assert HEADLINES.keys() <= JOBS.keys()


@pytest.fixture
def made(tmp_path):
    """Folder with the files that the closing lines are read from."""
    write_json(
        tmp_path / "claims.json", {"synthetic": [], "claims": [{"verdict": one} for one in ("supported", "not tested")]}
    )
    (tmp_path / "table3.txt").write_text("Backbone  Method\n")
    return tmp_path


def test_a_call_that_made_all_ends_with_table_3_the_verdicts_and_where_to_look(made, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: name)
    lines = closing_lines(made, made / "claims.json", {"render_tables", "compile_pdf", "judge_claims", "write_page"})
    assert lines[1] == "Backbone  Method"
    assert "1 claims tested: 1 supported, 0 contradicted, 0 undecided; 1 not tested." in lines
    assert f"Tables: {made} (tables.pdf, *.tex, *.html)" in lines and f"Page:   {made / 'report.html'}" in lines
    assert lines.index("Next:") > lines.index(f"Page:   {made / 'report.html'}")


def test_a_terminal_narrower_than_table_3_has_it_in_parts(made):
    rows = ("Backbone  Dim.  Method   IR  MMMU", "-" * 33, "Mini       128  SLQ     7.5   0.5")
    (made / "table3.txt").write_text("\n".join(rows) + "\n")
    assert closing_lines(made, made / "claims.json", {"render_tables"}, 33)[1:4] == [*rows]
    narrow = closing_lines(made, made / "claims.json", {"render_tables"}, 32)
    assert "Backbone  Dim.  Method   IR" in narrow and "Backbone  Dim.  Method  MMMU" in narrow


def test_without_a_pdf_the_reason_is_said(made, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    lines = closing_lines(made, made / "claims.json", {"render_tables"})
    assert lines[-1] == f"Tables: {made} (*.tex, *.html); no tables.pdf was made, because pdflatex is not on PATH"


@pytest.mark.parametrize("finished", [set(), {"forecast"}, {"prepare_split", "train"}])
def test_a_call_that_made_no_table_says_nothing_of_tables(finished, made):
    assert closing_lines(made, made / "claims.json", finished) == []
