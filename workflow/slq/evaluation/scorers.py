"""Scorers of the retention datasets: pure functions of an item and a reply, whose names end with a version number.

Every change that can alter a judgement needs a new version number. No scorer guesses or calls a judge model: a reply
that cannot be parsed is wrong. An item is a line of a retention dataset (docs/own-data.md). With `options`, it is a
multiple-choice question, else an open question.
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

# Tags of reasoning that lmms-eval removes from every reply (the default of its --reasoning_tags), in this order.
REASONING_TAGS = (("<think>", "</think>"), ("<analysis>", "</analysis>"))
FORMULA_TYPE = "Handwritten Mathematical Expression Recognition"  # type of OCRBench's formula items


@dataclass(frozen=True)
class Scorer:
    """A named scoring rule with the benchmarks that it applies to."""

    name: str
    benchmarks: tuple[str, ...]
    rule: ScoringRule

    def __call__(self, item: Item, reply: str) -> Judgement:
        """Judge a reply to an item."""
        return self.rule(item, reply)


def build_choice_rule(parse_option: OptionParser, match: AnswerMatcher) -> ScoringRule:
    """Build a rule that parses an option letter for items with options, and else matches the reply to the answers."""

    def rule(item: Item, reply: str) -> Judgement:
        if not item["options"]:
            return match(item["answers"], reply)
        return judge_letter(item["answers"], *parse_option(reply, item["options"]))

    return rule


def judge_letter(answers: Sequence[str], letter: str | None, step: str) -> Judgement:
    """Build the judgement of a parsed option letter; the parsing step is the judgement's reason."""
    return Judgement(letter in answers, step, letter)


def judge_realworldqa_lmms_eval(item: Item, reply: str) -> Judgement:
    """Judge the letter that a reply names if an accepted answer is one of A to D, else judge the whole reply.

    The options of the item are ignored.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/realworldqa/utils.py, as of #1274.
    """
    letters = [answer.strip().upper() for answer in item["answers"] if answer.strip().upper() in set("ABCD")]
    return (
        judge_letter(letters, *parse_highest_priority_letter(reply))
        if letters
        else match_lowercase(item["answers"], reply)
    )


def build_ocrbench_rule(match: AnswerMatcher) -> ScoringRule:
    """Build a rule for OCRBench (Liu et al. 2024): `match_formula` for formulas, `match` for all other items."""
    return lambda item, reply: (match_formula if item["type"] == FORMULA_TYPE else match)(item["answers"], reply)


def strip_reasoning(reply: str) -> str:
    """Remove tagged reasoning from a reply, and whitespace around the remaining text.

    Each pair of tags is processed as follows:
    1. The text from the first opening tag to the next closing tag is removed, as often as there is such a text.
    2. If a closing tag remains without an opening tag, all text up to the last closing tag is removed, because a chat
       template may have written the opening tag into the prompt.
    3. An opening tag that is never closed remains, with the text after it.

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
    """Wrap a rule so that it judges replies without their reasoning, as lmms-eval does."""
    return lambda item, reply: rule(item, strip_reasoning(reply))


SCORERS = {
    scorer.name: scorer
    for scorer in (
        # VLMEvalKit's exact matching; our exact rule for open questions, which VLMEvalKit turns into options (#110).
        Scorer("vlmevalkit-exact-2", ("mmmu", "realworldqa"), build_choice_rule(parse_vlmevalkit, match_normalised)),
        # MMMU's official parser; where the original guesses an option at random, the reply is unparsed and wrong.
        Scorer("mmmu-official-1", ("mmmu",), build_choice_rule(parse_mmmu, match_mmmu)),
        # lmms-eval's variant of MMMU's parser, as of its #1471; unparsed and wrong where the original guesses.
        Scorer("mmmu-lmms-eval-2", ("mmmu",), ignore_reasoning(build_choice_rule(parse_mmmu_lmms_eval, match_mmmu))),
        # Our own strict rule: the reply begins with the option's letter; an open reply equals an answer exactly.
        Scorer("first-letter-1", ("mmmu", "realworldqa"), build_choice_rule(parse_first_letter, match_verbatim)),
        # lmms-eval's priorities of letter positions, as of its #1274.
        Scorer("lmms-eval-realworldqa-2", ("realworldqa",), ignore_reasoning(judge_realworldqa_lmms_eval)),
        # VLMEvalKit: the reply contains an answer.
        Scorer("ocrbench-vlmevalkit-1", ("ocrbench",), build_ocrbench_rule(match_substring)),
        # lmms-eval: the same with full-width characters replaced by half-width ones, as of its #1415.
        Scorer("ocrbench-lmms-eval-2", ("ocrbench",), ignore_reasoning(build_ocrbench_rule(match_substring_halfwidth))),
    )
}


def find_scorers(benchmark: str, primary_scorer: str | None = None) -> list[Scorer]:
    """Find the scorers that apply to a benchmark, in the order of SCORERS.

    Args:
        primary_scorer: if given, the name of a scorer that must be among them.
    """
    found = [scorer for scorer in SCORERS.values() if benchmark in scorer.benchmarks]
    if not found:
        known = sorted({name for scorer in SCORERS.values() for name in scorer.benchmarks})
        raise SlqError(f"no scorer applies to '{benchmark}'; `scored_as` of a retention dataset must be one of {known}")
    names = [scorer.name for scorer in found]
    if primary_scorer is not None and primary_scorer not in names:
        raise SlqError(f"scorer '{primary_scorer}' does not apply to '{benchmark}'; expected one of {', '.join(names)}")
    return found


def guess_probability(item: Item) -> float:
    """Compute the probability that a random option is correct; 0 for an open question.

    This is the expected gain of a protocol that replaces an unparsed reply by a random option.
    """
    return 1 / len(item["options"]) if item["options"] else 0.0
