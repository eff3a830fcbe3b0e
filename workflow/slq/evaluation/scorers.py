"""Scorers of the retention datasets: pure functions of an item and a reply, with a version at the end of each name.

A change that can alter a judgement makes a new version. No scorer guesses, and none calls a judge model: a reply that
it cannot parse is wrong. An item is a line of a retention dataset (docs/own-data.md): with `options` it is a
multiple-choice question, else an open one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slq.common.errors import SlqError
from slq.evaluation.answer_matching import (
    AnswerMatcher,
    Judgement,
    match_formula,
    match_lowercase,
    match_mmmu,
    match_normalised,
    match_substring,
    match_substring_halfwidth,
    match_verbatim,
)
from slq.evaluation.option_parsing import (
    OptionParser,
    parse_first_letter,
    parse_highest_priority_letter,
    parse_mmmu,
    parse_mmmu_lmms_eval,
    parse_vlmevalkit,
)

Item = dict[str, Any]
ScoringRule = Callable[[Item, str], Judgement]

# What lmms-eval removes from every reply: the default of its --reasoning_tags, in this order.
REASONING_TAGS = (("<think>", "</think>"), ("<analysis>", "</analysis>"))
FORMULA_TYPE = "Handwritten Mathematical Expression Recognition"  # the type of OCRBench's items that are formulas


@dataclass(frozen=True)
class Scorer:
    """Named scoring rule, with the benchmarks that it applies to."""

    name: str
    benchmarks: tuple[str, ...]
    rule: ScoringRule

    def __call__(self, item: Item, reply: str) -> Judgement:
        """Judge a reply to an item."""
        return self.rule(item, reply)


def build_choice_rule(parse_option: OptionParser, match: AnswerMatcher) -> ScoringRule:
    """Build a rule that parses an option letter if the item has options, else matches the reply with the answers."""

    def rule(item: Item, reply: str) -> Judgement:
        if not item["options"]:
            return match(item["answers"], reply)
        return judge_letter(item["answers"], *parse_option(reply, item["options"]))

    return rule


def judge_letter(answers: Sequence[str], letter: str | None, step: str) -> Judgement:
    """Build the judgement of a parsed option letter; `step` is the parsing step, reported as the reason."""
    return Judgement(letter in answers, step, letter)


def judge_realworldqa_lmms_eval(item: Item, reply: str) -> Judgement:
    """Judge the letter that a reply names if an accepted answer is one of A to D, else the whole reply.

    The item's options are ignored.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/realworldqa/utils.py, as of #1274.
    """
    letters = [answer.strip().upper() for answer in item["answers"] if answer.strip().upper() in set("ABCD")]
    return (
        judge_letter(letters, *parse_highest_priority_letter(reply))
        if letters
        else match_lowercase(item["answers"], reply)
    )


def build_ocrbench_rule(match: AnswerMatcher) -> ScoringRule:
    """Build a rule of OCRBench, which judges formulas by `match_formula` and all other items by `match`."""
    return lambda item, reply: (match_formula if item["type"] == FORMULA_TYPE else match)(item["answers"], reply)


def strip_reasoning(reply: str) -> str:
    """Remove tagged reasoning from a reply, and whitespace around the remaining text.

    The pairs of tags are processed in order. The first opening tag is removed with everything up to the next closing
    tag, and this is repeated as long as there is such a pair. If no opening tag remains but a closing one does,
    everything up to the last closing tag is removed, since a template may have written the opening tag into the prompt.
    An opening tag that is never closed remains, with the text after it.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/api/reasoning.py, called in lmms_eval/evaluator.py.
    """
    for opening, closing in REASONING_TAGS:
        before, opened, inside = reply.partition(opening)
        while opened and closing in inside:
            reply = before + inside.partition(closing)[2]
            before, opened, inside = reply.partition(opening)
        if not opened:
            reply = reply.rpartition(closing)[2]
    return reply.strip()


def ignore_reasoning(rule: ScoringRule) -> ScoringRule:
    """Wrap a rule so that it judges replies without their reasoning, as lmms-eval's rules do."""
    return lambda item, reply: rule(item, strip_reasoning(reply))


SCORERS = {
    scorer.name: scorer
    for scorer in (
        # VLMEvalKit's exact matching; open questions by our exact rule, because its own turns them into options (#110).
        Scorer("vlmevalkit-exact-2", ("mmmu", "realworldqa"), build_choice_rule(parse_vlmevalkit, match_normalised)),
        # MMMU's own parser; where it draws an option at random, the reply counts as unparsed and wrong.
        Scorer("mmmu-official-1", ("mmmu",), build_choice_rule(parse_mmmu, match_mmmu)),
        # lmms-eval's variant of MMMU's parser, as of its #1471; unparsed and wrong where it draws at random.
        Scorer("mmmu-lmms-eval-2", ("mmmu",), ignore_reasoning(build_choice_rule(parse_mmmu_lmms_eval, match_mmmu))),
        # Ours, strict: the reply begins with the option's letter; an open reply is the answer, letter by letter.
        Scorer("first-letter-1", ("mmmu", "realworldqa"), build_choice_rule(parse_first_letter, match_verbatim)),
        # lmms-eval's priorities of a letter's positions, as of its #1274.
        Scorer("lmms-eval-realworldqa-2", ("realworldqa",), ignore_reasoning(judge_realworldqa_lmms_eval)),
        # VLMEvalKit: an answer is a substring of the reply.
        Scorer("ocrbench-vlmevalkit-1", ("ocrbench",), build_ocrbench_rule(match_substring)),
        # lmms-eval: the same, full-width characters folded, as of its #1415.
        Scorer("ocrbench-lmms-eval-2", ("ocrbench",), ignore_reasoning(build_ocrbench_rule(match_substring_halfwidth))),
    )
}


def find_scorers(benchmark: str, primary_scorer: str | None = None) -> list[Scorer]:
    """Find the scorers that apply to a benchmark, in the order of SCORERS.

    Raises:
        SlqError: none applies, or `primary_scorer` is not the name of one that does.
    """
    found = [scorer for scorer in SCORERS.values() if benchmark in scorer.benchmarks]
    if not found:
        known = sorted({name for scorer in SCORERS.values() for name in scorer.benchmarks})
        raise SlqError(f"no scorer applies to '{benchmark}': a retention dataset is `scored_as` one of {known}")
    names = [scorer.name for scorer in found]
    if primary_scorer is not None and primary_scorer not in names:
        raise SlqError(f"scorer '{primary_scorer}' is none of those that apply to '{benchmark}': {', '.join(names)}")
    return found


def guess_probability(item: Item) -> float:
    """Compute the probability that a random option is correct, or 0 for an open question, where nobody guesses.

    It is what a protocol that guesses at random gains on average from an unparsed reply.
    """
    return 1 / len(item["options"]) if item["options"] else 0.0
