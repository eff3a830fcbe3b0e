"""Verdicts on replies that are text: to open questions, and of text read in pictures, by the rule of each protocol.

A rule takes the accepted answers and the reply. Like those of slq.evaluation.choices the rules are the originals',
oddities included.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Verdict:
    """Whether a reply is right, why in a few words, and what was read in it: None if nothing was."""

    hit: bool
    reason: str
    parsed: str | None


Matcher = Callable[[Sequence[str], str], Verdict]

# ---- the whole reply is an answer ----

NUMBER = re.compile(r"[-+]?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:e[-+]?[0-9]{1,3})?")


def match_plain(answers: Sequence[str], reply: str) -> Verdict:
    """Our own exact rule: without case and a final dot the reply is an answer, as text or as a number."""
    parsed = plain(reply)
    return same(value(parsed) in {value(plain(answer)) for answer in answers}, parsed)


def plain(text: str) -> str:
    """In lower case, without blanks around it and without a final dot."""
    return text.strip().lower().removesuffix(".").strip()


def value(text: str) -> Decimal | str:
    """A plain text's number, commas between thousands allowed, or the text itself."""
    return Decimal(text.replace(",", "")) if NUMBER.fullmatch(text) else text


def match_text(answers: Sequence[str], reply: str) -> Verdict:
    """Our own strict rule: without blanks around it the reply is an answer, letter by letter."""
    parsed = reply.strip()
    return same(parsed in {answer.strip() for answer in answers}, parsed)


def match_lower(answers: Sequence[str], reply: str) -> Verdict:
    """In lower case and without final dots the reply is an answer in lower case.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/realworldqa/utils.py, as of #1274. The answer keeps its
    final dot.
    """
    parsed = reply.lower().strip().rstrip(".")
    return same(parsed in {answer.strip().lower() for answer in answers}, parsed)


def same(hit: bool, parsed: str) -> Verdict:
    """The verdict of a rule that compares whole replies."""
    return Verdict(hit, "is the answer" if hit else "is not the answer", parsed or None)


# ---- MMMU's open questions ----

INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
COUNTED = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # with commas
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # scientific
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),  # simple
)


def match_mmmu(answers: Sequence[str], reply: str) -> Verdict:
    """An answer stands in a key piece of the reply, or is, to two decimals, a number in one.

    Source: MMMU-Benchmark/MMMU bb0b95a, mmmu/utils/eval_utils.py; lmms-eval does the same since its #1471.
    """
    golds = [gold for answer in answers for gold in normalise(answer)]
    pieces = key_pieces(reply)
    numbers = [number for piece in pieces for pattern in COUNTED for number in pattern.findall(piece)]
    candidates = list(dict.fromkeys(candidate for text in pieces + numbers for candidate in normalise(text)))
    parsed = " | ".join(str(candidate) for candidate in candidates) or None
    for candidate in candidates:
        if isinstance(candidate, float):
            if candidate in golds:
                return Verdict(True, "has the answer's number", parsed)
        elif any(isinstance(gold, str) and gold in candidate for gold in golds):
            return Verdict(True, "contains the answer", parsed)
    return Verdict(False, "does not have the answer", parsed)


def key_pieces(reply: str) -> list[str]:
    """Of each line the shortest text after the last of an indicator; the whole reply if no line has one.

    "=" is an indicator in the last line. The original means to split at sentences as well, but looks for their capitals
    in a reply that it has put in lower case.
    """
    whole = reply.strip().strip(".").lower()
    lines = whole.split("\n")
    pieces = []
    for number, line in enumerate(lines, start=1):
        indicators = (*INDICATORS, "=") if number == len(lines) else INDICATORS
        shortest = ""
        for tail in (line.split(indicator)[-1].strip() for indicator in indicators if indicator in line):
            if not shortest or len(tail) < len(shortest):
                shortest = tail
        if shortest and shortest not in set(":,.!?;'"):
            pieces.append(shortest)
    return pieces or [whole]


def normalise(text: str) -> list[float | str]:
    """A number, to two decimals; else the text in lower case, a single character with a blank before or after it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


# ---- OCRBench ----

# U+FF01 to U+FF5E and the ideographic blank; unlike NFKC no circled digits, superscripts or units.
NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def match_within(answers: Sequence[str], reply: str) -> Verdict:
    """An answer stands in the reply, both in one line of lower case.

    Source: open-compass/VLMEvalKit e8e78f05, vlmeval/dataset/image_vqa.py, class OCRBench.
    """
    return within(answers, reply, one_line)


def match_within_narrow(answers: Sequence[str], reply: str) -> Verdict:
    """The same, full-width characters taken as their narrow ones.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/ocrbench/utils.py, as of #1415.
    """
    return within(answers, reply, lambda text: one_line(text.translate(NARROW)))


def match_formula(answers: Sequence[str], reply: str) -> Verdict:
    """An answer stands in the reply, both with their case and without blanks and newlines; tabs stay.

    Source: both of the above; lmms-eval keeps the reply's case since #1278.
    """
    return within(answers, reply, lambda text: text.strip().replace("\n", "").replace(" ", ""))


def one_line(text: str) -> str:
    """In lower case, newlines as blanks."""
    return text.lower().strip().replace("\n", " ")


def within(answers: Sequence[str], reply: str, normal: Callable[[str], str]) -> Verdict:
    """Whether a normalised answer is a substring of the normalised reply, and which.

    The reason tells the reply's length: long replies, and such as repeat the question, hit more easily.
    """
    text = normal(reply)
    for answer in answers:
        if normal(answer) in text:
            return Verdict(True, f"contains the answer, {len(reply)} characters", answer)
    return Verdict(False, f"contains no answer, {len(reply)} characters", None)
