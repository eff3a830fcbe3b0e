"""Every scorer on every reply of data/replies.yaml, whose cells were derived from the protocols, not from a run."""

import os
import random
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from slq.common.errors import SlqError
from slq.evaluation.scorers import FORMULA_TYPE, SCORERS, find_scorers, guess_probability, strip_reasoning

LETTERS = ("vlmevalkit-exact-2", "mmmu-official-1", "mmmu-lmms-eval-2", "first-letter-1", "lmms-eval-realworldqa-2")
OPEN = ("vlmevalkit-exact-2", "mmmu-official-1", "first-letter-1", "lmms-eval-realworldqa-2")
OCR = ("ocrbench-vlmevalkit-1", "ocrbench-lmms-eval-2")
HIT = {"hit": True, "miss": False}
FRUIT = ["apple", "banana", "cherry", "dragon fruit"]

# A line of the file: by scorer, the letter that it reads (None except for multiple choice), and whether it is a hit.
Case = namedtuple("Case", "item reply letters hits source")


def item(answers, options=(), type_="open", id_="1"):
    return {"id": id_, "answers": answers, "options": list(options), "type": type_}


def read_cases():
    """Yield the lines of the file in order."""
    data = yaml.safe_load((Path(__file__).parents[2] / "data" / "replies.yaml").read_text(encoding="utf-8"))
    for group in data["choices"]:
        scorers = LETTERS if len(group["options"]) <= 4 else LETTERS[:-1]
        for gold, *fields in group["replies"]:
            letters, reply, source = split(fields, scorers)
            hits = {scorer: letter == gold for scorer, letter in letters.items()}
            yield Case(item([gold], group["options"], "multiple-choice"), reply, letters, hits, source)
    texts = [("open", OPEN, data["open"]), *((group["type"], OCR, group["replies"]) for group in data["ocr"])]
    for type_, scorers, replies in texts:
        for answers, *fields in replies:
            cells, reply, source = split(fields, scorers)
            hits = {scorer: HIT[cell] for scorer, cell in cells.items()}
            yield Case(item(answers, (), type_), reply, None, hits, source)


def split(fields, scorers):
    """A line's cells by scorer, its reply, and its source or None."""
    count = len(scorers)
    reply, source = (*fields[count:], None)[:2]
    assert isinstance(reply, str), fields
    return dict(zip(scorers, fields[:count], strict=True)), reply, source


CASES = list(read_cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.item['answers'][0]}-{case.reply[:40]!r}")
def test_what_each_scorer_makes_of_a_reply(case):
    verdicts = {name: SCORERS[name](case.item, case.reply) for name in case.hits}
    if case.letters:
        assert {name: verdict.parsed for name, verdict in verdicts.items()} == case.letters
    assert {name: verdict.is_correct for name, verdict in verdicts.items()} == case.hits


def test_there_are_enough_replies_and_peers_issues():
    assert len(CASES) >= 120
    assert sum(bool(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", case.source or "")) for case in CASES) >= 30
    assert {name for case in CASES for name in case.hits} == set(SCORERS)


def test_both_parsers_of_mmmu_have_one_rule_for_open_questions():
    for case in CASES:
        if case.item["type"] == "open":
            official, lmms_eval = (SCORERS[name](case.item, case.reply) for name in LETTERS[1:3])
            assert official == lmms_eval


# Replies with reasoning, for lmms-eval's rule only, which first removes tagged reasoning.
THOUGHT = [
    ("<think>STOP</think>GO", "STOP", "Regular Text Recognition", {"ocrbench-lmms-eval-2": False}),
    ("<think>S T O P</think>\nGO", "STOP", FORMULA_TYPE, {"ocrbench-lmms-eval-2": False}),
    ("<think>0</think>1", "1", "open", {"lmms-eval-realworldqa-2": True, "mmmu-lmms-eval-2": True}),
    ("<think>12</think>3.5", "12", "open", {"lmms-eval-realworldqa-2": False, "mmmu-lmms-eval-2": False}),
    ("<analysis>so 12</analysis> 3.5", "3.5", "open", {"lmms-eval-realworldqa-2": True, "mmmu-lmms-eval-2": True}),
]


@pytest.mark.parametrize(("reply", "gold", "type_", "expected"), THOUGHT)
def test_lmms_eval_scores_what_is_said_behind_the_thinking(reply, gold, type_, expected):
    entry = item([gold], (), type_)
    assert {name: SCORERS[name](entry, reply).is_correct for name in expected} == expected
    for name in expected:
        other = SCORERS["ocrbench-vlmevalkit-1" if "ocr" in name else "mmmu-official-1"](entry, reply)
        assert other.is_correct == (gold in reply.replace(" ", "")), "the others read the thinking too"


@pytest.mark.parametrize("reply", ["A A A </think> B", "<think>A</think> B", "<think>(C)</think>A A</think>B"])
@pytest.mark.parametrize("name", ["mmmu-lmms-eval-2", "lmms-eval-realworldqa-2"])
def test_lmms_eval_reads_the_letter_behind_the_thinking(name, reply):
    assert SCORERS[name](item(["B"], FRUIT), reply).parsed == "B"


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        ("B", "B"),
        (" B\n", "B"),
        ("a<think>x</think>b<think>y</think>c", "abc"),
        ("<analysis>x</analysis><think>y</think>B", "B"),
        ("x</think>y</think>B", "B"),  # the template wrote the opening tag
        ("</think> x <think> B", "</think> x <think> B"),  # nothing closes it, and </think> is not the only tag
        ("<think>B", "<think>B"),
        ("<THINK>x</THINK>B", "<THINK>x</THINK>B"),
        ("<thinking>x</thinking>B", "<thinking>x</thinking>B"),
        ("<think><think>x</think>y</think>B", "B"),  # the first </think> ends the outer block; the second is alone
        ("<think>x</analysis>y</think>B", "B"),
        ("x</analysis><think>y</analysis>B", "B"),
        ("", ""),
    ],
)
def test_what_lmms_eval_leaves_of_a_reply(reply, left):
    assert strip_reasoning(reply) == left


def test_vlmevalkit_reads_no_letter_in_the_notice_of_a_failed_call():
    for reply in ("Failed to obtain answer via API. B", "Failed to obtain answer via API. The answer is B"):
        verdict = SCORERS["vlmevalkit-exact-2"](item(["B"], FRUIT), reply)
        assert (verdict.is_correct, verdict.parsed, verdict.reason) == (False, None, "unparsed")
    shorter = SCORERS["vlmevalkit-exact-2"](item(["B"], FRUIT), "Failed to obtain answer. B")
    assert shorter.is_correct, "another notice is a reply like any"


def transcript(order_seed):
    """All verdicts in the order of the file, computed in another order."""
    order = list(range(len(CASES)))
    random.Random(order_seed).shuffle(order)
    verdicts = {}
    for number in order:
        case = CASES[number]
        for name in sorted(case.hits, reverse=order_seed % 2):
            verdicts[number, name] = SCORERS[name](case.item, case.reply)
    return "\n".join(f"{key} {verdicts[key]!a}" for key in sorted(verdicts))


def test_no_verdict_depends_on_order_or_hash_seed():
    script = "import sys, test_scorers; sys.stdout.write(test_scorers.transcript(int(sys.argv[1])))"
    seen = {transcript(0)}
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", script, seed]
        seen.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(seen) == 1


# Parts of a reply: marks and words that the rules look for, and arbitrary code points. The last four: a full-width B, a
# blank, half of a surrogate pair, a capital that is longer in lower case.
PIECES = [
    *"ABCDZ .,:;!?'\"()[]{}*#$\\\n\t=-",
    *("answer is ", "so ", "1,000", "6e23", "banana"),
    *("\uff22", "\u00a0", "\ud800", "\u0130"),
]


def random_reply(generator):
    return "".join(
        generator.choice(PIECES) if generator.random() < 0.8 else chr(generator.randrange(0x110000))
        for _ in range(generator.randrange(25))
    )


@pytest.mark.parametrize("name", SCORERS)
def test_any_reply_gets_a_verdict(name):
    generator = random.Random(7)
    items = [
        item(["B"], FRUIT, "multiple-choice"),
        item(["1,000", "so"]),
        item(["\uff22 ="], (), "Regular Text Recognition"),
        item(["( B"], (), "Handwritten Mathematical Expression Recognition"),
    ]
    hits = 0
    for _ in range(1000):
        reply = random_reply(generator)
        for entry in items:
            verdict = SCORERS[name](entry, reply)
            assert verdict.reason and isinstance(verdict.is_correct, bool), ascii(reply)
            assert verdict.is_correct <= (verdict.parsed is not None), ascii(reply)
            hits += verdict.is_correct
            if entry["options"] and "ocrbench" not in name:
                assert verdict.parsed in (*"ABCD", None), ascii(reply)
                assert verdict.is_correct == (verdict.parsed == "B"), ascii(reply)
    assert 0 < hits < 4000


def test_scorers_of_a_benchmark():
    assert [scorer.name for scorer in find_scorers("mmmu")] == list(LETTERS[:-1])
    assert [scorer.name for scorer in find_scorers("realworldqa")] == [LETTERS[0], LETTERS[3], LETTERS[4]]
    assert [scorer.name for scorer in find_scorers("ocrbench")] == list(OCR)
    assert all(re.search(r"-\d+$", name) for name in SCORERS)
    with pytest.raises(SlqError, match=r"'chartqa'.*\['mmmu', 'ocrbench', 'realworldqa'\]"):
        find_scorers("chartqa")
    with pytest.raises(
        SlqError, match="'first-letter-2' does not apply to 'mmmu'; expected one of vlmevalkit-exact-2, "
    ):
        find_scorers("mmmu", "first-letter-2")


def test_a_random_option_is_expected_to_hit_once_in_as_many_as_there_are():
    assert guess_probability(item(["B"], FRUIT)) == 0.25
    assert guess_probability(item(["4"])) == 0.0
