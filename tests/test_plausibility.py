"""What a printed number can be, against brute force over k in whole numbers. pytest tests/test_plausibility.py"""

import csv
import math
import random
from collections import Counter, namedtuple
from functools import cache

import pytest

from slq.claims.audit import audit_paper, check_numbers
from slq.claims.numbers import above_chance, chance_of_recall, fraction
from slq.claims.paper import Number, Paper
from slq.cli import main
from slq.errors import SlqError
from stored import REFERENCE, reference_rows

QUOTED = ("table1.csv", "table3.csv", "base_scores.csv", "instrument.csv")
Answer = namedtuple("Answer", "question claim verdict finding arithmetic")
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


def answers(tables, reference=REFERENCE):
    """Every answer about the numbers of some tables."""
    found, _ = check_numbers(Paper(reference, reference.parents[1] / "results"), tables)
    return [
        Answer(check.name, line.number, line.verdict, line.verdict == "contradicted", line.value)
        for check, result in found
        for line in result.evidence
    ]


def quoted():
    return answers([REFERENCE / name for name in QUOTED])


def share(text, n, unit="percent"):
    """What is said of a number as k of n."""
    return fraction(Number("", "", "", text, unit, (n,)))


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
        assert (share(text, n).verdict == "supported") == possible(text, [n]), share(text, n)


def test_a_half_that_may_round_either_way_is_possible_and_says_so():
    """1 of 80 is 1.25: 1.3 with halves up, 1.2 with halves to even."""
    found = {text: share(text, 80) for text in ("1.2", "1.3", "1.4")}
    assert [line.verdict for line in found.values()] == ["supported", "supported", "contradicted"]
    assert found["1.2"].value == "1/80, not with halves up"
    assert found["1.3"].value == "1/80, not with halves to even"


def test_hits_are_whole_numbers_up_to_all():
    assert share("790", 1000, "hits").value == "790 hits of 1000"
    for text in ("790.5", "1001"):
        found = share(text, 1000, "hits")
        assert (found.verdict, found.value) == ("contradicted", f"{text} is no whole number from 0 to 1000")


def test_of_which_nothing_is_known_nothing_is_said():
    number = Number("", "", "", "12.3", "percent", ())
    assert fraction(number).verdict == "not tested" and above_chance(number) is None


def test_the_chance_of_a_recall_is_that_of_a_shuffled_gallery():
    for gallery, positives, k in [(5000, 5, 1), (5000, 5, 10), (1000, 1, 5), (12, 3, 4), (4, 3, 2), (3, 1, 10)]:
        missed = math.comb(gallery - positives, k) / math.comb(gallery, k) if k <= gallery else 0.0
        assert chance_of_recall(k, gallery, positives) == pytest.approx(100 * (1 - missed))
    draw = random.Random(1)
    hits = sum(min(draw.sample(range(12), 3)) < 4 for _ in range(20_000))
    assert chance_of_recall(4, 12, 3) == pytest.approx(hits / 200, abs=1.5)
    assert chance_of_recall(5, 1000, 1) == pytest.approx(0.5)


def test_a_recall_that_a_shuffled_gallery_gives_is_not_above_chance():
    """R@5 among 1,000 images, one of them right, is 0.5 by chance."""
    recall = {
        text: above_chance(Number("", "", "", text, "percent", (5000,), draw=(5, 1000, 1))) for text in ("0.5", "0.6")
    }
    assert {text: line.verdict for text, line in recall.items()} == {"0.5": "contradicted", "0.6": "supported"}
    assert recall["0.6"].value == "chance 0.5"


def test_scores_stand_beside_the_published_base():
    """758 hits where base has 790 of 1,000, whose interval ends at 764; base itself is not compared."""
    found = {(one.claim.row, one.claim.column): one for one in quoted() if one.question == "base"}
    tuned = found["InternVL3-1B/full_ft", "ocrbench"]
    assert (tuned.claim.value, tuned.finding) == ("758", True)
    assert tuned.arithmetic.startswith(
        "base 790/1000, 95 % interval 764 to 814 (paper_tables/reference/base_scores.csv:4"
    )
    assert not found["InternVL3-1B/slq", "ocrbench"].finding
    assert len(found) == 36 and not any(row.endswith("/base") for row, _ in found)


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_audit_writes_every_answer(tmp_path, capsys):
    """Of all tables of the reference that print numbers: RetLLM's four have two questions each."""
    audit_paper({}, REFERENCE, tmp_path)
    with open(tmp_path / "plausibility.csv", encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == len(quoted()) + 8
    assert sum("retllm.csv" in row["source"] for row in written) == 8
    words = {(row["question"], row["verdict"], row["finding"]) for row in written}
    assert words == {
        *{("k/n", "possible", ""), ("k/n", "no k/n", "yes"), ("chance", "above", "")},
        *{("base", "inside", ""), ("base", "outside", "yes")},
    }
    places = [(row["source"], row["question"]) for row in written]
    assert len(set(places)) == len(places) and places[:3] == sorted(places[:3]), "a number's answers stand together"
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
    with pytest.raises(
        SlqError, match=r"benchmarks\.csv: columns are \['benchmark', .*expected those of table1\.csv, "
    ):
        answers([REFERENCE / "benchmarks.csv"])
    with pytest.raises(SlqError, match=r"none\.csv: cannot be read"):
        answers([tmp_path / "none.csv"])
