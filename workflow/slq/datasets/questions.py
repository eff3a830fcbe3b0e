"""Texts of questions, with a marker at the position of each image.

The marker `<image k>` stands for the k-th image of the item, counted from 1.
"""

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from slq.common.errors import SlqError

MARKER = re.compile(r"<image (\d+)>")
MAX_OPTIONS = len(string.ascii_uppercase)  # each option of a question has a letter
MARKER_GROUP = re.compile(r" *(?:<image \d+> *)+")  # adjacent markers, with the blanks around them
OPTION_LINE = re.compile(r"^([A-Z])\. +(\S.*?)[ \r]*$", re.MULTILINE)
# This wording is part of MMMU's protocol; the configurations of its authors and of lmms-eval use it.
LETTER_REQUEST = "Answer with the option's letter from the given choices directly."
PHRASE_REQUEST = "Answer the question using a single word or phrase."


def option_letters(options: Sequence[str]) -> str:
    """Return the letters of the options, starting at A."""
    return string.ascii_uppercase[: len(options)]


def format_choice_question(question: str, options: Sequence[str]) -> str:
    """Format the prompt of a multiple-choice question: the question, a line per option, and a request for a letter."""
    return f"{question}\n{format_options(options)}\n\n{LETTER_REQUEST}"


def format_options(options: Sequence[str]) -> str:
    """Format options as lines, each with its letter."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(option_letters(options), options, strict=True))


def format_open_question(question: str) -> str:
    """Format the prompt of an open question: the question and a request for a word or phrase."""
    return f"{question}\n\n{PHRASE_REQUEST}"


def parse_options(question: str) -> list[str]:
    """Return the options in a question's lines `A. …`, `B. …`; none if the letters have a gap or do not start at A."""
    found = OPTION_LINE.findall(question)
    options = [text for _, text in found]
    return options if "".join(letter for letter, _ in found) == option_letters(options) else []


def marker_numbers(text: str) -> list[int]:
    """Return the distinct numbers of a text's markers, in ascending order."""
    return sorted({int(number) for number in MARKER.findall(text)})


def renumber_markers(text: str, new_numbers: Mapping[int, int]) -> str:
    """Replace the numbers of a text's markers."""
    return MARKER.sub(lambda match: f"<image {new_numbers[int(match[1])]}>", text)


def strip_markers(text: str) -> str:
    """Remove a text's markers; a group of markers between two words of a line becomes a blank."""

    def gap(match: re.Match[str]) -> str:
        before, after = text[: match.start()], text[match.end() :]
        return " " if before and after and not before.endswith("\n") and not after.startswith("\n") else ""

    return MARKER_GROUP.sub(gap, text)


def question_segments(item: Mapping[str, Any]) -> list[str | int]:
    """Split a question into texts and indices into the item's `images` (from 0), in the order of the prompt.

    Images without a marker come first, and an image with two markers occurs twice. The text around a marker, including
    blanks, is unchanged, as in VLMEvalKit's prompt for MMMU (open-compass/VLMEvalKit e8e78f05, `split_MMMU`).

    Raises:
        SlqError: a marker refers to an image that the item does not have.
    """
    question, count = item["question"], len(item["images"])
    missing_numbers = [number for number in marker_numbers(question) if not 1 <= number <= count]
    if missing_numbers:
        raise SlqError(
            f"item {item['id']!r}: its question has the marker <image {missing_numbers[0]}>, but 'images' lists only "
            f"{count}; <image k> stands for the k-th image, from 1"
        )
    parts: list[str | int] = [place for place in range(count) if place + 1 not in marker_numbers(question)]
    for place, part in enumerate(MARKER.split(question)):  # text, number, text, number, …, text
        parts.append(int(part) - 1 if place % 2 else part)
    return [part for part in parts if part != ""]
