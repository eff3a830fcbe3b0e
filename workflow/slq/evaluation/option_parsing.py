"""Parsers of replies to multiple-choice questions, one per evaluation protocol.

Each parser finds the option that a reply names. The parsers reproduce the original protocols including their quirks, so
that scores are comparable with published ones, with one exception: where an original guesses an option at random, the
parser returns no option. Each docstring names the original and its commit. tests/data/replies.yaml compares the parsers
on example replies.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple


class ParsedOption(NamedTuple):
    """Result of parsing a reply.

    Attributes:
        letter: letter of the option that the reply names, or None.
        step: name of the parsing step that found it.
    """

    letter: str | None
    step: str


OptionParser = Callable[[str, Sequence[str]], ParsedOption]

UNPARSED = ParsedOption(None, "unparsed")
PUNCTUATION = ",.!?;:'"  # stripped from both ends of a reply by MMMU's parser and its variants

# ---- VLMEvalKit (Duan et al. 2024) ----

REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
API_FAILURE = "Failed to obtain answer via API"  # the reply of VLMEvalKit's models if an API call fails
SEPARATORS = re.compile(r"[.()\[\],:;!*#{}]")
ANSWER_IS_PATTERN = re.compile(r"answer\s+is\s+\**([abcd])", re.IGNORECASE)


def parse_vlmevalkit(reply: str, options: Sequence[str]) -> ParsedOption:
    """Parse a reply as VLMEvalKit's exact matching does.

    The first step that succeeds decides:
    1. Exactly one option letter occurs among the reply's words. This step and the next skip notices of failed API
       calls.
    2. The reply contains "answer is X".
    3. The reply contains the text of exactly one option. This step skips replies longer than twice the total length of
       all options.

    Source: open-compass/VLMEvalKit e8e78f05, vlmeval/utils/matching_util.py, with `--judge exact_matching` and without
    VERBOSE: a lone "A" is parsed as the letter, even if it is an article.
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
    """Parse the letter that a reply names, or its refusal; return None for neither, so that option texts are tried.

    A single letter is accepted if its first occurrence is among the last four words. "Answer is X" accepts a to d in
    either case, even at the beginning of a longer word.
    """
    if any(refusal in reply for refusal in REFUSALS):
        return ParsedOption(None, "refusal")
    words = SEPARATORS.sub(" ", reply).split()
    letters_found = [letter for letter in letters if letter in words]
    if len(letters_found) == 1 and words.index(letters_found[0]) >= len(words) - 4:
        return ParsedOption(letters_found[0], "letter in the last four words")
    if not letters_found and "Z" in words:  # VLMEvalKit's marker of a reply that names no option
        return ParsedOption(None, "refusal")
    match = ANSWER_IS_PATTERN.search(reply)
    return ParsedOption(match[1].upper(), "answer is") if match and match[1].upper() in letters else None


# ---- MMMU (Yue et al. 2024): the official parser, and lmms-eval's variant of it ----

# Steps in order: name, form in which a letter is accepted, form whose last position decides among several letters.
OFFICIAL_STEPS = (("in brackets", "({})", "({})"), ("between blanks", " {} ", " {} "))
LMMS_EVAL_STEPS = (("in brackets", "({})", "({})"), ("before a blank", "{} ", " {} "), ("before a dot", "{}.", " {} "))


def parse_mmmu(reply: str, options: Sequence[str]) -> ParsedOption:
    """Parse a reply as MMMU's official parser does; among several matches the last one is used.

    The first step that succeeds decides: a letter in brackets; a letter between spaces; in replies of more than five
    words, the text of an option.

    Source: MMMU-Benchmark/MMMU bb0b95a, mmmu/utils/eval_utils.py. The original guesses an option at random if it finds
    none.
    """
    return parse_last_option(reply, options, OFFICIAL_STEPS)


def parse_mmmu_lmms_eval(reply: str, options: Sequence[str]) -> ParsedOption:
    """Parse a reply as lmms-eval's variant of MMMU's parser does.

    It differs from `parse_mmmu` in two points: a space after the letter suffices ("NBA " names A), and there is an
    additional step for "B.".

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/_task_utils/mmmu_mcq_utils.py; replies are stripped
    before they are scored (lmms_eval/api/task.py).
    """
    return parse_last_option(reply.strip(), options, LMMS_EVAL_STEPS)


def parse_last_option(reply: str, options: Sequence[str], steps: Sequence[tuple[str, str, str]]) -> ParsedOption:
    """Parse the last of the options that the first successful step finds.

    Positions are compared in a separate form (the third entry of a step). An option without a match in this form is
    treated as the earliest, and of equal positions the first option is used.

    Args:
        steps: steps for letters, in the format of OFFICIAL_STEPS; the options' texts are always the final step.
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
    """Strip each mark from both ends of a text, one mark after another in the given order: "B,." loses only its dot."""
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
    """Parse the letter A to D with the highest priority in a reply, whatever the options; the later one wins a tie.

    The priorities depend on a letter's position:
    - 10 at the start and 9 at the end of the reply, without an adjacent letter
    - 7 after "the answer is" and similar phrases
    - 6 in the form "(A)", 5 in "A.", 4 in "A:", 3 in "A)", 2 in "A "
    - 0 anywhere else

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


# ---- our own strict parser ----

FIRST_LETTER_PATTERN = re.compile(r"\s*[(\[]?([A-Z])(?=[\s.,:;!?)\]]|\Z)")


def parse_first_letter(reply: str, options: Sequence[str]) -> ParsedOption:
    """Parse the first non-space character of a reply, after an optional bracket, if it is a separate option letter.

    The letter is separate if the reply ends after it, or if a space, one of `. , : ; ! ?` or a closing bracket follows.
    """
    match = FIRST_LETTER_PATTERN.match(reply)
    if match and match[1] in string.ascii_uppercase[: len(options)]:
        return ParsedOption(match[1], "first letter")
    return UNPARSED
