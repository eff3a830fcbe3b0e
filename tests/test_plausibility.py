"""What a printed number can be, against brute force over k in whole numbers. pytest tests/test_plausibility.py"""

import csv
import json
import math
import random
from collections import Counter
from functools import cache

import pytest

from slq.cli import main
from slq.errors import SlqError
from slq.files import read_json, write_json
from slq.plausibility.arithmetic import chance_of_recall
from slq.plausibility.checks import checks, fraction
from slq.plausibility.claims import Claim
from slq.plausibility.report import check_tables
from slq.plausibility.tables import QUOTED
from slq.reporting.tables import render
from stored import MINI, REFERENCE, TEMPLATES, Runs, mini_results, recalls, reference_rows

COUNTED = {"i2t": {"flickr30k": [1000], "coco": [5000]}, "t2i": {"flickr30k": [5000], "coco": [25_000, 25_010]}}
ASKED = {"mmmu": [900, 847], "realworldqa": [765]}


@cache
def printable(n, digits):
    """Oracle: everything that some k of n prints as, halves rounded up or to even, in whole units of the last digit."""
    found = set()
    for k in range(n + 1):
        whole, rest = divmod(100 * 10**digits * k, n)
        found.add((2 * 100 * 10**digits * k + n) // (2 * n))
        found.add(whole + (2 * rest > n or (2 * rest == n and whole % 2 == 1)))
    return found


def possible(text, counts):
    digits = len(text.partition(".")[2])
    return any(int(text.replace(".", "")) in printable(n, digits) for n in counts)


def quoted_by_hand():
    """Every share of the reference: file, printed value, how many may have been counted."""
    for name in ("table1", "instrument"):
        for row in reference_rows(name):
            if row["value"]:
                yield name, row["value"], COUNTED[row["direction"]][row["set"]]
    for row in reference_rows("table3"):
        place = row["column"].split("_")
        if len(place) == 3:
            yield "table3", row["printed"], COUNTED[place[1]][place[0]]
        elif row["column"] in ASKED:
            yield "table3", row["printed"], ASKED[row["column"]]
    for row in reference_rows("base_scores"):
        if row["benchmark"] in ASKED:
            yield "base_scores", row["value"], ASKED[row["benchmark"]]


def quoted(reference=REFERENCE, results="results"):
    found, _ = check_tables([REFERENCE / name for name in QUOTED], REFERENCE.parents[1] / results, reference)
    return found


def test_the_papers_numbers_are_judged_as_brute_force_judges_them():
    """One by one, in order: which of them no k of n prints as; OCRBench counts hits, so any whole number will do."""
    ours = [check for check in quoted() if check.question == "k/n" and check.claim.unit == "percent"]
    judged = Counter((check.claim.value, check.finding) for check in ours)
    assert judged == Counter((text, not possible(text, counts)) for _, text, counts in quoted_by_hand())
    hits = [check for check in quoted() if check.question == "k/n" and check.claim.unit == "hits"]
    assert len(hits) == 12 + 4 and not any(check.finding for check in hits)
    assert {check.claim.column for check in ours if check.finding} == {"realworldqa"}


def test_a_finding_names_the_nearest_shares_and_what_would_give_the_number():
    (check,) = [
        check for check in quoted() if check.finding and check.claim.value == "54.3" and check.question == "k/n"
    ]
    assert check.arithmetic == (
        "no k of 765 rounds to 54.3; nearest 415/765 = 54.25 → 54.2, 416/765 = 54.38 → 54.4; 416/765 cut off gives it; "
        "415/765 rounded twice gives it; 76.5 % of such numbers are shares of 765"
    )


@pytest.mark.parametrize("n", [1, 3, 7, 40, 80, 160, 765, 999, 1000, 1001])
def test_every_number_on_the_grid_is_judged_as_brute_force_judges_it(n):
    texts = [f"{unit // 10}.{unit % 10}" for unit in range(0, 1001, 1 if n < 100 else 7)]
    for text in texts:
        (check,) = checks(Claim("", "", "", text, "percent", (n,)))
        assert (check.verdict == "possible") == possible(text, [n]), check


def test_a_half_that_may_round_either_way_is_possible_and_says_so():
    """1 of 80 is 1.25: 1.3 with halves up, 1.2 with halves to even."""
    found = {text: fraction(Claim("", "", "", text, "percent", (80,))) for text in ("1.2", "1.3", "1.4")}
    assert [check.finding for check in found.values()] == [False, False, True]
    assert found["1.2"].arithmetic == "1/80, not with halves up"
    assert found["1.3"].arithmetic == "1/80, not with halves to even"


def test_the_chance_of_a_recall_is_that_of_a_shuffled_gallery():
    for gallery, positives, k in [(5000, 5, 1), (5000, 5, 10), (1000, 1, 5), (12, 3, 4), (4, 3, 2), (3, 1, 10)]:
        missed = math.comb(gallery - positives, k) / math.comb(gallery, k) if k <= gallery else 0.0
        assert chance_of_recall(k, gallery, positives) == pytest.approx(100 * (1 - missed))
    draw = random.Random(1)
    hits = sum(min(draw.sample(range(12), 3)) < 4 for _ in range(20_000))
    assert chance_of_recall(4, 12, 3) == pytest.approx(hits / 200, abs=1.5)
    assert chance_of_recall(5, 1000, 1) == pytest.approx(0.5)


# ---- our own numbers -------------------------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path):
    return mini_results(tmp_path)


def answers(results, layout=MINI, reference=REFERENCE):
    """Every answer about the cells of a layout that we measured, by row, column, question; of two tables the first."""
    out = results.parent / "out"
    render(layout, results, REFERENCE, TEMPLATES, out)
    found, _ = check_tables([out / "cells.csv"], results, reference)
    own = [check for check in found if not check.claim.printed]
    return {(check.claim.row, check.claim.column, check.question): check for check in reversed(own)}


def test_measured_cells_are_shares_of_what_was_counted(results):
    found = answers(results)
    fractions = {key: check.arithmetic for key, check in found.items() if key[2] == "k/n"}
    assert fractions["mini-a/slq", "mini-c t2i R@5", "k/n"] == "610/1000"
    assert fractions["mini-a/slq", "mini-c i2t R@5", "k/n"] == "122/200"
    assert fractions["mini-a/full_ft", "mini-r", "k/n"] == "23/200"
    assert fractions["mini-a/mini-r/open", "slq", "k/n"] == "40/40"
    assert fractions["mini-a/mini-r", "blind", "k/n"] == "60/200"
    # Three recalls a set and direction of the two SLQ rows, R@5 of them again in Table 3, and so on: none is left out.
    cells = [row for row in rows(results) if row["state"] == "measured" and is_share(row)]
    assert {(row["row"], row["column"]) for row in cells} == {key[:2] for key in fractions}
    assert not any(found[key].finding for key in found if key[2] == "k/n")


def rows(results):
    with open(results.parent / "out" / "cells.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def is_share(row):
    """Of Tables 1, also extended, 3 and B; no cost, count or chance; whole sets of B are Table 3's scores again."""
    whole = row["row"].count("/") == 1 and row["column"] != "blind"
    if row["table"] == "retention":
        return not whole and row["column"] not in ("n", "chance")
    return row["table"] in ("table1", "table3", "table1_extended") and row["column"] not in (
        "dim",
        "parameters",
        "hours",
    )


def edit(path, value, *keys):
    content = read_json(path)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    write_json(path, content)


def test_an_edited_result_is_found(results):
    run = results / "mini" / "mini-a" / "slq" / "seed1"
    edit(run / "retrieval" / "mini-c.json", 61.05, "metrics", "t2i", "R@5")
    edit(run / "retention" / "mini-r.json", 97.7, "metrics", "score")
    found = {key[:2]: check.arithmetic for key, check in answers(results).items() if check.finding and key[2] == "k/n"}
    assert found == {
        (
            "mini-a/slq",
            "mini-c t2i R@5",
        ): "61.05 is no k of 1000; nearest 610/1000 = 61.000 → 61.00, 611/1000 = 61.100 → 61.10",
        ("mini-a/slq", "mini-r"): "97.7 is no k of 200; nearest 195/200 = 97.500 → 97.50, 196/200 = 98.000 → 98.00",
    }


def test_scores_stand_beside_the_base_that_was_measured(results):
    found = answers(results)
    slq, tuned = (found[f"mini-a/{method}", "mini-r", "base"] for method in ("slq", "full_ft"))
    assert (slq.verdict, tuned.verdict) == ("inside", "outside")
    assert "base 195/200, 95 % interval 94.3 to 98.9 (results/mini/mini-a/base/seed0/" in slq.arithmetic
    assert ("mini-a/base", "mini-r", "base") not in found, "base is not compared with itself"
    assert ("mini-b/slq", "mini-r", "base") not in found, "B has no base"


def test_chance_comes_from_the_set(results):
    found = answers(results)
    assert found["mini-a/full_ft", "mini-r", "chance"].verdict == "not above"
    assert found["mini-a/slq", "mini-r", "chance"].arithmetic == "chance 24"
    assert found["mini-a/slq", "mini-c t2i R@5", "chance"].arithmetic == "chance 2.5"
    assert found["mini-a/slq", "mini-c i2t R@1", "chance"].arithmetic == "chance 0.5"
    assert found["mini-a/mini-r/choice", "slq", "chance"].verdict == "not above"


def test_chance_in_galleries_of_a_part_of_the_set(results):
    path = results / "mini" / "mini-a" / "slq" / "seed1" / "retrieval" / "mini-c.json"
    edit(path, 50, "counted", "fold")
    found = answers(results)
    assert found["mini-a/slq", "mini-c t2i R@5", "chance"].arithmetic == "chance 10"
    assert found["mini-a/slq", "mini-c i2t R@1", "chance"].arithmetic == "chance 2"


def test_ocrbench_counts_hits(results):
    for run, hits in (("base/seed0", 150.0), ("full_ft/seed1", 130.0), ("slq/seed1", 110.0)):
        path = results / "mini" / "mini-a" / run / "retention" / "mini-r.json"
        edit(path, "ocrbench", "benchmark")
        edit(path, hits, "metrics", "score")
    found = answers(results)
    assert found["mini-a/slq", "mini-r", "k/n"].arithmetic == "110.0 hits of 200"
    assert found["mini-a/slq", "mini-r", "chance"].arithmetic == "chance 48"
    assert found["mini-a/slq", "mini-r", "base"].arithmetic.startswith("base 150/200, 95 % interval 137 to 161 (")


def test_a_mean_over_seeds_need_not_be_a_share(results):
    Runs(results, "mini", 2).retrieval("mini-a", "slq", "mini-c", recalls(60.5))
    check = answers(results, MINI | {"seeds": [1, 2]})["mini-a/slq", "mini-c i2t R@5", "k/n"]
    assert (check.verdict, check.finding, check.arithmetic) == ("mean", False, "mean of 2 runs, which is no k of n")


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_tables_stage_writes_every_answer(results, tmp_path, capsys):
    out = tmp_path / "out"
    paths = ["--results", str(results), "--reference", str(REFERENCE), "--templates", str(TEMPLATES)]
    assert main(["tables", "--layout", json.dumps(MINI), *paths, "--out", str(out)]) == 0
    with open(out / "plausibility.csv", encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    own = [row for row in written if row["source"].startswith("results/")]
    assert len(own) == len(answers(results))
    others = [row for row in written if "retllm.csv" in row["source"]]  # two questions each of its four numbers
    assert len(others) == 8
    assert len(written) - len(own) == len(quoted()) + 8, "a quoted cell is the reference's line, and stands once"
    findings = [row for row in written if row["finding"]]
    assert f" {sum(row['question'] == 'k/n' for row in findings)} of " in capsys.readouterr().out


def test_the_command_prints_the_findings_alone(capsys, monkeypatch):
    monkeypatch.chdir(REFERENCE.parents[1])
    assert main(["plausible", "paper_tables/reference/table3.csv"]) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    texts = [text for name, text, counts in quoted_by_hand() if name == "table3" and not possible(text, counts)]
    assert [line.split()[3] for line in lines if " no k/n " in line] == texts
    assert all(line.startswith("paper_tables/reference/table3.csv:") for line in lines)
    assert summary.startswith(f"84 numbers: {len(texts)} of 84 no k of n, ")
    assert main(["plausible", "paper_tables/reference/instrument.csv"]) == 0
    assert capsys.readouterr().out.startswith("8 numbers: 0 of 8 no k of n, 0 of 0 outside base's interval, 0 of 8")


def test_a_file_of_another_form_is_an_error(tmp_path):
    with pytest.raises(SlqError, match=r"benchmarks\.csv: columns are \['benchmark', .*expected those of a cells\.csv"):
        check_tables([REFERENCE / "benchmarks.csv"], tmp_path / "results", REFERENCE)
    with pytest.raises(SlqError, match=r"none\.csv: cannot be read"):
        check_tables([tmp_path / "none.csv"], tmp_path / "results", REFERENCE)


def test_cells_without_their_results_are_an_error(results, tmp_path):
    answers(results)
    (results / "mini" / "mini-a" / "slq" / "seed1" / "retention" / "mini-r.json").unlink()
    with pytest.raises(SlqError, match=r"slq/seed1/retention/mini-r\.json: cannot be read"):
        check_tables([tmp_path / "out" / "cells.csv"], results, REFERENCE)
