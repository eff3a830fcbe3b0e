"""The text of a question: what is asked, with markers where its images stand.

`<image k>` in a text stands for the k-th image of its item, counted from 1.
"""

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from slq.common.errors import SlqError

MARKER = re.compile(r"<image (\d+)>")
MARKER_GROUP = re.compile(r" *(?:<image \d+> *)+")  # neighbours, with the blanks around them
OPTION_LINE = re.compile(r"^([A-Z])\. +(\S.*?)[ \r]*$", re.MULTILINE)
# The wording is part of MMMU's protocol: its authors' configuration, and lmms-eval's.
LETTER_REQUEST = "Answer with the option's letter from the given choices directly."
PHRASE_REQUEST = "Answer the question using a single word or phrase."


def option_letters(options: Sequence[str]) -> str:
    """The letters of the options, from A."""
    return string.ascii_uppercase[: len(options)]


def format_choice_question(question: str, options: Sequence[str]) -> str:
    """A multiple-choice question as it is asked: a line per option, then a request for a letter."""
    return f"{question}\n{format_options(options)}\n\n{LETTER_REQUEST}"


def format_options(options: Sequence[str]) -> str:
    """Options as lines, each behind its letter."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(option_letters(options), options, strict=True))


def format_open_question(question: str) -> str:
    """An open question as it is asked: with a request for a word or phrase."""
    return f"{question}\n\n{PHRASE_REQUEST}"


def parse_options(question: str) -> list[str]:
    """The options that a question has as lines `A. …`, `B. …`; none unless the letters run from A without a gap."""
    found = OPTION_LINE.findall(question)
    options = [text for _, text in found]
    return options if "".join(letter for letter, _ in found) == option_letters(options) else []


def marker_numbers(text: str) -> list[int]:
    """The numbers in a text's markers, each once, in ascending order."""
    return sorted({int(number) for number in MARKER.findall(text)})


def renumber_markers(text: str, new_numbers: Mapping[int, int]) -> str:
    """The text with other numbers in its markers."""
    return MARKER.sub(lambda match: f"<image {new_numbers[int(match[1])]}>", text)


def strip_markers(text: str) -> str:
    """The text without its markers; a blank stays in the place of each that stood between others on its line."""

    def gap(match: re.Match[str]) -> str:
        before, after = text[: match.start()], text[match.end() :]
        return " " if before and after and not before.endswith("\n") and not after.startswith("\n") else ""

    return MARKER_GROUP.sub(gap, text)


def question_segments(item: Mapping[str, Any]) -> list[str | int]:
    """A question as texts and places in the item's `images` (from 0), in the order in which they are asked.

    Images that no marker names come first; one that is named twice stands twice. What is written around a marker stays
    as it is, blanks too, as VLMEvalKit asks MMMU (open-compass/VLMEvalKit e8e78f05, `split_MMMU`).

    Raises:
        SlqError: a marker names an image that the item does not have.
    """
    question, count = item["question"], len(item["images"])
    missing_numbers = [number for number in marker_numbers(question) if not 1 <= number <= count]
    if missing_numbers:
        raise SlqError(
            f"item {item['id']!r}: its question has the marker <image {missing_numbers[0]}>, and 'images' lists "
            f"{count}; <image k> stands for the k-th of them, from 1"
        )
    parts: list[str | int] = [place for place in range(count) if place + 1 not in marker_numbers(question)]
    for place, part in enumerate(MARKER.split(question)):  # text, number, text, number, …, text
        parts.append(int(part) - 1 if place % 2 else part)
    return [part for part in parts if part != ""]
