"""Matching rules that judge free-text replies to open questions and to text-reading (OCR) requests.

A rule compares a reply with the accepted answers. As in `slq.evaluation.option_parsing`, each rule reproduces the
evaluation protocol that it comes from, including the protocol's quirks.
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
        reason: short explanation of the judgement.
        parsed: the answer that was parsed from the reply, or None.
    """

    is_correct: bool
    reason: str
    parsed: str | None


AnswerMatcher = Callable[[Sequence[str], str], Judgement]

# ---- rules that compare the whole reply ----

NUMBER_PATTERN = re.compile(r"[-+]?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:e[-+]?[0-9]{1,3})?")


def match_normalised(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by our own exact rule: after `normalise_text`, it equals an answer as text or as a number."""
    parsed = normalise_text(reply)
    return judge_whole_reply(
        parse_number_or_text(parsed) in {parse_number_or_text(normalise_text(answer)) for answer in answers}, parsed
    )


def normalise_text(text: str) -> str:
    """Lower-case a text, and remove surrounding whitespace and one final dot."""
    return text.strip().lower().removesuffix(".").strip()


def parse_number_or_text(text: str) -> Decimal | str:
    """Parse a normalised text as a number, possibly with thousands separators; return other texts unchanged."""
    return Decimal(text.replace(",", "")) if NUMBER_PATTERN.fullmatch(text) else text


def match_verbatim(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by our own strict rule: apart from surrounding whitespace, it equals an answer exactly."""
    parsed = reply.strip()
    return judge_whole_reply(parsed in {answer.strip() for answer in answers}, parsed)


def match_lowercase(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by whether, lower-cased and without final dots, it equals a lower-cased answer.

    Final dots of the answer are not removed.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/realworldqa/utils.py, as of #1274.
    """
    parsed = reply.lower().strip().rstrip(".")
    return judge_whole_reply(parsed in {answer.strip().lower() for answer in answers}, parsed)


def judge_whole_reply(is_correct: bool, parsed: str) -> Judgement:
    """Build the judgement of a rule that compares the whole reply with the answers."""
    return Judgement(is_correct, "is the answer" if is_correct else "is not the answer", parsed or None)


# ---- open questions of MMMU (Yue et al. 2024) ----

ANSWER_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
MMMU_NUMBER_PATTERNS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # with commas
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # scientific
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),  # simple
)


def match_mmmu(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by whether one of its key phrases contains an answer, as text or as a number to two decimals.

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

    A line without an indicator has no key phrase. If no line has one, the whole reply is the only key phrase. In the
    last line, "=" is an indicator too. The original also intends to split lines at sentences, but never does: it
    searches for the sentences' capital letters after it has lower-cased the reply.
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
    """Normalise a text as MMMU does: to a number rounded to two decimals, or else to lower case.

    A single character gives two texts: one with a space before it, one with a space after it.
    """
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


# ---- OCRBench (Liu et al. 2024) ----

# U+FF01 to U+FF5E and the ideographic space. Unlike NFKC, circled digits, superscripts and units are unchanged.
FULLWIDTH_TO_HALFWIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def match_substring(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by whether it contains an answer, with both lower-cased and newlines replaced by spaces.

    Source: open-compass/VLMEvalKit e8e78f05, vlmeval/dataset/image_vqa.py, class OCRBench.
    """
    return judge_substring(answers, reply, lowercase_single_line)


def match_substring_halfwidth(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply as `match_substring` does, with full-width characters replaced by their half-width forms.

    Source: EvolvingLMMs-Lab/lmms-eval 75571cfe, lmms_eval/tasks/ocrbench/utils.py, as of #1415.
    """
    return judge_substring(answers, reply, lambda text: lowercase_single_line(text.translate(FULLWIDTH_TO_HALFWIDTH)))


def match_formula(answers: Sequence[str], reply: str) -> Judgement:
    """Judge a reply by whether it contains an answer, with spaces and newlines removed from both.

    The comparison is case-sensitive, and tabs are not removed.

    Source: both of the above; lmms-eval preserves the reply's case since #1278.
    """
    return judge_substring(answers, reply, lambda text: text.strip().replace("\n", "").replace(" ", ""))


def lowercase_single_line(text: str) -> str:
    """Lower-case a text, strip surrounding whitespace, and replace newlines by spaces."""
    return text.lower().strip().replace("\n", " ")


def judge_substring(answers: Sequence[str], reply: str, normalise: Callable[[str], str]) -> Judgement:
    """Judge a reply by whether it contains an answer, with both normalised; `parsed` is the first answer found.

    The reason states the reply's length, because long replies and replies that repeat the question match more easily.
    """
    text = normalise(reply)
    for answer in answers:
        if normalise(answer) in text:
            return Judgement(True, f"contains the answer, {len(reply)} characters", answer)
    return Judgement(False, f"contains no answer, {len(reply)} characters", None)
