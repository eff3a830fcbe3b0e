"""Synthetic questions as rows with the columns of the benchmarks that they replace (`datasets/hub_columns.py`)."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from slq.datasets.questions import LETTER_REQUEST, PHRASE_REQUEST, format_options
from slq.synthetic.drawing import draw_scene, draw_sign
from slq.synthetic.language import Question, same_kind_answers, scene_questions, sign_questions
from slq.synthetic.scenes import Scene, Sign

OPTION_LETTERS = "ABCD"
IMAGE_NAMES = ("first", "second")
# In RealWorldQA, the text of a question contains its options and its request.
LETTER_ONLY_REQUEST = "Please answer directly with only the letter of the correct option and nothing else."
WORD_ONLY_REQUEST = "Please answer directly with a single word or number."
# The prompts of re-ranking (presets.mini.rerank): whether a caption matches an image, and which of several numbered
# captions does.
MATCH_REQUEST = "is this in the picture ? true or false"
CHOICE_REQUEST = "which caption is in the picture ?"
REQUESTS = (LETTER_REQUEST, PHRASE_REQUEST, LETTER_ONLY_REQUEST, WORD_ONLY_REQUEST, MATCH_REQUEST, CHOICE_REQUEST)
OCRBENCH_TYPES = {  # OCRBench's question type, for each kind of sign
    "word": "Regular Text Recognition",
    "code": "Digit String Recognition",
    "words": "Scene Text-centric VQA",
}


def make_options(answer: str, answer_index: int, rng: random.Random) -> list[str]:
    """Sample four options of the answer's kind, with the answer at `answer_index`."""
    others = [other for other in same_kind_answers(answer) if other != answer]
    options = rng.sample(others, len(OPTION_LETTERS) - 1)
    options.insert(answer_index, answer)
    return options


def name_image_in_question(question: Question, image_index: int) -> str:
    """Format a question about one of two images; the text names the first or the second image."""
    return f"{question.text.removesuffix(' ?')} in the {IMAGE_NAMES[image_index]} picture ?"


class AnswerBalancer:
    """Sampler of questions that keeps their answers balanced."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.answer_counts: Counter[str] = Counter()

    def pick(self, candidates: Sequence[Question]) -> Question:
        """Pick the candidate whose answer has been picked least often so far; ties are broken at random."""
        chosen = min(
            self.rng.sample(candidates, len(candidates)), key=lambda question: self.answer_counts[question.answer]
        )
        self.answer_counts[chosen.answer] += 1
        return chosen


def make_mmmu_rows(scenes: Sequence[Scene], style: str) -> list[dict[str, Any]]:
    """Make rows of MMMU in three subjects, with one question per scene and subject.

    The subjects are Attributes and Positions (multiple choice) and Pairs (open). A question in Pairs has images of the
    scene and of the next scene, and is about one of them.
    """
    rng = random.Random("mmmu")
    attributes, positions, pairs = AnswerBalancer(rng), AnswerBalancer(rng), AnswerBalancer(rng)
    rows = []
    for number, scene in enumerate(scenes):
        answer_index = number % len(OPTION_LETTERS)
        next_scene = scenes[(number + 1) % len(scenes)]
        picture_index = number % len(IMAGE_NAMES)
        for subject, balancer, candidates in (
            ("Attributes", attributes, [q for q in scene_questions(scene) if q.topic != "where"]),
            ("Positions", positions, [q for q in scene_questions(scene) if q.topic == "where"]),
        ):
            question = balancer.pick(candidates)
            options = make_options(question.answer, answer_index, rng)
            rows.append(
                make_mmmu_row(
                    subject, number, f"<image 1> {question.text}", OPTION_LETTERS[answer_index], options, [scene], style
                )
            )
        question = pairs.pick([q for q in scene_questions((scene, next_scene)[picture_index]) if q.topic != "where"])
        text = f"<image 1> <image 2> {name_image_in_question(question, picture_index)}"
        rows.append(make_mmmu_row("Pairs", number, text, question.answer, [], [scene, next_scene], style))
    return rows


def make_mmmu_row(
    subject: str, number: int, text: str, answer: str, options: list[str], scenes: Sequence[Scene], style: str
) -> dict[str, Any]:
    """Make a row of `MMMU/MMMU`; its options are written as a Python list."""
    return {
        "subject": subject,
        "id": f"validation_{subject}_{number + 1}",
        "question": text,
        "options": str(options),
        "explanation": "",
        **{f"image_{k}": draw_scene(scene, style) for k, scene in enumerate(scenes, start=1)},
        "img_type": "['Drawings']",
        "answer": answer,
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice" if options else "open",
        "subfield": subject,
    }


def make_realworldqa_rows(scenes: Sequence[Scene], style: str) -> list[dict[str, Any]]:
    """Make two rows of RealWorldQA per scene: an open question, and a question with options."""
    rng = random.Random("realworldqa")
    open_balancer, choice_balancer = AnswerBalancer(rng), AnswerBalancer(rng)
    rows = []
    for number, scene in enumerate(scenes):
        picture = draw_scene(scene, style)
        question = open_balancer.pick(scene_questions(scene))
        text = f"{question.text}\n{WORD_ONLY_REQUEST}"
        rows.append({"image": picture, "question": text, "answer": question.answer})
        question = choice_balancer.pick(scene_questions(scene))
        answer_index = number % len(OPTION_LETTERS)
        options = format_options(make_options(question.answer, answer_index, rng))
        text = f"{question.text}\n\n{options}\n{LETTER_ONLY_REQUEST}"
        rows.append({"image": picture, "question": text, "answer": OPTION_LETTERS[answer_index]})
    return rows


def make_ocrbench_rows(signs: Sequence[Sign], style: str) -> list[dict[str, Any]]:
    """Make a row of OCRBench per sign; the question asks for the text of the sign, or of one of its lines."""
    balancer = AnswerBalancer(random.Random("ocrbench"))
    rows = []
    for sign in signs:
        question = balancer.pick(sign_questions(sign))
        rows.append(
            {
                "dataset": "signs",
                "question": question.text,
                "question_type": OCRBENCH_TYPES[sign.kind],
                "answer": [question.answer],
                "image": draw_sign(sign, style),
            }
        )
    return rows
