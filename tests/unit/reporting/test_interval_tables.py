"""Intervals, comparisons and other counts in the tables, on small results with known answers."""

import itertools
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.evaluation.reply import Reply, build_answered_items
from slq.reporting.tables import render
from slq.results.cells import format_integer, format_one_decimal, format_p_value, with_sign
from stored import MINI, REFERENCE, TEMPLATES, Runs, asked, cell, entries, rows, tables, write_answers, write_ranks

IMAGES, QUESTIONS = 40, 100
LAYOUT: dict[str, Any] = MINI | {
    "backbones": entries(("a", "A", "InternVL3-1B")),
    "methods": ["base", "full_ft", "lora", "slq"],
    "retrieval_datasets": entries(("c", "C", "coco")),
    "knowledge_datasets": [],
    "retention_datasets": asked(("r", "R", "realworldqa"), ("o", "O", "ocrbench")),
}
RIGHT = {"base": 80, "full_ft": 40, "lora": 78, "slq": 80}  # this many questions, from the first
PRINTED = {"r": "vlmevalkit-exact-2", "o": "ocrbench-vlmevalkit-1"}


def run(results: Path, method: str, seed: int = 1) -> Path:
    return results / "mini" / "a" / method / f"seed{0 if method == 'base' else seed}"


def write_audit(results: Path, **leaked: list[str]) -> None:
    splits = {f"{name}/test": {"leaked": leaked.get(name, [])} for name in ("c", "r", "o")}
    write_json(results / "mini" / "audit.json", {"schema": 4, "splits": splits})


def write_run(results: Path, method: str, seed: int = 1) -> None:
    """Write a run: SLQ ranks every caption and image first, LoRA all but image 0's, full FT every other image's."""
    missed = {"base": 1, "full_ft": 2, "lora": IMAGES, "slq": IMAGES + 1}[method]
    best = [20 if number % missed == 0 and method != "slq" else 1 for number in range(IMAGES)]
    write_ranks(run(results, method, seed) / "retrieval" / "c.json", list(np.repeat(best, 5)), best)
    for name, reference in (("r", "realworldqa"), ("o", "ocrbench")):
        items = [
            {"id": f"q{n}", "question": "?", "options": [], "answers": ["red"], "type": "open"}
            for n in range(QUESTIONS)
        ]
        replies = [Reply("?", "red" if n < RIGHT[method] else "blue", 2, True) for n in range(QUESTIONS)]
        path = run(results, method, seed) / "retention" / f"{name}.json"
        write_answers(path, reference, PRINTED[name], build_answered_items(items, replies))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("kept") / "results"
    for method in RIGHT:
        write_run(results, method)
    write_audit(results, c=[])
    return results


@pytest.fixture
def results(kept: Path, tmp_path: Path) -> Path:
    """Copy that a test may change."""
    return shutil.copytree(kept, tmp_path / "results")


def test_every_number_of_tables_1_and_3_has_its_interval(kept: Path) -> None:
    table = tables(LAYOUT, kept)["intervals"]
    recalls = [f"a/c {way} {recall}" for way in ("t2i", "i2t") for recall in ("R@1", "R@5", "R@10")]
    assert list(rows(table)) == [*recalls, "a/r", "a/o"]
    stored = read_json(run(kept, "full_ft") / "retrieval" / "c.json")
    for way in ("t2i", "i2t"):
        found = cell(table, f"a/c {way} R@5", "full_ft")
        assert (found.value, found.text) == (50.0, "50.0")
        assert [found.low, found.high] == stored["ci95"][way]["R@5"]
        assert 30 < stored["ci95"][way]["R@5"][0] < 50 < stored["ci95"][way]["R@5"][1] < 70
    found = cell(table, "a/r", "slq")
    assert (found.value, found.text, found.interval) == (80.0, "80.0", "71.1, 86.7")  # Wilson, 80 of 100
    assert cell(table, "a/o", "slq").interval == "71, 87"


def test_verdicts_of_known_differences(kept: Path) -> None:
    """Half of 40 images more is beyond chance, one image more is not; 40 and 2 questions more: McNemar's p by hand."""
    table = tables(LAYOUT, kept)["comparisons"]

    def told(row: str, other: str) -> tuple[Any, ...]:
        difference, p, word = (cell(table, row, f"{other} {key}") for key in ("difference", "p", "verdict"))
        assert difference.low <= difference.value <= difference.high
        return difference.text, p.value, word.value

    for way in ("t2i", "i2t"):
        text, p, word = told(f"a/c {way} R@5", "full_ft")
        assert (text, word) == ("+50.0", "this run only: SLQ higher") and p < 0.001
        text, p, word = told(f"a/c {way} R@5", "lora")
        assert (text, word) == ("+2.5", "this run only: not told apart") and p > 0.5
    assert told("a/r", "full_ft") == ("+40.0", 2 / 2**40, "this run only: SLQ higher")
    assert told("a/o", "lora") == ("+2", 0.5, "this run only: not told apart")
    assert cell(table, "a/o", "lora difference").interval.startswith("0, +")
    source = cell(table, "a/r", "lora verdict").source
    assert source == "; ".join(f"results/mini/a/{one}/seed1/retention/r.answers.jsonl" for one in ("slq", "lora"))


def test_slq_can_be_lower(results: Path) -> None:
    for kind in ("retrieval", "retention"):
        better, worse = (run(results, method) / kind for method in ("slq", "full_ft"))
        better.rename(results / "better")
        worse.rename(better)
        (results / "better").rename(worse)
    table = tables(LAYOUT, results)["comparisons"]
    for row in ("a/c t2i R@1", "a/r"):
        found = cell(table, row, "full_ft difference")
        assert found.text in ("\u221250.0", "\u221240.0") and found.high < 0
        assert cell(table, row, "full_ft verdict").text == "this run only: SLQ lower"


def test_clean_and_leaked_images_where_the_audit_names_some(results: Path) -> None:
    clean = tables(LAYOUT, results)
    assert not any(row.endswith(("clean", "leaked")) for row in rows(clean["counts"]))
    none = "The audit found no test image, by id, photo, bytes or appearance, in the training set."
    assert clean["counts"].notes[-1] == none
    write_audit(results, c=["0", "1", "2", "4"], r=["q0"])
    leaked = tables(LAYOUT, results)
    table = leaked["counts"]
    # Full FT misses the even images: three of the four leaked, 17 of the 36 others.
    for way in ("t2i", "i2t"):
        assert cell(table, "a/c/leaked", f"full_ft {way}").value == 25.0
        assert cell(table, "a/c/clean", f"full_ft {way}").value == pytest.approx(100 * 19 / 36)
    assert "The audit found 4 images of C in the training set" in table.notes[-1]
    note = (
        "The training set contains test items: 4 of C, 1 of R (allow_leak; Table E separates leaked from clean images)."
    )
    for name in ("table1", "table3"):
        assert set(leaked[name].notes) - set(clean[name].notes) == {note}
    (results / "mini" / "audit.json").unlink()
    assert "mini/audit.json does not exist" in tables(LAYOUT, results)["counts"].notes[-1]


def test_an_audit_of_another_set_is_refused(results: Path) -> None:
    write_audit(results, c=["elsewhere"])
    with pytest.raises(SlqError, match="leaked images are not in the dataset"):
        tables(LAYOUT, results)


def test_the_papers_exact_shape_has_no_base(kept: Path) -> None:
    with_base, without = (tables(LAYOUT | {"table3_base": shown}, kept)["table3"] for shown in (True, False))
    assert [row.label for row in with_base.groups[0].rows] == ["Base", "Full FT", "LoRA", "SLQ"]
    assert [row.label for row in without.groups[0].rows] == ["Full FT", "LoRA", "SLQ"]
    assert "Base" not in " ".join(without.notes)
    assert without.groups[0].rows == with_base.groups[0].rows[1:]


@pytest.mark.parametrize("gone", ["retrieval/c.ranks.parquet", "retrieval/c.json", "retention/r.answers.jsonl"])
def test_what_is_not_there_is_missing_and_said(results: Path, gone: str) -> None:
    (run(results, "lora") / gone).unlink()
    table = tables(LAYOUT, results)["comparisons"]
    row = "a/r" if "retention" in gone else "a/c t2i R@1"
    found = cell(table, row, "lora p")
    assert (found.state, found.source) == ("missing", f"results/mini/a/lora/seed1/{gone} does not exist")
    assert cell(table, row, "full_ft p").state == "measured"


def test_a_score_that_its_answers_do_not_give_is_no_number(results: Path) -> None:
    path = run(results, "lora") / "retention" / "r.json"
    content = read_json(path)
    content["metrics"]["accuracy"] += 1
    write_json(path, content)
    found = cell(tables(LAYOUT, results)["comparisons"], "a/r", "lora p")
    assert (found.state, found.value, found.text) == ("stale", None, "")
    assert re.match(
        r"results/mini/a/lora/seed1/retention/r\.json is not what its ranks or answers give: ", found.reason
    )
    assert "metrics.accuracy is " in found.reason


def test_runs_on_other_images_are_not_compared(results: Path) -> None:
    write_ranks(run(results, "lora") / "retrieval" / "c.json", [1] * 4 * IMAGES, [1] * IMAGES, captions=4)
    with pytest.raises(SlqError, match=r"slq/.*; .*lora/.*: .*different images, captions or questions"):
        tables(LAYOUT, results)


def write_three_seeds(results: Path) -> dict[str, Any]:
    """Write three runs of each method, of which full FT's second finds half of the images that its others find."""
    for seed, method in itertools.product((2, 3), ("full_ft", "lora", "slq")):
        write_run(results, method, seed)
    best = [1 if number % 4 == 1 else 20 for number in range(IMAGES)]
    write_ranks(run(results, "full_ft", 2) / "retrieval" / "c.json", list(np.repeat(best, 5)), best)
    return LAYOUT | {"seeds": [1, 2, 3]}


def test_three_seeds_are_compared_at_equal_seed_and_decide(results: Path) -> None:
    layout = write_three_seeds(results)
    found = tables(layout, results)["comparisons"]
    difference = cell(found, "a/c t2i R@5", "full_ft difference")
    by_seed = np.array([50.0, 75.0, 50.0])
    assert (difference.value, difference.n, difference.sd) == (pytest.approx(by_seed.mean()), 3, None)
    student = t.ppf(0.975, 2) * by_seed.std(ddof=1) / np.sqrt(3)
    assert difference.low < by_seed.mean() - student and difference.high > by_seed.mean() + student
    assert cell(found, "a/c t2i R@5", "full_ft verdict").text == "SLQ higher"
    assert cell(found, "a/c t2i R@5", "lora verdict").text == "not told apart"
    assert cell(found, "a/r", "full_ft verdict").text == "SLQ higher"
    sources = difference.source.split("; ")
    assert [re.findall(r"/(\w+)/seed(\d)/", source)[0] for source in sources] == [
        (method, seed) for method in ("slq", "full_ft") for seed in "123"
    ]
    assert found.caption.endswith("Preset mini, seeds 1, 2, 3; mean, with its 95 % interval.")


def test_two_of_three_seeds_are_compared_if_a_run_is_missing_and_decide_nothing(results: Path) -> None:
    layout = write_three_seeds(results)
    (run(results, "full_ft", 2) / "retrieval" / "c.json").unlink()
    found = tables(layout, results)["comparisons"]
    difference = cell(found, "a/c t2i R@5", "full_ft difference")
    assert (difference.value, difference.n) == (50.0, 2)
    assert cell(found, "a/c t2i R@5", "full_ft verdict").text == "this run only: SLQ higher"
    shutil.rmtree(run(results, "full_ft", 3))
    shutil.rmtree(run(results, "full_ft", 2))
    shutil.rmtree(run(results, "slq", 1))
    missing = cell(tables(layout, results)["comparisons"], "a/c t2i R@5", "full_ft p")
    assert (missing.state, missing.reason) == ("missing", "no seed has both slq and full_ft of a")


def test_an_interval_of_three_seeds_covers_seeds_and_images(results: Path) -> None:
    layout = write_three_seeds(results)
    alone, several = (tables(LAYOUT | {"seeds": seeds}, results)["intervals"] for seeds in ([1], [1, 2, 3]))
    found, single = (cell(table, "a/c t2i R@5", "full_ft") for table in (several, alone))
    values = np.array([50.0, 25.0, 50.0])
    student = t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert (found.value, found.n, found.spread) == (pytest.approx(values.mean()), 3, "")
    assert found.low < values.mean() - student and found.high > values.mean() + student
    assert single.high - single.low < found.high - found.low
    score, base = cell(several, "a/r", "full_ft"), cell(several, "a/r", "base")
    assert (score.value, score.n, base.n) == (40.0, 3, 1)
    assert score.low == pytest.approx(cell(alone, "a/r", "full_ft").low)  # three equal scores have no spread
    assert several.notes[-1].startswith("Several seeds: a number is the mean over the seeds. From 3 seeds on,")
    assert not any("Several seeds" in note for note in alone.notes)
    assert tables(layout, results)["table1_extended"].caption.endswith("mean, with its 95 % interval.")


def test_numbers_that_a_check_proves_equal_decide_with_one_seed(results: Path) -> None:
    """The proposed method is compared with another one that leaves the backbone as it is: both have base's answers."""
    for method in ("slq", "lora"):
        for path in (run(results, method) / "retention").glob("*"):
            path.unlink()
        for name in ("r", "o"):
            Runs(results, "mini").inherited("a", method, name)
    found = tables(LAYOUT, results)["comparisons"]
    assert cell(found, "a/r", "lora verdict").text == "equal by check"
    assert cell(found, "a/r", "full_ft verdict").text == "this run only: SLQ higher"
    assert cell(found, "a/r", "lora difference").interval == "0.0, 0.0"


def test_it_is_rendered_within_seconds(kept: Path, tmp_path: Path) -> None:
    began = time.process_time()
    render(LAYOUT, kept, REFERENCE, TEMPLATES, tmp_path)
    assert time.process_time() - began < 15
    assert "[71.1, 86.7]" in (tmp_path / "intervals.tex").read_text(encoding="utf-8")
    page = (tmp_path / "comparisons.html").read_text(encoding="utf-8")
    assert "SLQ higher" in page and "not told apart" in page and "<small> [" in page


def test_signs_and_probabilities() -> None:
    assert [with_sign(format_one_decimal)(value) for value in (1.26, -0.3, 0.04, -0.04)] == [
        "+1.3",
        "\u22120.3",
        "0.0",
        "0.0",
    ]
    assert with_sign(format_integer)(-12) == "\u221212"
    assert [format_p_value(value) for value in (0.0004, 0.0005, 0.0496, 1.0)] == ["<0.001", "0.001", "0.050", "1.000"]
