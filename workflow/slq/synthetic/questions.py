"""The mini world's questions as rows in the columns of the hub data that they stand for (`datasets/hub_columns.py`)."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from slq.datasets.questions import LETTER_REQUEST, PHRASE_REQUEST, lettered
from slq.synthetic.drawing import draw, draw_sign
from slq.synthetic.language import Question, kind_of, questions, written
from slq.synthetic.scenes import Scene, Sign

LETTERS = "ABCD"
PICTURES = ("first", "second")
# RealWorldQA's questions hold their options and their request themselves.
LETTER_ONLY = "Please answer directly with only the letter of the correct option and nothing else."
WORD_ONLY = "Please answer directly with a single word or number."
# How re-ranking asks whether a caption belongs to a picture, and which of numbered ones does (presets.mini.rerank).
MATCH = "is this in the picture ? true or false"
CHOOSE = "which caption is in the picture ?"
REQUESTS = (LETTER_REQUEST, PHRASE_REQUEST, LETTER_ONLY, WORD_ONLY, MATCH, CHOOSE)
READING = {  # OCRBench's names of what the signs' kinds stand for
    "word": "Regular Text Recognition",
    "code": "Digit String Recognition",
    "words": "Scene Text-centric VQA",
}


def options_with(answer: str, place: int, draw: random.Random) -> list[str]:
    """Four options of the answer's kind, the right one at a place."""
    others = [other for other in kind_of(answer) if other != answer]
    options = draw.sample(others, len(LETTERS) - 1)
    options.insert(place, answer)
    return options


def in_picture(question: Question, number: int) -> str:
    """A question about one of two pictures."""
    return f"{question.text.removesuffix(' ?')} in the {PICTURES[number]} picture ?"


class Balance:
    """Picks, of the questions that could be asked next, one whose answer was asked for least often."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.asked: Counter[str] = Counter()

    def pick(self, candidates: Sequence[Question]) -> Question:
        """Of equally rare answers, one by chance."""
        chosen = min(self.draw.sample(candidates, len(candidates)), key=lambda question: self.asked[question.answer])
        self.asked[chosen.answer] += 1
        return chosen


def mmmu_rows(scenes: Sequence[Scene], style: str) -> list[dict[str, Any]]:
    """Three subjects with a question each per scene: Attributes and Positions (multiple choice), Pairs (open).

    A pair shows the scene and the one after it and asks about either.
    """
    draw_from = random.Random("mmmu")
    attributes, positions, pairs = Balance(draw_from), Balance(draw_from), Balance(draw_from)
    rows = []
    for number, scene in enumerate(scenes):
        place = number % len(LETTERS)
        following = scenes[(number + 1) % len(scenes)]
        which = number % len(PICTURES)
        for subject, balance, asked in (
            ("Attributes", attributes, [q for q in questions(scene) if q.topic != "where"]),
            ("Positions", positions, [q for q in questions(scene) if q.topic == "where"]),
        ):
            question = balance.pick(asked)
            options = options_with(question.answer, place, draw_from)
            rows.append(
                mmmu_row(subject, number, f"<image 1> {question.text}", LETTERS[place], options, [scene], style)
            )
        question = pairs.pick([q for q in questions((scene, following)[which]) if q.topic != "where"])
        text = f"<image 1> <image 2> {in_picture(question, which)}"
        rows.append(mmmu_row("Pairs", number, text, question.answer, [], [scene, following], style))
    return rows


def mmmu_row(
    subject: str, number: int, text: str, answer: str, options: list[str], scenes: Sequence[Scene], style: str
) -> dict[str, Any]:
    """A row of `MMMU/MMMU`; options are a list's literal."""
    return {
        "subject": subject,
        "id": f"validation_{subject}_{number + 1}",
        "question": text,
        "options": str(options),
        "explanation": "",
        **{f"image_{k}": draw(scene, style) for k, scene in enumerate(scenes, start=1)},
        "img_type": "['Drawings']",
        "answer": answer,
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice" if options else "open",
        "subfield": subject,
    }


def realworldqa_rows(scenes: Sequence[Scene], style: str) -> list[dict[str, Any]]:
    """Two questions per scene: an open one, and one with options."""
    draw_from = random.Random("realworldqa")
    opened, chosen = Balance(draw_from), Balance(draw_from)
    rows = []
    for number, scene in enumerate(scenes):
        picture = draw(scene, style)
        question = opened.pick(questions(scene))
        text = f"{question.text}\n{WORD_ONLY}"
        rows.append({"image": picture, "question": text, "answer": question.answer})
        question = chosen.pick(questions(scene))
        place = number % len(LETTERS)
        text = f"{question.text}\n\n{lettered(options_with(question.answer, place, draw_from))}\n{LETTER_ONLY}"
        rows.append({"image": picture, "question": text, "answer": LETTERS[place]})
    return rows


def ocrbench_rows(signs: Sequence[Sign], style: str) -> list[dict[str, Any]]:
    """A question per sign: what is written, or on which line."""
    balance = Balance(random.Random("ocrbench"))
    rows = []
    for sign in signs:
        question = balance.pick(written(sign))
        rows.append(
            {
                "dataset": "signs",
                "question": question.text,
                "question_type": READING[sign.kind],
                "answer": [question.answer],
                "image": draw_sign(sign, style),
            }
        )
    return rows
