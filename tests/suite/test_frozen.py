"""Tests that the assertions and tolerances of the oracle tests in frozen.yaml are unchanged.

python tests/frozen.py             # prints every fingerprint; with --write it updates the list
"""

import subprocess
import sys

import pytest

from frozen import TESTS, fingerprint, found_now, read_list

FROZEN = read_list()
ADVICE = (
    "if the test was renamed or moved, edit its id in tests/frozen.yaml; if its assertions, tolerances, parameters or "
    "numbers have to change, say why in docs/log.md, and run python tests/frozen.py --write"
)


@pytest.mark.parametrize("test", FROZEN)
def test_an_oracle_is_as_it_was_frozen(test):
    entry = FROZEN[test]
    try:
        found = found_now(test, entry)
    except (KeyError, OSError) as error:
        pytest.fail(
            f"{test}, the oracle of {entry['of']}, or what stands under `with`, is not there ({error}): {ADVICE}"
        )
    assert found == entry["print"], (
        f"{test}, the oracle of {entry['of']}, is not the test that was frozen (assertions.numbers.hash): {ADVICE}"
    )


def test_the_list_is_long_enough_and_every_entry_says_what_it_is_of():
    assert len(FROZEN) >= 140
    assert all(entry["of"] and set(entry) <= {"of", "with", "words", "print"} for entry in FROZEN.values())


def test_the_command_prints_every_fingerprint():
    answer = subprocess.run([sys.executable, TESTS / "frozen.py"], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [f"{test}: {entry['print']}" for test, entry in FROZEN.items()]


ORACLE = '''
import numpy as np
import pytest
import torch
from slq.ranks import count_ranks

CLOSE = 1e-6
METHODS = ("slq", "lora", "full_ft")


def plain_loop(query, gallery):
    """A rank, counted."""
    return 1 + sum(value > query for value in gallery)


def check(found, expected):
    assert abs(found - expected) < CLOSE


@pytest.fixture
def gallery():
    return np.arange(7)


@pytest.mark.parametrize("size", [3, 17, 257])
@pytest.mark.parametrize("method", METHODS)
def test_ranks(gallery, method, size):
    """Ranks against a plain loop."""
    ours = count_ranks(gallery, method, batch=16)
    for number, rank in enumerate(ours):
        if rank.found:
            assert rank.value == plain_loop(number, gallery), f"{method}: {rank}"
    check(ours.mean, np.mean(gallery))
    check(len(gallery), 7)
    assert ours.total == pytest.approx(size, rel=1e-5)
    assert (ours.values - gallery).abs().max() < 1e-4 and torch.allclose(ours, gallery, rtol=1e-5)
    with pytest.raises(ValueError, match="no ranks"):
        count_ranks([], method)
'''


@pytest.fixture
def printed(tmp_path):
    """A function that returns the fingerprint of ORACLE's test after replacements, each of which must apply."""

    def call(*replacements, test="test_ranks", oracles=(), name="test_it.py"):
        text = ORACLE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / name).write_text(text)
        return fingerprint(f"{folder / name}::{test}", [f"{folder / name}::{oracle}" for oracle in oracles])

    return call


ALLOWED = {
    "a function": [("count_ranks", "rank_all")],
    "an import": [("from slq.ranks import count_ranks", "from slq import ranks"), ("count_ranks(", "ranks.of(")],
    "an attribute": [("ours.total", "ours.sum_of_all"), ("rank.found", "rank.is_there")],
    "a variable": [("ours", "norm"), ("number", "count"), ("gallery", "vectors")],
    "a keyword": [("batch=16", "batch_size=16")],
    "a method's name": [('"slq", "lora"', '"queries", "lora"')],
    "a message": [('match="no ranks"', 'match="nothing to rank"'), ('f"{method}: {rank}"', '"wrong"')],
    "a docstring": [('"""Ranks against a plain loop."""', '"""Another."""')],
    "a helper": [("check(", "agree("), ("CLOSE", "TOLERANCE")],
    "a line break": [("check(ours.mean, np.mean(gallery))", "check(\n        ours.mean, np.mean(gallery)\n    )")],
    "the same number": [("1e-6", "0.000001")],
    "its place": [("def plain_loop", "def other():\n    assert 3 == 4\n\n\ndef plain_loop")],
}  # fmt: skip


@pytest.mark.parametrize("replacements", ALLOWED.values(), ids=ALLOWED)
def test_names_imports_and_words_may_change(printed, replacements):
    assert printed(*replacements) == printed()
    assert printed(*replacements, oracles=["plain_loop"]) == printed(oracles=["plain_loop"])


def test_a_test_may_be_renamed_and_moved_with_its_helpers(printed):
    renamed = printed(("test_ranks", "test_places"), test="test_places", name="test_elsewhere.py")
    assert renamed == printed()


WEAKENED = {
    "a tolerance": [("< 1e-4", "< 1e-3")],
    "a relative tolerance": [("rel=1e-5", "rel=1e-4")],
    "a kind of tolerance": [("rel=1e-5", "abs=1e-5")],
    "a tolerance of a call": [("rtol=1e-5", "rtol=1e-4")],
    "a tolerance in a constant": [("CLOSE = 1e-6", "CLOSE = 1e-2")],
    "an operator": [("rank.value ==", "rank.value <=")],
    "both sides alike": [("== plain_loop(number, gallery)", "== rank.value")],
    "a part of an assertion": [("< 1e-4 and torch.allclose(ours, gallery, rtol=1e-5)", "< 1e-4")],
    "or in place of and": [("< 1e-4 and", "< 1e-4 or")],
    "without abs": [(".abs().max()", ".max()")],
    "the least in place of the most": [(".abs().max()", ".abs().min()")],
    "an assertion that is gone": [("    assert ours.total == pytest.approx(size, rel=1e-5)\n", "")],
    "a helper's assertion": [("    assert abs(found - expected) < CLOSE", "    pass")],
    "a helper that is not called": [("    check(ours.mean, np.mean(gallery))\n", "")],
    "an expected error": [('with pytest.raises(ValueError, match="no ranks"):', "if True:")],
    "without its words": [(', match="no ranks"', "")],
    "fewer numbers": [("[3, 17, 257]", "[3, 17]")],
    "other numbers": [("[3, 17, 257]", "[3, 17, 25]")],
    "a method less": [('"slq", "lora", ', '"slq", ')],
    "no parameters": [('@pytest.mark.parametrize("method", METHODS)\n', "")],
    "a skip": [("def test_ranks", "@pytest.mark.skip\ndef test_ranks")],
    "an expected failure": [("def test_ranks", "@pytest.mark.xfail\ndef test_ranks")],
    "a skip of the whole file": [("CLOSE = ", "pytestmark = pytest.mark.skip\nCLOSE = ")],
    "a skip within": [("    ours = ", '    pytest.importorskip("faiss")\n    ours = ')],
    "an early end": [("    check(ours", "    return\n    check(ours")],
    "a condition": [("    assert ours.total", "    if size > 3:\n        assert ours.total")],
    "a helper called less often": [("    check(ours.mean, np.mean(gallery))\n    check", "    check")],
    "an error that is caught": [
        ("    check(len(gallery), 7)\n", "    try:\n        check(len(gallery), 7)\n    except E:\n        pass\n")
    ],
    "another size": [("batch=16", "batch=1")],
}  # fmt: skip


@pytest.mark.parametrize("replacements", WEAKENED.values(), ids=WEAKENED)
def test_a_weaker_test_is_seen(printed, replacements):
    assert printed(*replacements) != printed()


def test_an_oracle_that_is_named_counts_as_a_whole(printed):
    """Otherwise a loop that computes the expected value without asserting could be changed unnoticed."""
    weaker = ("value > query", "value >= query")
    assert printed(weaker) == printed()
    assert printed(weaker, oracles=["plain_loop"]) != printed(oracles=["plain_loop"])
