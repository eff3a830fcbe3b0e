"""Which option a reply names, as each protocol reads it. Where an original guesses at random, nothing is read here.

The rules are the originals', oddities included, or their scores could not be compared with anybody's; each docstring
names its original and the commit that was read. tests/data/replies.yaml shows them side by side.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """The letter of the option that a reply names, or None, and by which step it was found."""

    letter: str | None
    step: str


Reader = Callable[[str, Sequence[str]], Reading]

UNPARSED = Reading(None, "unparsed")
MARKS = ",.!?;:'"  # that MMMU's parser and its relatives strip from a reply's ends

# ---- VLMEvalKit ----

REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
FAILED = "Failed to obtain answer via API"  # what its models answer where their server does not
SEPARATORS = re.compile(r"[.()\[\],:;!*#{}]")
SAID = re.compile(r"answer\s+is\s+\**([abcd])", re.IGNORECASE)


def read_vlmevalkit(reply: str, options: Sequence[str]) -> Reading:
    """One letter among the reply's words, else "answer is X", else the one option whose text the reply contains.

    The text is not looked for in replies longer than twice all options together. In the notice of a call that failed
    no letter is looked for.

    Source: open-compass/VLMEvalKit e8e78f05, vlmeval/utils/matching_util.py, with `--judge exact_matching` and without
    VERBOSE: a lone "A" is the letter, also where it is an article.
    """
    letters = string.ascii_uppercase[: len(options)]
    named = None if FAILED in reply else named_vlmevalkit(reply, letters)
    if named:
        return named
    lowered = reply.lower()
    if len(lowered) > 2 * sum(len(option) for option in options):
        return UNPARSED
    contained = [letter for letter, option in zip(letters, options, strict=True) if option.lower() in lowered]
    return Reading(contained[0], "option text") if len(contained) == 1 else UNPARSED


def named_vlmevalkit(reply: str, letters: str) -> Reading | None:
    """The letter that a reply names, or its refusal; None if it does neither, and texts are to be looked for.

    A letter counts if its first occurrence is one of the last four words. "Answer is X" takes a to d, of either case,
    even as the beginning of a word.
    """
    if any(refusal in reply for refusal in REFUSALS):
        return Reading(None, "refusal")
    words = SEPARATORS.sub(" ", reply).split()
    named = [letter for letter in letters if letter in words]
    if len(named) == 1 and words.index(named[0]) >= len(words) - 4:
        return Reading(named[0], "letter in the last four words")
    if not named and "Z" in words:  # their mark of a reply that names no option
        return Reading(None, "refusal")
    said = SAID.search(reply)
    return Reading(said[1].upper(), "answer is") if said and said[1].upper() in letters else None


# ---- MMMU: the official parser, and lmms-eval's variant of it ----

# Steps in order: name, the form of a letter that counts, the form that is looked for to find the last of several.
OFFICIAL = (("in brackets", "({})", "({})"), ("between blanks", " {} ", " {} "))
LMMS_EVAL = (("in brackets", "({})", "({})"), ("before a blank", "{} ", " {} "), ("before a dot", "{}.", " {} "))


def read_mmmu(reply: str, options: Sequence[str]) -> Reading:
    """A letter in brackets, else between blanks; else, in more than five words, an option's text. Of several the last.

    Source: MMMU-Benchmark/MMMU bb0b95a, mmmu/utils/eval_utils.py. It draws an option at random where it reads none.
    """
    return read_last(reply, options, OFFICIAL)


def read_mmmu_lmms_eval(reply: str, options: Sequence[str]) -> Reading:
    """The same, but a blank after the letter is enough ("NBA " names A), and there is a step for "B.".

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/_task_utils/mmmu_mcq_utils.py; replies are stripped
    before they are scored (lmms_eval/api/task.py).
    """
    return read_last(reply.strip(), options, LMMS_EVAL)


def read_last(reply: str, options: Sequence[str], steps: Sequence[tuple[str, str, str]]) -> Reading:
    """The last of the options that the first successful step finds: steps as in OFFICIAL, then the options' texts.

    One that is not found in the form of `place` counts as standing before all; of equals the first option is taken.
    """
    text = f" {strip_marks(reply, MARKS)} "
    letters = string.ascii_uppercase[: len(options)]
    for step, form, place in steps:
        named = [letter for letter in letters if form.format(letter) in text]
        if named:
            last = max(named, key=lambda letter: text.rfind(place.format(letter)))
            return Reading(last, f"letter {step}{of_several(named)}")
    lowered = text.lower()
    places = {letter: lowered.rfind(option.lower()) for letter, option in zip(letters, options, strict=True)}
    contained = [letter for letter in letters if places[letter] >= 0]
    if len(text.split()) <= 5 or not contained:
        return UNPARSED
    return Reading(max(contained, key=lambda letter: places[letter]), f"option text{of_several(contained)}")


def of_several(found: Sequence[str]) -> str:
    """Says how many options were found, if there were more than one."""
    return f", last of {len(found)}" if len(found) > 1 else ""


def strip_marks(text: str, marks: str) -> str:
    """One mark after another stripped from both ends, in this order, once each: "B,." keeps its comma."""
    for mark in marks:
        text = text.strip(mark)
    return text


# ---- RealWorldQA in lmms-eval ----

RANKED_FORMS = (("in brackets", 6, "({})"), ("before a dot", 5, "{}."), ("before a colon", 4, "{}:"),
                ("before a bracket", 3, "{})"), ("before a blank", 2, "{} "))  # fmt: skip
NOUNS = ("answer", "correct answer", "best answer", "correct option", "best option", "choice", "correct choice")
PHRASES = (
    *(f"{article}{noun} is" for noun in NOUNS for article in ("", "the ")),
    *("i choose", "i select", "i pick", "my answer is", "my choice is"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)


def read_ranked(reply: str) -> Reading:
    """The letter A to D in the most trusted place, the later one of equals; options are not looked at.

    At the start 10 and at the end 9 if no letter touches it, after "the answer is" and the like 7, "(A)" 6, "A." 5,
    "A:" 4, "A)" 3, "A " 2, and only where none of these is found, anywhere.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/_task_utils/mcq_extract.py, as of #1274.
    """
    marked = strip_marks(reply.strip(), MARKS + '"')
    text, padded = marked.strip(), f" {marked} "
    lowered = padded.lower()
    found = []  # rank, place, letter, step
    for letter in "ABCD":
        for step, rank, form in RANKED_FORMS:
            found.append((rank, padded.rfind(form.format(letter)), letter, f"letter {step}"))
        for phrase in PHRASES:
            start = lowered.find(phrase)
            if start >= 0:
                found.append((7, padded.find(letter, start + len(phrase)), letter, "answer is"))
        if text.startswith(letter) and not text[1:2].isalpha():
            found.append((10, 0, letter, "letter at the start"))
        if text.endswith(letter) and not text[-2:-1].isalpha():
            found.append((9, len(text), letter, "letter at the end"))
        found.append((0, padded.rfind(letter), letter, "letter anywhere"))
    found = [entry for entry in found if entry[1] >= 0]
    if not found:
        return UNPARSED
    _, _, letter, step = max(found)
    return Reading(letter, step)


# ---- ours ----

FIRST = re.compile(r"\s*[(\[]?([A-Z])(?=[\s.,:;!?)\]]|\Z)")


def read_first(reply: str, options: Sequence[str]) -> Reading:
    """The reply's first character that is not blank, a bracket before it allowed, if it is an option's letter alone.

    Alone: at the end, or before a blank, one of `. , : ; ! ?` or a closing bracket.
    """
    match = FIRST.match(reply)
    if match and match[1] in string.ascii_uppercase[: len(options)]:
        return Reading(match[1], "first letter")
    return UNPARSED
