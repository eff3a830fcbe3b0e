"""Which printed numbers are possible, compared with brute force over k in whole numbers."""

from collections import Counter, namedtuple
from functools import cache
from types import SimpleNamespace

import pytest

from slq.claims.shares import check_share
from slq.results.paper import Paper
from stored import REFERENCE, reference_rows

Answer = namedtuple("Answer", "claim finding")
COUNTED = {"i2t": {"flickr30k": [1000], "coco": [5000]}, "t2i": {"flickr30k": [5000], "coco": [25_000, 25_010]}}
ASKED = {"mmmu": [900, 847], "realworldqa": [765]}


@cache
def printable(n, digits):
    """Oracle: every value that some k of n prints as, with halves rounded up or to even, in units of the last digit."""
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
    """Yield every share of the reference: file, printed value, possible sample sizes."""
    for name in ("table1", "reference_recalls"):
        for row in reference_rows(name):
            if row["value"]:
                yield name, row["value"], COUNTED[row["direction"]][row["dataset"]]
    for row in reference_rows("table3"):
        place = row["column"].split("_")
        if len(place) == 3:
            yield "table3", row["printed"], COUNTED[place[1]][place[0]]
        elif row["column"] in ASKED:
            yield "table3", row["printed"], ASKED[row["column"]]
    for row in reference_rows("base_scores"):
        if row["benchmark"] in ASKED:
            yield "base_scores", row["value"], ASKED[row["benchmark"]]


def quoted():
    """Every share of the reference, and whether no k of n gives it."""
    shares = Paper(REFERENCE, REFERENCE.parents[1] / "results").shares
    return [Answer(number, check_share(number).verdict == "contradicted") for number in shares]


def printed_number(text, unit, sample_sizes):
    """A row of the paper's numbers, with only the fields that a check of shares reads."""
    return SimpleNamespace(row="", column="", source="", printed=text, unit=unit, sample_sizes=sample_sizes)


def share(text, n, unit="percent"):
    """Result of checking a number as k of n."""
    return check_share(printed_number(text, unit, (n,)))


def test_the_papers_numbers_are_judged_as_brute_force_judges_them():
    """Both decide whether some k of n prints as the number; OCRBench counts hits, so any whole number is possible."""
    ours = [check for check in quoted() if check.claim.unit == "percent"]
    judged = Counter((check.claim.printed, check.finding) for check in ours)
    assert judged == Counter((text, not possible(text, counts)) for _, text, counts in quoted_by_hand())
    hits = [check for check in quoted() if check.claim.unit == "hits"]
    assert len(hits) == 12 + 4 and not any(check.finding for check in hits)
    assert {check.claim.column for check in ours if check.finding} == {"realworldqa"}


def test_a_finding_names_the_nearest_shares_and_what_would_give_the_number():
    assert share("54.3", 765).value == (
        "no k of 765 rounds to 54.3; nearest 415/765 = 54.25 → 54.2, 416/765 = 54.38 → 54.4; 416/765 cut off gives it; "
        "415/765 rounded twice gives it; 76.5 % of such numbers are shares of 765"
    )


@pytest.mark.parametrize("n", [1, 3, 7, 40, 80, 160, 765, 999, 1000, 1001])
def test_every_number_on_the_grid_is_judged_as_brute_force_judges_it(n):
    texts = [f"{unit // 10}.{unit % 10}" for unit in range(0, 1001, 1 if n < 100 else 7)]
    for text in texts:
        assert (share(text, n).verdict == "supported") == possible(text, [n]), share(text, n)


def test_a_half_that_may_round_either_way_is_possible_and_says_so():
    """1 of 80 is 1.25 %, which prints as 1.3 with halves up and as 1.2 with halves to even."""
    found = {text: share(text, 80) for text in ("1.2", "1.3", "1.4")}
    assert [line.verdict for line in found.values()] == ["supported", "supported", "contradicted"]
    assert found["1.2"].value == "1/80, not with halves up"
    assert found["1.3"].value == "1/80, not with halves to even"


def test_hits_are_whole_numbers_up_to_all():
    assert share("790", 1000, "hits").value == "790 hits of 1000"
    for text in ("790.5", "1001"):
        found = share(text, 1000, "hits")
        assert (found.verdict, found.value) == ("contradicted", f"{text} is not a whole number from 0 to 1000")


def test_of_which_nothing_is_known_nothing_is_said():
    assert check_share(printed_number("12.3", "percent", ())).verdict == "not tested"
