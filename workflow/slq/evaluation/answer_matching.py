"""Matching rules that judge free-text replies: to open questions and to requests to read the text in an image.

A rule takes the accepted answers and the reply. As in slq.evaluation.option_parsing, each rule reproduces the protocol
that it comes from, oddities included.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Judgement:
    """Judgement of one reply.

    Attributes:
        is_correct: whether the reply is correct.
        reason: why, in a few words.
        parsed: the answer that was read in the reply, or None if none was.
    """

    is_correct: bool
    reason: str
    parsed: str | None


AnswerMatcher = Callable[[Sequence[str], str], Judgement]

# ---- rules that compare the whole reply ----

NUMBER_PATTERN = re.compile(r"[-+]?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:e[-+]?[0-9]{1,3})?")


def match_normalised(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by our own exact rule: after `normalise_text` it equals an answer, as text or as a number."""
    parsed = normalise_text(reply)
    return judge_whole_reply(
        parse_number_or_text(parsed) in {parse_number_or_text(normalise_text(answer)) for answer in answers}, parsed
    )


def normalise_text(text: str) -> str:
    """Return a text in lower case, without surrounding whitespace and without a final dot."""
    return text.strip().lower().removesuffix(".").strip()


def parse_number_or_text(text: str) -> Decimal | str:
    """Parse a normalised text as a number, thousands separators allowed; return the text itself if it is none."""
    return Decimal(text.replace(",", "")) if NUMBER_PATTERN.fullmatch(text) else text


def match_verbatim(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by our own strict rule: it equals an answer letter by letter, surrounding whitespace aside."""
    parsed = reply.strip()
    return judge_whole_reply(parsed in {answer.strip() for answer in answers}, parsed)


def match_lowercase(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by whether, in lower case and without final dots, it equals an answer in lower case.

    The answer's own final dot is not removed.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/realworldqa/utils.py, as of #1274.
    """
    parsed = reply.lower().strip().rstrip(".")
    return judge_whole_reply(parsed in {answer.strip().lower() for answer in answers}, parsed)


def judge_whole_reply(is_correct: bool, parsed: str) -> Judgement:
    """Build the judgement of a rule that compares the whole reply with the answers."""
    return Judgement(is_correct, "is the answer" if is_correct else "is not the answer", parsed or None)


# ---- MMMU's open questions ----

ANSWER_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
MMMU_NUMBER_PATTERNS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # with commas
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # scientific
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),  # simple
)


def match_mmmu(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by whether a key phrase of it contains an answer, or a number in one equals it to two decimals.

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
    """Extract the key phrase of each line of a reply: the shortest text after the last occurrence of an indicator.

    Lines without an indicator give none; if no line has one, the whole reply is the only phrase. In the last line "="
    is an indicator too. The original is meant to split at sentences as well, but it looks for their capital letters in
    a reply that it has already put in lower case.
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
    """Normalise a text as MMMU does: a number rounded to two decimals, or the text in lower case.

    A single character gives two texts, with a blank before it and with a blank after it.
    """
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
    """Judge a reply by whether it contains an answer, both in lower case and on one line.

    Source: open-compass/VLMEvalKit e8e78f05, vlmeval/dataset/image_vqa.py, class OCRBench.
    """
    return judge_substring(answers, reply, lowercase_single_line)


def match_substring_halfwidth(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply as `match_substring` does, with full-width characters replaced by their half-width forms.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/ocrbench/utils.py, as of #1415.
    """
    return judge_substring(answers, reply, lambda text: lowercase_single_line(text.translate(FULLWIDTH_TO_HALFWIDTH)))


def match_formula(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by whether it contains an answer, both without blanks and newlines.

    Upper and lower case matter, and tabs remain.

    Source: both of the above; lmms-eval preserves the reply's case since #1278.
    """
    return judge_substring(answers, reply, lambda text: text.strip().replace("\n", "").replace(" ", ""))


def lowercase_single_line(text: str) -> str:
    """Return a text in lower case, without surrounding whitespace and with newlines replaced by blanks."""
    return text.lower().strip().replace("\n", " ")


def judge_substring(answers: Sequence[str], reply: str, normalise: Callable[[str], str]) -> Judgement:
    """Judge a reply by whether it contains an answer after both are normalised; the first one found is `parsed`.

    The reason states the reply's length, since long replies, and those that repeat the question, match more easily.
    """
    text = normalise(reply)
    for answer in answers:
        if normalise(answer) in text:
            return Judgement(True, f"contains the answer, {len(reply)} characters", answer)
    return Judgement(False, f"contains no answer, {len(reply)} characters", None)
