"""Parsers of the option that a reply to a multiple-choice question names, one per evaluation protocol.

Where an original protocol guesses at random, these parsers return no option. Otherwise they reproduce the originals,
oddities included, so that scores can be compared with published ones; each docstring names its original and the commit
that was read. tests/data/replies.yaml shows them side by side.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple


class ParsedOption(NamedTuple):
    """Result of parsing a reply.

    Attributes:
        letter: the letter of the option that the reply names, or None.
        step: the parsing step that decided.
    """

    letter: str | None
    step: str


OptionParser = Callable[[str, Sequence[str]], ParsedOption]

UNPARSED = ParsedOption(None, "unparsed")
PUNCTUATION = ",.!?;:'"  # stripped from both ends of a reply by MMMU's parser and its variants

# ---- VLMEvalKit ----

REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
API_FAILURE = "Failed to obtain answer via API"  # what VLMEvalKit's models reply if the API call fails
SEPARATORS = re.compile(r"[.()\[\],:;!*#{}]")
ANSWER_IS_PATTERN = re.compile(r"answer\s+is\s+\**([abcd])", re.IGNORECASE)


def parse_vlmevalkit(reply: str, options: Sequence[str]) -> ParsedOption:
    """Parse a reply as VLMEvalKit's exact matching does.

    The steps are: a single option letter among the reply's words, else "answer is X", else the only option whose text
    the reply contains. Option texts are not searched for in replies longer than twice the length of all options
    together. Letters are not searched for in the notice of a failed API call.

    Source: open-compass/VLMEvalKit e8e78f05, vlmeval/utils/matching_util.py, with `--judge exact_matching` and without
    VERBOSE: a lone "A" is the letter, also where it is an article.
    """
    letters = string.ascii_uppercase[: len(options)]
    parsed = None if API_FAILURE in reply else parse_vlmevalkit_letter(reply, letters)
    if parsed:
        return parsed
    lowered = reply.lower()
    if len(lowered) > 2 * sum(len(option) for option in options):
        return UNPARSED
    contained = [letter for letter, option in zip(letters, options, strict=True) if option.lower() in lowered]
    return ParsedOption(contained[0], "option text") if len(contained) == 1 else UNPARSED


def parse_vlmevalkit_letter(reply: str, letters: str) -> ParsedOption | None:
    """Parse the letter that a reply names, or its refusal; return None if there is neither and option texts come next.

    A letter counts if its first occurrence is one of the last four words. "Answer is X" accepts a to d in either case,
    even at the beginning of a longer word.
    """
    if any(refusal in reply for refusal in REFUSALS):
        return ParsedOption(None, "refusal")
    words = SEPARATORS.sub(" ", reply).split()
    letters_found = [letter for letter in letters if letter in words]
    if len(letters_found) == 1 and words.index(letters_found[0]) >= len(words) - 4:
        return ParsedOption(letters_found[0], "letter in the last four words")
    if not letters_found and "Z" in words:  # VLMEvalKit's mark for a reply that names no option
        return ParsedOption(None, "refusal")
    match = ANSWER_IS_PATTERN.search(reply)
    return ParsedOption(match[1].upper(), "answer is") if match and match[1].upper() in letters else None


# ---- MMMU: the official parser, and lmms-eval's variant of it ----

# Steps in order: name, the form in which a letter counts, the form whose last position decides among several letters.
OFFICIAL_STEPS = (("in brackets", "({})", "({})"), ("between blanks", " {} ", " {} "))
LMMS_EVAL_STEPS = (("in brackets", "({})", "({})"), ("before a blank", "{} ", " {} "), ("before a dot", "{}.", " {} "))


def parse_mmmu(reply: str, options: Sequence[str]) -> ParsedOption:
    """Parse a reply as MMMU's official parser does; among several matches the last one counts.

    The steps are: a letter in brackets, else a letter between blanks, else, in replies of more than five words, an
    option's text.

    Source: MMMU-Benchmark/MMMU bb0b95a, mmmu/utils/eval_utils.py. The original draws an option at random where it finds
    none.
    """
    return parse_last_option(reply, options, OFFICIAL_STEPS)


def parse_mmmu_lmms_eval(reply: str, options: Sequence[str]) -> ParsedOption:
    """Parse a reply as lmms-eval's variant of MMMU's parser does.

    It differs from `parse_mmmu` in two points: a blank after the letter is enough ("NBA " names A), and there is a step
    for "B.".

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/_task_utils/mmmu_mcq_utils.py; replies are stripped
    before they are scored (lmms_eval/api/task.py).
    """
    return parse_last_option(reply.strip(), options, LMMS_EVAL_STEPS)


def parse_last_option(reply: str, options: Sequence[str], steps: Sequence[tuple[str, str, str]]) -> ParsedOption:
    """Parse the last of the options that the first successful step finds.

    An option that the step finds, but not in the form by which positions are compared, counts as the earliest; among
    equal positions the first option is taken.

    Args:
        steps: steps for letters, in the format of OFFICIAL_STEPS; the options' texts are the final step.
    """
    text = f" {strip_punctuation(reply, PUNCTUATION)} "
    letters = string.ascii_uppercase[: len(options)]
    for step, form, position_form in steps:
        letters_found = [letter for letter in letters if form.format(letter) in text]
        if letters_found:
            last = max(letters_found, key=lambda letter: text.rfind(position_form.format(letter)))
            return ParsedOption(last, f"letter {step}{describe_num_found(letters_found)}")
    lowered = text.lower()
    positions = {letter: lowered.rfind(option.lower()) for letter, option in zip(letters, options, strict=True)}
    contained = [letter for letter in letters if positions[letter] >= 0]
    if len(text.split()) <= 5 or not contained:
        return UNPARSED
    return ParsedOption(
        max(contained, key=lambda letter: positions[letter]), f"option text{describe_num_found(contained)}"
    )


def describe_num_found(found: Sequence[str]) -> str:
    """Describe how many options were found, or return "" for one."""
    return f", last of {len(found)}" if len(found) > 1 else ""


def strip_punctuation(text: str, characters: str) -> str:
    """Strip each mark from both ends of a text, in the given order and once each, so that "B,." loses only its dot."""
    for character in characters:
        text = text.strip(character)
    return text


# ---- RealWorldQA in lmms-eval ----

LETTER_FORMS = (("in brackets", 6, "({})"), ("before a dot", 5, "{}."), ("before a colon", 4, "{}:"),
                ("before a bracket", 3, "{})"), ("before a blank", 2, "{} "))  # fmt: skip
ANSWER_NOUNS = ("answer", "correct answer", "best answer", "correct option", "best option", "choice", "correct choice")
ANSWER_PHRASES = (
    *(f"{article}{noun} is" for noun in ANSWER_NOUNS for article in ("", "the ")),
    *("i choose", "i select", "i pick", "my answer is", "my choice is"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)


def parse_highest_priority_letter(reply: str) -> ParsedOption:
    """Parse the letter A to D with the highest priority in a reply, the later one of equals, whatever the options.

    The priorities are: 10 at the start and 9 at the end if no other letter touches it, 7 after "the answer is" and the
    like, 6 for "(A)", 5 for "A.", 4 for "A:", 3 for "A)", 2 for "A ", and 0 for a letter anywhere.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/_task_utils/mcq_extract.py, as of #1274.
    """
    stripped = strip_punctuation(reply.strip(), PUNCTUATION + '"')
    text, padded = stripped.strip(), f" {stripped} "
    lowered = padded.lower()
    candidates = []  # priority, position, letter, step
    for letter in "ABCD":
        for step, priority, form in LETTER_FORMS:
            candidates.append((priority, padded.rfind(form.format(letter)), letter, f"letter {step}"))
        for phrase in ANSWER_PHRASES:
            start = lowered.find(phrase)
            if start >= 0:
                candidates.append((7, padded.find(letter, start + len(phrase)), letter, "answer is"))
        if text.startswith(letter) and not text[1:2].isalpha():
            candidates.append((10, 0, letter, "letter at the start"))
        if text.endswith(letter) and not text[-2:-1].isalpha():
            candidates.append((9, len(text), letter, "letter at the end"))
        candidates.append((0, padded.rfind(letter), letter, "letter anywhere"))
    candidates = [entry for entry in candidates if entry[1] >= 0]
    if not candidates:
        return UNPARSED
    _, _, letter, step = max(candidates)
    return ParsedOption(letter, step)


# ---- ours ----

FIRST_LETTER_PATTERN = re.compile(r"\s*[(\[]?([A-Z])(?=[\s.,:;!?)\]]|\Z)")


def parse_first_letter(reply: str, options: Sequence[str]) -> ParsedOption:
    """Parse a reply's first non-blank character, after an optional bracket, if it is a free-standing option letter.

    Free-standing means at the end, or before a blank, one of `. , : ; ! ?` or a closing bracket.
    """
    match = FIRST_LETTER_PATTERN.match(reply)
    if match and match[1] in string.ascii_uppercase[: len(options)]:
        return ParsedOption(match[1], "first letter")
    return UNPARSED
