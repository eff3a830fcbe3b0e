"""What can be said and asked about a scene, in a vocabulary of whole words."""

from dataclasses import dataclass

from slq.world.scenes import COLOURS, SHAPES, Scene

# Five ways to say it. {a} and {b} are the things, first and second.
CAPTIONS = {
    "beside": (
        "a {a} to the left of a {b}",
        "a {b} to the right of a {a}",
        "on the left a {a} and on the right a {b}",
        "the {b} has a {a} on its left side",
        "there is a {a} with a {b} on its right side",
    ),
    "over": (
        "a {a} above a {b}",
        "a {b} below a {a}",
        "at the top a {a} and at the bottom a {b}",
        "the {b} has a {a} over it",
        "there is a {a} with a {b} under it",
    ),
}
PLACES = {"beside": ("left", "right"), "over": ("top", "bottom")}


@dataclass(frozen=True)
class Question:
    """An open question with its one answer, a single word."""

    text: str
    answer: str


def captions(scene: Scene) -> list[str]:
    """The five captions of a scene; the first is the canonical one. Each tells the scene from every other."""
    return [template.format(a=scene.first, b=scene.second) for template in CAPTIONS[scene.direction]]


def questions(scene: Scene) -> list[Question]:
    """Every question that has one answer: colour and shape of the thing at each place, and how the two are arranged.

    Colour and shape have six possible answers each, in balance over all scenes.
    """
    asked = []
    for place, thing in zip(PLACES[scene.direction], (scene.first, scene.second), strict=True):
        asked.append(Question(f"what color is the shape on the {place} ?", thing.colour))
        asked.append(Question(f"what shape is on the {place} ?", thing.shape))
    if scene.first.shape != scene.second.shape:
        asked += [Question(f"what color is the {thing.shape} ?", thing.colour) for thing in (scene.first, scene.second)]
    if scene.first.colour != scene.second.colour:
        asked += [Question(f"what shape is {thing.colour} ?", thing.shape) for thing in (scene.first, scene.second)]
    return asked


def vocabulary() -> list[str]:
    """Every word of the world, sorted."""
    text = " ".join(template for templates in CAPTIONS.values() for template in templates)
    asked = "what color is the shape on the left right top bottom ?"
    words = {word for word in f"{text} {asked}".split() if "{" not in word}
    return sorted(words | set(COLOURS) | set(SHAPES))
