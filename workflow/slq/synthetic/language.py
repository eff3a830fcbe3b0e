"""Captions of scenes, and questions about scenes and signs, in a vocabulary of whole words."""

from dataclasses import dataclass

from slq.synthetic.scenes import COLOURS, DIGITS, PLACES, SHAPES, WORDS, Scene, SceneObject, Sign

# Two paraphrases of each shape and colour, without the name of any shape or colour.
SHAPE_PHRASES = {
    "circle": ("the shape of a coin", "the shape of a full moon"),
    "square": ("the shape of a chess board", "the shape of a floor tile"),
    "triangle": ("the shape with three sides", "the shape of a pyramid"),
    "diamond": ("the shape of a kite", "the shape of a baseball field"),
    "cross": ("the shape of a plus sign", "the shape on an ambulance"),
    "ring": ("the shape of a donut", "the shape with a hole"),
}
COLOUR_PHRASES = {
    "red": ("the color of blood", "the color of ripe tomatoes"),
    "green": ("the color of grass", "the color of spinach"),
    "blue": ("the color of a clear sky", "the color of deep water"),
    "yellow": ("the color of lemons", "the color of bananas"),
    "purple": ("the color of plums", "the color of lavender"),
    "black": ("the color of coal", "the color of the night"),
}
# Two templates for each direction, one per paraphrase. {a} and {b} are the first and the second object.
KNOWLEDGE_TEMPLATES = {
    "beside": ("{a} to the left of {b}", "on the right there is {b} and on the left {a}"),
    "over": ("{a} above {b}", "at the bottom there is {b} and at the top {a}"),
}
# Five templates for each direction. {a} and {b} are the first and the second object.
CAPTION_TEMPLATES = {
    "beside": (
        "a {a} to the left of a {b}",
        "on the left there is a {a} and on the right a {b}",
        "a {a.shape} in {a.colour} on the left and a {b.shape} in {b.colour} on the right",
        "a {b.shape} in {b.colour} on the right and a {a.shape} in {a.colour} on the left",
        "on the right there is a {b} and on the left a {a}",
    ),
    "over": (
        "a {a} above a {b}",
        "at the top there is a {a} and at the bottom a {b}",
        "a {a.shape} in {a.colour} at the top and a {b.shape} in {b.colour} at the bottom",
        "a {b.shape} in {b.colour} at the bottom and a {a.shape} in {a.colour} at the top",
        "at the bottom there is a {b} and at the top a {a}",
    ),
}
LINE_NAMES = ("upper", "lower")
MATCH_ANSWERS = ("true", "false")  # answers to the question whether a caption matches an image
# The possible answers of each kind: six colours, six shapes, four places.
ANSWER_KINDS = (COLOURS, SHAPES, tuple(place for places in PLACES.values() for place in places))


def knowledge_captions(scene: Scene) -> list[str]:
    """Return the two captions of a scene without names of shapes and colours; each is true of no other scene."""
    return [
        template.format(a=describe_object(scene.first, phrase_index), b=describe_object(scene.second, phrase_index))
        for phrase_index, template in enumerate(KNOWLEDGE_TEMPLATES[scene.relation])
    ]


def describe_object(scene_object: SceneObject, phrase_index: int) -> str:
    """Describe an object by the first or second paraphrase of its shape and colour."""
    return f"{SHAPE_PHRASES[scene_object.shape][phrase_index]} in {COLOUR_PHRASES[scene_object.colour][phrase_index]}"


def all_phrases() -> list[str]:
    """Return the paraphrases of all shapes and colours."""
    return [phrase for table in (SHAPE_PHRASES, COLOUR_PHRASES) for pair in table.values() for phrase in pair]


@dataclass(frozen=True)
class Question:
    """Open question with its only answer; `topic` is one of color, shape, where and text."""

    topic: str
    text: str
    answer: str


def scene_captions(scene: Scene) -> list[str]:
    """Return the five captions of a scene, the canonical caption first; each is true of no other scene."""
    return [template.format(a=scene.first, b=scene.second) for template in CAPTION_TEMPLATES[scene.relation]]


def scene_questions(scene: Scene) -> list[Question]:
    """Return all questions about a scene that have exactly one answer.

    The questions ask for

    - the colour or the shape of the object at a place,
    - the colour of the object with a given shape, or the shape of the object with a given colour,
    - the place of an object.

    Over all scenes the answers are balanced: six colours, six shapes, four places.
    """
    found = []
    for place, scene_object in zip(PLACES[scene.relation], (scene.first, scene.second), strict=True):
        found.append(Question("color", f"what color is the shape on the {place} ?", scene_object.colour))
        found.append(Question("shape", f"what shape is on the {place} ?", scene_object.shape))
        found.append(location_question(scene_object, place))
        if scene.first.shape != scene.second.shape:
            found.append(Question("color", f"what color is the {scene_object.shape} ?", scene_object.colour))
        if scene.first.colour != scene.second.colour:
            found.append(Question("shape", f"what shape is {scene_object.colour} ?", scene_object.shape))
    return found


def location_question(scene_object: SceneObject, place: str) -> Question:
    """Return the question about the place of an object."""
    return Question("where", f"where is the {scene_object} ?", place)


def sign_questions(sign: Sign) -> list[Question]:
    """Return all questions about a sign.

    Over all signs the answers are balanced: ten words, and ten digits at each of the two positions of a code.
    """
    if len(sign.lines) == 1:
        noun = "word" if sign.kind == "word" else "number"
        return [Question("text", f"what {noun} is written ?", sign.lines[0].text)]
    return [
        Question("text", f"what word is on the {name} line ?", line.text)
        for name, line in zip(LINE_NAMES, sign.lines, strict=True)
    ]


def same_kind_answers(answer: str) -> tuple[str, ...]:
    """Return all answers of the same kind, including the answer itself."""
    return next(kind for kind in ANSWER_KINDS if answer in kind)


def vocabulary() -> list[str]:
    """Return all words of the synthetic language, sorted."""
    caption_text = " ".join(template for templates in CAPTION_TEMPLATES.values() for template in templates)
    question_text = (
        "what color is the shape on the left right top bottom ? where is the in the first second picture "
        "what word number is written what word is on the upper lower line"
    )
    phrase_text = " ".join(all_phrases())
    words = {
        word
        for word in f"{caption_text} {question_text} {phrase_text} {' '.join(MATCH_ANSWERS)}".split()
        if "{" not in word
    }
    marks = {f"{mark}." for mark in "ABCD12345"}  # labels of options, and of numbered captions
    return sorted(words | marks | set(COLOURS) | set(SHAPES) | set(WORDS) | set(DIGITS))
