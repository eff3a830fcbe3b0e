"""Verdicts on replies that are text: to open questions, and of text read in pictures, by the rule of each protocol.

A rule takes the accepted answers and the reply. Like those of slq.evaluation.option_parsing the rules are the
originals', oddities included.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Judgement:
    """Whether a reply is right, why in a few words, and what was read in it: None if nothing was."""

    is_correct: bool
    reason: str
    parsed: str | None


AnswerMatcher = Callable[[Sequence[str], str], Judgement]

# ---- the whole reply is an answer ----

NUMBER_PATTERN = re.compile(r"[-+]?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:e[-+]?[0-9]{1,3})?")


def match_normalised(answers: Sequence[str], reply: str) -> Judgement:
    """Our own exact rule: without case and a final dot the reply is an answer, as text or as a number."""
    parsed = normalise_text(reply)
    return judge_whole_reply(
        parse_number_or_text(parsed) in {parse_number_or_text(normalise_text(answer)) for answer in answers}, parsed
    )


def normalise_text(text: str) -> str:
    """In lower case, without blanks around it and without a final dot."""
    return text.strip().lower().removesuffix(".").strip()


def parse_number_or_text(text: str) -> Decimal | str:
    """A plain text's number, commas between thousands allowed, or the text itself."""
    return Decimal(text.replace(",", "")) if NUMBER_PATTERN.fullmatch(text) else text


def match_verbatim(answers: Sequence[str], reply: str) -> Judgement:
    """Our own strict rule: without blanks around it the reply is an answer, letter by letter."""
    parsed = reply.strip()
    return judge_whole_reply(parsed in {answer.strip() for answer in answers}, parsed)


def match_lowercase(answers: Sequence[str], reply: str) -> Judgement:
    """In lower case and without final dots the reply is an answer in lower case.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/realworldqa/utils.py, as of #1274. The answer keeps its
    final dot.
    """
    parsed = reply.lower().strip().rstrip(".")
    return judge_whole_reply(parsed in {answer.strip().lower() for answer in answers}, parsed)


def judge_whole_reply(is_correct: bool, parsed: str) -> Judgement:
    """The verdict of a rule that compares whole replies."""
    return Judgement(is_correct, "is the answer" if is_correct else "is not the answer", parsed or None)


# ---- MMMU's open questions ----

ANSWER_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
MMMU_NUMBER_PATTERNS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # with commas
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # scientific
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),  # simple
)


def match_mmmu(answers: Sequence[str], reply: str) -> Judgement:
    """An answer stands in a key piece of the reply, or is, to two decimals, a number in one.

    Source: MMMU-Benchmark/MMMU bb0b95a, mmmu/utils/eval_utils.py; lmms-eval does the same since its #1471.
    """
    golds = [gold for answer in answers for gold in normalise_mmmu(answer)]
    pieces = extract_key_pieces(reply)
    numbers = [number for piece in pieces for pattern in MMMU_NUMBER_PATTERNS for number in pattern.findall(piece)]
    candidates = list(dict.fromkeys(candidate for text in pieces + numbers for candidate in normalise_mmmu(text)))
    parsed = " | ".join(str(candidate) for candidate in candidates) or None
    for candidate in candidates:
        if isinstance(candidate, float):
            if candidate in golds:
                return Judgement(True, "has the answer's number", parsed)
        elif any(isinstance(gold, str) and gold in candidate for gold in golds):
            return Judgement(True, "contains the answer", parsed)
    return Judgement(False, "does not have the answer", parsed)


def extract_key_pieces(reply: str) -> list[str]:
    """Of each line the shortest text after the last of an indicator; the whole reply if no line has one.

    "=" is an indicator in the last line. The original means to split at sentences as well, but looks for their capitals
    in a reply that it has put in lower case.
    """
    cleaned = reply.strip().strip(".").lower()
    lines = cleaned.split("\n")
    pieces = []
    for number, line in enumerate(lines, start=1):
        indicators = (*ANSWER_INDICATORS, "=") if number == len(lines) else ANSWER_INDICATORS
        shortest = ""
        for tail in (line.split(indicator)[-1].strip() for indicator in indicators if indicator in line):
            if not shortest or len(tail) < len(shortest):
                shortest = tail
        if shortest and shortest not in set(":,.!?;'"):
            pieces.append(shortest)
    return pieces or [cleaned]


def normalise_mmmu(text: str) -> list[float | str]:
    """A number, to two decimals; else the text in lower case, a single character with a blank before or after it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


# ---- OCRBench ----

# U+FF01 to U+FF5E and the ideographic blank; unlike NFKC no circled digits, superscripts or units.
FULLWIDTH_TO_HALFWIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def match_substring(answers: Sequence[str], reply: str) -> Judgement:
    """An answer stands in the reply, both in one line of lower case.

    Source: open-compass/VLMEvalKit e8e78f05, vlmeval/dataset/image_vqa.py, class OCRBench.
    """
    return judge_substring(answers, reply, lowercase_single_line)


def match_substring_halfwidth(answers: Sequence[str], reply: str) -> Judgement:
    """The same, full-width characters taken as their narrow ones.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/ocrbench/utils.py, as of #1415.
    """
    return judge_substring(answers, reply, lambda text: lowercase_single_line(text.translate(FULLWIDTH_TO_HALFWIDTH)))


def match_formula(answers: Sequence[str], reply: str) -> Judgement:
    """An answer stands in the reply, both with their case and without blanks and newlines; tabs stay.

    Source: both of the above; lmms-eval keeps the reply's case since #1278.
    """
    return judge_substring(answers, reply, lambda text: text.strip().replace("\n", "").replace(" ", ""))


def lowercase_single_line(text: str) -> str:
    """In lower case, newlines as blanks."""
    return text.lower().strip().replace("\n", " ")


def judge_substring(answers: Sequence[str], reply: str, normalise: Callable[[str], str]) -> Judgement:
    """Whether a normalised answer is a substring of the normalised reply, and which.

    The reason tells the reply's length: long replies, and such as repeat the question, hit more easily.
    """
    text = normalise(reply)
    for answer in answers:
        if normalise(answer) in text:
            return Judgement(True, f"contains the answer, {len(reply)} characters", answer)
    return Judgement(False, f"contains no answer, {len(reply)} characters", None)
